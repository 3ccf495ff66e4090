-- Purpose: what the clicks of a network's day cost. A click is told by its first hit, and counts nowhere if a hit of it came
-- within the days before. Ties are broken by all that a hit says, so nothing depends on the order of rows.
-- Parameters: site, network String, day, since Date. Order of magnitude: 100 ms per million rows of these days and core.
SELECT first.6 AS campaign_id, first.7 AS campaign, first.4 AS currency, sum(first.5) AS cost,
    toUInt64(count()) AS clicks, toInt64(toUnixTimestamp64Milli(max(first.3))) AS heard_at
FROM
(
    SELECT click, min((occurred_at, event_id, recorded_at, CAST(currency, 'String'), amount, campaign_id, campaign)) AS first
    FROM $click_costs
    WHERE site = {site:String} AND ad_network = {network:String} AND day = {day:Date} AND reason = ''
        AND click NOT IN
        (
            SELECT click
            FROM $click_costs
            WHERE site = {site:String} AND ad_network = {network:String} AND day >= {since:Date} AND day < {day:Date}
                AND reason = ''
        )
    GROUP BY click
)
GROUP BY campaign_id, campaign, currency
ORDER BY campaign_id, campaign, currency
