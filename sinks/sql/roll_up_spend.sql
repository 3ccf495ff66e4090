-- Purpose: cells of spend_metrics that differ from a recount of spend (the same definition as in migration 0014). Both sides of
-- each figure: kept, recounted.
-- Parameters: limit UInt32. Rows being written at this moment may show: they are in the source before the roll-up.
-- Order of magnitude: 50 ms per million rows of spend and core.
SELECT toString(hour) AS at, site, channel, source, medium, campaign, currency,
    sumIf(n_impressions, side = 1) AS impressions_kept, sumIf(n_impressions, side = -1) AS impressions_recounted,
    sumIf(n_clicks, side = 1) AS clicks_kept, sumIf(n_clicks, side = -1) AS clicks_recounted,
    sumIf(n_views, side = 1) AS views_kept, sumIf(n_views, side = -1) AS views_recounted,
    sumIf(n_installs, side = 1) AS installs_kept, sumIf(n_installs, side = -1) AS installs_recounted,
    sumIf(cost, side = 1) AS spend_kept, sumIf(cost, side = -1) AS spend_recounted
FROM
(
    SELECT 1 AS side, site, hour, channel, source, medium, campaign, currency, sum(impressions) AS n_impressions,
        sum(clicks) AS n_clicks, sum(views) AS n_views, sum(installs) AS n_installs, sum(spend) AS cost
    FROM $spend_metrics
    GROUP BY site, hour, channel, source, medium, campaign, currency
    UNION ALL
    SELECT -1 AS side, site, toDateTime(day, 'UTC') AS hour, channel, source, medium, campaign_label AS campaign, currency,
        sum(s.impressions) AS n_impressions, sum(s.clicks) AS n_clicks, sum(s.views) AS n_views, sum(s.installs) AS n_installs,
        sum(s.amount) AS cost
    FROM $spend AS s
    GROUP BY site, hour, channel, source, medium, campaign, currency
)
GROUP BY site, hour, channel, source, medium, campaign, currency
HAVING impressions_kept != impressions_recounted OR clicks_kept != clicks_recounted OR views_kept != views_recounted
    OR installs_kept != installs_recounted OR spend_kept != spend_recounted
ORDER BY site, hour, channel, source, medium, campaign, currency
LIMIT {limit:UInt32}
