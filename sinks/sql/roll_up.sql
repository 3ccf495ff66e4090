-- Purpose: cells of channel_metrics that differ from a recount of hits, sessions and credits (the same definitions as
-- in migration 0002, counted once more from the sources).
-- Parameters: limit UInt32. Rows being written at this moment may show: they are in the source before the roll-up.
-- Order of magnitude: reads everything; about 1 s per 10 million rows and core.
SELECT toString(hour) AS at, site, channel, source, medium, campaign, model, basis, conversion_type, currency,
    sum(side * hits) AS hits_off, sum(side * page_views) AS page_views_off, sum(side * impressions) AS impressions_off,
    sum(side * sessions) AS sessions_off,
    sumIf(conversions, side = 1) AS conversions_kept, sumIf(conversions, side = -1) AS conversions_recounted,
    sumIf(revenue, side = 1) AS revenue_kept, sumIf(revenue, side = -1) AS revenue_recounted
FROM
(
    SELECT 1 AS side, site, hour, channel, source, medium, campaign, model, basis, conversion_type, currency,
        sum(m.hits) AS hits, sum(m.page_views) AS page_views, sum(m.impressions) AS impressions,
        sum(m.sessions) AS sessions, sum(m.conversions) AS conversions, sum(m.revenue) AS revenue
    FROM $channel_metrics AS m
    GROUP BY site, hour, channel, source, medium, campaign, model, basis, conversion_type, currency
    UNION ALL
    SELECT -1 AS side, site, hour, channel, source, medium, campaign, '' AS model, '' AS basis, '' AS conversion_type,
        '' AS currency, sum(toInt64(hour_hit) * sign) AS hits, sum(toInt64(hour_page_view) * sign) AS page_views,
        toInt64(0) AS impressions, toInt64(sum(if(hour_index = 1, sign, 0))) AS sessions,
        sum(toDecimal64(0, 9)) AS conversions, sum(toDecimal64(0, 4)) AS revenue
    FROM $sessions
    ARRAY JOIN hours AS hour, hour_hits AS hour_hit, hour_page_views AS hour_page_view, arrayEnumerate(hours) AS hour_index
    GROUP BY site, hour, channel, source, medium, campaign
    UNION ALL
    SELECT -1 AS side, site, toStartOfHour(occurred_at, 'UTC') AS hour, channel, source, medium, campaign,
        '' AS model, '' AS basis, '' AS conversion_type, '' AS currency, toInt64(count()) AS hits,
        toInt64(countIf(event = 'page_view')) AS page_views, toInt64(countIf(event = 'impression')) AS impressions,
        toInt64(0) AS sessions, sum(toDecimal64(0, 9)) AS conversions, sum(toDecimal64(0, 4)) AS revenue
    FROM $hits
    WHERE in_session = 0
    GROUP BY site, hour, channel, source, medium, campaign
    UNION ALL
    SELECT -1 AS side, site, hour, channel, source, medium, campaign, model, basis, conversion_type, currency,
        toInt64(0) AS hits, toInt64(0) AS page_views, toInt64(0) AS impressions, toInt64(0) AS sessions,
        sum(weight) AS conversions, sum(amount) AS revenue
    FROM $credits
    ARRAY JOIN ['conversion', 'touch'] AS basis,
        [toStartOfHour(converted_at, 'UTC'), toStartOfHour(touched_at, 'UTC')] AS hour
    GROUP BY site, hour, channel, source, medium, campaign, model, basis, conversion_type, currency
)
GROUP BY site, hour, channel, source, medium, campaign, model, basis, conversion_type, currency
HAVING hits_off != 0 OR page_views_off != 0 OR impressions_off != 0 OR sessions_off != 0
    OR conversions_kept != conversions_recounted OR revenue_kept != revenue_recounted
ORDER BY site, hour, channel, source, medium, campaign, model, basis, conversion_type, currency
LIMIT {limit:UInt32}
