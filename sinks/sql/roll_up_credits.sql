-- Purpose: credit cells of channel_metrics (model != '') that differ from a recount of credits (the same definition as
-- in migrations 0002 and 0015). Both sides of every figure: kept, recounted.
-- Parameters: model String ('' = every model), limit UInt32. Rows being written at this moment may show: they are in
-- the source before the roll-up.
-- Order of magnitude: about 1 s per 10 million rows and core.
SELECT toString(hour) AS at, site, channel, source, medium, campaign, model, basis, conversion_type, currency,
    sumIf(hits, side = 1) AS hits_kept, toInt64(0) AS hits_recounted,
    sumIf(page_views, side = 1) AS page_views_kept, toInt64(0) AS page_views_recounted,
    sumIf(impressions, side = 1) AS impressions_kept, toInt64(0) AS impressions_recounted,
    sumIf(sessions, side = 1) AS sessions_kept, toInt64(0) AS sessions_recounted,
    sumIf(conversions, side = 1) AS conversions_kept, sumIf(conversions, side = -1) AS conversions_recounted,
    sumIf(revenue, side = 1) AS revenue_kept, sumIf(revenue, side = -1) AS revenue_recounted
FROM
(
    SELECT 1 AS side, site, hour, channel, source, medium, campaign, model, basis, conversion_type, currency,
        sum(m.hits) AS hits, sum(m.page_views) AS page_views, sum(m.impressions) AS impressions,
        sum(m.sessions) AS sessions, sum(m.conversions) AS conversions, sum(m.revenue) AS revenue
    FROM $channel_metrics AS m
    WHERE model != '' AND ({model:String} = '' OR model = {model:String})
    GROUP BY site, hour, channel, source, medium, campaign, model, basis, conversion_type, currency
    UNION ALL
    SELECT -1 AS side, site, hour, channel, source, medium, campaign, model, basis, conversion_type, currency,
        toInt64(0) AS hits, toInt64(0) AS page_views, toInt64(0) AS impressions, toInt64(0) AS sessions,
        sum(weight) AS conversions, sum(amount) AS revenue
    FROM $credits
    ARRAY JOIN ['conversion', 'touch'] AS basis,
        [toStartOfHour(booked_at, 'UTC'), toStartOfHour(touched_at, 'UTC')] AS hour
    WHERE {model:String} = '' OR model = {model:String}
    GROUP BY site, hour, channel, source, medium, campaign, model, basis, conversion_type, currency
)
GROUP BY site, hour, channel, source, medium, campaign, model, basis, conversion_type, currency
HAVING hits_kept != 0 OR page_views_kept != 0 OR impressions_kept != 0 OR sessions_kept != 0
    OR conversions_kept != conversions_recounted OR revenue_kept != revenue_recounted
ORDER BY site, hour, channel, source, medium, campaign, model, basis, conversion_type, currency
LIMIT {limit:UInt32}
