-- Figures of ad networks that no roll-up keeps: what they claim, which is never added to what is credited here, and reach,
-- which does not add up. Signed rows, shaped like those of facts_detail.sql; a day's figures stand at its 00:00.
-- Order of magnitude: 0.2 s per million rows in the date range and core.
(
    SELECT site, toDateTime(day, 'UTC') AS hour, channel, source, medium, campaign_label AS campaign, '' AS landing_page,
        ad_network, '' AS term, '' AS content, '' AS country, '' AS device, '' AS model, '' AS basis, '' AS conversion_type, currency, toInt64(sign) AS sign,
        ifNull(s.platform_conversions, toDecimal64(0, 6)) AS platform_conversions,
        isNotNull(s.platform_conversions) AS has_platform_conversions,
        ifNull(s.platform_value, toDecimal64(0, 6)) AS platform_value,
        isNotNull(s.platform_value) AS has_platform_value,
        ifNull(s.reach, toInt64(0)) AS reach, isNotNull(s.reach) AS has_reach
    FROM $spend AS s
    WHERE $known AND day >= toDate(toDateTime({from:UInt32}, 'UTC')) AND day <= toDate(toDateTime({to:UInt32} - 1, 'UTC'))
)
