-- What ads cost and what came with it, by what the roll-up does not keep (ad_network), and as of an instant: the rows that
-- were recorded by then. Signed rows; a day's figures stand at its 00:00.
-- Order of magnitude: 0.2 s per million rows in the date range and core.
(
    SELECT site, toDateTime(day, 'UTC') AS hour, channel, source, medium, campaign_label AS campaign, '' AS landing_page,
        ad_network, '' AS term, '' AS content, '' AS country, '' AS device, '' AS model, '' AS basis, '' AS conversion_type, currency, impressions, amount AS spend, clicks, views,
        installs
    FROM $spend
    WHERE $known AND day >= toDate(toDateTime({from:UInt32}, 'UTC')) AND day <= toDate(toDateTime({to:UInt32} - 1, 'UTC'))
)
