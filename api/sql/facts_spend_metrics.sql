-- What ads cost and what came with it, from its roll-up.
(
    SELECT site, hour, channel, source, medium, campaign, '' AS model, '' AS basis, '' AS conversion_type, currency,
        impressions, spend, clicks, views, installs
    FROM $spend_metrics
)
