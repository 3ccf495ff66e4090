-- What ads cost, shaped like the rows of facts_detail.sql: an arm of it. Signed rows; a day's figures stand at its 00:00.
-- As of an instant it is the rows that were recorded by then.
-- Order of magnitude: 0.2 s per million rows in the date range and core.
    SELECT site, toDateTime(day, 'UTC') AS hour, channel, source, medium, campaign_label AS campaign, '' AS landing_page,
        ad_network, '' AS model, '' AS basis, '' AS conversion_type, currency, toInt64(0) AS hits, toInt64(0) AS page_views,
        impressions, toInt64(0) AS sessions, toDecimal64(0, 9) AS conversions, toDecimal64(0, 4) AS revenue,
        amount AS spend, clicks, views, installs
    FROM $spend
    WHERE $known AND day >= toDate(toDateTime({from:UInt32}, 'UTC')) AND day <= toDate(toDateTime({to:UInt32} - 1, 'UTC'))
