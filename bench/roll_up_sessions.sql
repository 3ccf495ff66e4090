-- Purpose: the rows of channel_metrics that sessions leave behind, without the sessions: each is drawn (hour, cell, hits)
-- and counted in its cell, as the materialized views would count it. A cell is a channel, source, medium and campaign.
-- Parameters: sessions, seed, hours, first_hour (epoch hours), channels, sources, mediums, campaigns (one entry a cell; the
-- last one is for unattributed credit and gets no session). Sessions have 2.5 hits on average.
INSERT INTO $channel_metrics
SELECT 'site_bench' AS site, toDateTime(hour_number * 3600, 'UTC') AS hour, {channels:Array(String)}[cell] AS channel,
    {sources:Array(String)}[cell] AS source, {mediums:Array(String)}[cell] AS medium,
    {campaigns:Array(String)}[cell] AS campaign, '' AS model, '' AS basis, '' AS conversion_type, '' AS currency,
    toInt64(sum(session_hits)) AS hits, toInt64(sum(session_hits)) AS page_views, toInt64(0) AS impressions,
    toInt64(count()) AS sessions, sum(toDecimal64(0, 9)) AS conversions, sum(toDecimal64(0, 4)) AS revenue
FROM
(
    SELECT {first_hour:UInt32} + toUInt32(cityHash64(number, {seed:UInt32}, 1) % {hours:UInt32}) AS hour_number,
        toUInt32(1 + cityHash64(number, {seed:UInt32}, 2) % (length({channels:Array(String)}) - 1)) AS cell,
        1 + cityHash64(number, {seed:UInt32}, 3) % 4 AS session_hits
    FROM numbers({sessions:UInt64})
)
GROUP BY hour_number, cell
