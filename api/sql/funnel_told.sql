-- Purpose: GET /v1/funnel, conversions of which senders of deals tell ids, or of which nobody is known: a row for each id that
-- one names. conversion, visitor (0 = nobody is known) and id by hash (as people_links.sql has them, 0 = it names nobody at
-- all), and instant * 64 + stage * 2 + (1 if lost).
-- Parameters: types, type_stages, sites, most. Order of magnitude: 0.6 s per million conversions and core.
SELECT sipHash64(site, conversion_id) AS conversion, if(visitor_id = '', toUInt64(0), sipHash64(site, visitor_id)) AS visitor,
    if(id = '', toUInt64(0), sipHash64(site, id)) AS link, at * 64 + stage * 2 + is_lost AS step
FROM
(
$conversions
)
ARRAY JOIN if(empty(names), [''], names) AS id
WHERE visitor_id = '' OR id != ''
LIMIT {most:UInt64}
