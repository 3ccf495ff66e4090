-- Purpose: traffic cells of channel_metrics (model = '') that differ from a recount of hits and sessions (the same
-- definitions as in migration 0002, counted once more from the sources). Both sides of every figure: kept, recounted.
-- Parameters: low, high UInt32 (hours as epoch seconds, high excluded), sessions_low UInt32 (low less the longest
-- session), limit UInt32. Rows being written at this moment may show: they are in the source before the roll-up.
-- The hours are written as in the tables' sorting keys, so that only their rows are read.
-- Order of magnitude: about 1 s per 10 million rows and core.
SELECT toString(hour) AS at, site, channel, source, medium, campaign, model, basis, conversion_type, currency,
    sumIf(hits, side = 1) AS hits_kept, sumIf(hits, side = -1) AS hits_recounted,
    sumIf(page_views, side = 1) AS page_views_kept, sumIf(page_views, side = -1) AS page_views_recounted,
    sumIf(impressions, side = 1) AS impressions_kept, sumIf(impressions, side = -1) AS impressions_recounted,
    sumIf(sessions, side = 1) AS sessions_kept, sumIf(sessions, side = -1) AS sessions_recounted,
    sumIf(conversions, side = 1) AS conversions_kept, sumIf(conversions, side = -1) AS conversions_recounted,
    sumIf(revenue, side = 1) AS revenue_kept, sumIf(revenue, side = -1) AS revenue_recounted
FROM
(
    SELECT 1 AS side, site, hour, channel, source, medium, campaign, model, basis, conversion_type, currency,
        sum(m.hits) AS hits, sum(m.page_views) AS page_views, sum(m.impressions) AS impressions,
        sum(m.sessions) AS sessions, sum(m.conversions) AS conversions, sum(m.revenue) AS revenue
    FROM $channel_metrics AS m
    WHERE model = '' AND hour >= toDateTime({low:UInt32}, 'UTC') AND hour < toDateTime({high:UInt32}, 'UTC')
    GROUP BY site, hour, channel, source, medium, campaign, model, basis, conversion_type, currency
    UNION ALL
    SELECT -1 AS side, site, hour, channel, source, medium, campaign, '' AS model, '' AS basis, '' AS conversion_type,
        '' AS currency, sum(toInt64(hour_hit) * sign) AS hits, sum(toInt64(hour_page_view) * sign) AS page_views,
        toInt64(0) AS impressions, toInt64(sum(if(hour_index = 1, sign, 0))) AS sessions,
        sum(toDecimal64(0, 9)) AS conversions, sum(toDecimal64(0, 4)) AS revenue
    FROM $sessions
    ARRAY JOIN hours AS hour, hour_hits AS hour_hit, hour_page_views AS hour_page_view, arrayEnumerate(hours) AS hour_index
    WHERE toStartOfHour(started_at) >= toDateTime({sessions_low:UInt32}, 'UTC')
        AND toStartOfHour(started_at) < toDateTime({high:UInt32}, 'UTC')
        AND hour >= toDateTime({low:UInt32}, 'UTC') AND hour < toDateTime({high:UInt32}, 'UTC')
    GROUP BY site, hour, channel, source, medium, campaign
    UNION ALL
    SELECT -1 AS side, site, toStartOfHour(occurred_at, 'UTC') AS hour, channel, source, medium, campaign,
        '' AS model, '' AS basis, '' AS conversion_type, '' AS currency, toInt64(count()) AS hits,
        toInt64(countIf(event = 'page_view')) AS page_views, toInt64(countIf(event = 'impression')) AS impressions,
        toInt64(0) AS sessions, sum(toDecimal64(0, 9)) AS conversions, sum(toDecimal64(0, 4)) AS revenue
    FROM $hits
    WHERE in_session = 0 AND toStartOfHour(occurred_at) >= toDateTime({low:UInt32}, 'UTC')
        AND toStartOfHour(occurred_at) < toDateTime({high:UInt32}, 'UTC')
    GROUP BY site, hour, channel, source, medium, campaign
)
GROUP BY site, hour, channel, source, medium, campaign, model, basis, conversion_type, currency
HAVING hits_kept != hits_recounted OR page_views_kept != page_views_recounted
    OR impressions_kept != impressions_recounted OR sessions_kept != sessions_recounted
    OR conversions_kept != conversions_recounted OR revenue_kept != revenue_recounted
ORDER BY site, hour, channel, source, medium, campaign, model, basis, conversion_type, currency
LIMIT {limit:UInt32}
