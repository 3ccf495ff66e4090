-- Purpose: the roll-up that dashboards read, kept exact by materialized views over signed rows.
-- model = '' and basis = '' on the traffic rows (hits, page_views, impressions, sessions);
-- credit rows stand once per basis: 'conversion' (hour of the conversion) and 'touch' (hour of the touchpoint).
-- Hits of a session count under the session's channel, in the hour in which each hit happened; hits outside
-- sessions (in_session = 0) under their own.
-- sum(toDecimal64(0, n)) is a zero of type Decimal(38, n): the small embedded engine has no toDecimal128.

CREATE TABLE IF NOT EXISTS {database}.channel_metrics
(
    site LowCardinality(String),
    hour DateTime('UTC'),
    channel LowCardinality(String),
    source LowCardinality(String),
    medium LowCardinality(String),
    campaign LowCardinality(String),
    model LowCardinality(String),
    basis LowCardinality(String),
    conversion_type LowCardinality(String),
    currency LowCardinality(String),
    hits Int64,
    page_views Int64,
    impressions Int64,
    sessions Int64,
    conversions Decimal(38, 9),
    revenue Decimal(38, 4)
)
ENGINE = SummingMergeTree((hits, page_views, impressions, sessions, conversions, revenue))
ORDER BY (site, model, basis, hour, channel, source, medium, campaign, conversion_type, currency)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS {database}.session_hits_to_channel_metrics
TO {database}.channel_metrics AS
SELECT site, hour, channel, source, medium, campaign, '' AS model, '' AS basis, '' AS conversion_type, '' AS currency,
    sum(toInt64(hour_hit) * sign) AS hits, sum(toInt64(hour_page_view) * sign) AS page_views,
    toInt64(0) AS impressions, toInt64(sum(if(hour_index = 1, sign, 0))) AS sessions,
    sum(toDecimal64(0, 9)) AS conversions, sum(toDecimal64(0, 4)) AS revenue
FROM {database}.sessions
ARRAY JOIN hours AS hour, hour_hits AS hour_hit, hour_page_views AS hour_page_view, arrayEnumerate(hours) AS hour_index
GROUP BY site, hour, channel, source, medium, campaign;

CREATE MATERIALIZED VIEW IF NOT EXISTS {database}.hits_to_channel_metrics
TO {database}.channel_metrics AS
SELECT site, toStartOfHour(occurred_at, 'UTC') AS hour, channel, source, medium, campaign,
    '' AS model, '' AS basis, '' AS conversion_type, '' AS currency,
    toInt64(count()) AS hits, toInt64(countIf(event = 'page_view')) AS page_views,
    toInt64(countIf(event = 'impression')) AS impressions, toInt64(0) AS sessions,
    sum(toDecimal64(0, 9)) AS conversions, sum(toDecimal64(0, 4)) AS revenue
FROM {database}.hits
WHERE in_session = 0
GROUP BY site, hour, channel, source, medium, campaign;

CREATE MATERIALIZED VIEW IF NOT EXISTS {database}.credits_to_channel_metrics
TO {database}.channel_metrics AS
SELECT site, hour, channel, source, medium, campaign, model, basis, conversion_type, currency,
    toInt64(0) AS hits, toInt64(0) AS page_views, toInt64(0) AS impressions, toInt64(0) AS sessions,
    sum(weight) AS conversions, sum(amount) AS revenue
FROM {database}.credits
ARRAY JOIN ['conversion', 'touch'] AS basis,
    [toStartOfHour(converted_at, 'UTC'), toStartOfHour(touched_at, 'UTC')] AS hour
GROUP BY site, hour, channel, source, medium, campaign, model, basis, conversion_type, currency;
