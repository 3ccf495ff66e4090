-- Purpose: GET /v1/funnel, which stages visitors reached first when: visitor (hash, as people_links.sql has them) and
-- instant * 64 + stage * 2 + (1 if lost). Of visitors who entered in the time asked for, and of all whom an id names or of
-- whose conversions senders told ids: whose person entered when is for the reader to say. (Those are in funnel_told.sql.)
-- Hits count by themselves, but those with an order id whose event is a conversion: several may report one order, and who is
-- whose is told by conversions.
-- Parameters: from and to (epoch ms), events, event_stages, types, type_stages, credited, sites, most.
-- Order of magnitude: 0.5 s per million hits and core, whatever the time asked for: who entered in October was not there before.
SELECT visitor, arrayJoin(steps) AS step
FROM
(
    SELECT visitor, groupArray(step) AS steps, min(intDiv(step, 64)) AS entered_at
    FROM
    (
        SELECT visitor, min(at) * 64 + stage * 2 + min(is_lost) AS step
        FROM
        (
            SELECT sipHash64(site, visitor_id) AS visitor,
                transform(event, {events:Array(String)}, {event_stages:Array(UInt64)}, toUInt64(0)) AS stage,
                toUInt64(toUnixTimestamp64Milli(occurred_at)) AS at, toUInt64(0) AS is_lost
            FROM $hits
            WHERE event IN {events:Array(String)} AND (order_id = '' OR event NOT IN {credited:Array(String)}) AND $of_sites
            UNION ALL
            SELECT sipHash64(site, visitor_id) AS visitor, stage, at, is_lost
            FROM
            (
$conversions
            )
            WHERE visitor_id != '' AND empty(names)
        )
        GROUP BY visitor, stage
    )
    GROUP BY visitor
)
WHERE (entered_at >= {from:UInt64} AND entered_at < {to:UInt64})
    OR visitor IN (SELECT sipHash64(site, visitor_id) FROM $identity_links WHERE NOT startsWith(id, 'account:'))
    OR visitor IN (SELECT sipHash64(site, visitor_id) FROM $all_conversions WHERE visitor_id != '' AND notEmpty(ids))
LIMIT {most:UInt64}
