-- Who saw an impression that was heard here: one row for each, shaped like those of facts_told.sql. A visitor id on two sites is two
-- people. $known is false as of an earlier instant: hits are not dated by when they became known.
-- Order of magnitude: 30 ms per million hits in the date range and core, and 1 s per million impressions among them.
(
    SELECT site, toStartOfHour(occurred_at, 'UTC') AS hour, channel, source, medium, campaign, '' AS landing_page, ad_network,
        term, content, country, device, '' AS model, '' AS basis, '' AS conversion_type, '' AS currency, cityHash64(site, visitor_id) AS visitor
    FROM $hits
    WHERE event = 'impression' AND $known AND occurred_at >= toDateTime64({from:UInt32}, 3, 'UTC')
        AND occurred_at < toDateTime64({to:UInt32}, 3, 'UTC')
)
