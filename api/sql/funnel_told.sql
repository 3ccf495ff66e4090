-- Purpose: GET /v1/funnel, conversions that senders of deals tell: a row for each id that one names. conversion and id by hash
-- (id as people_links.sql has them, 0 = it names nobody at all), instant * 64 + stage * 2 + (1 if lost), and kind: 1 = user,
-- 2 = e-mail, 3 = CRM contact, + 4 if the conversion has a visitor of its own.
-- Parameters: types, type_stages, sites, most. Order of magnitude: 0.6 s per million conversions and core.
SELECT sipHash64(conversion_id) AS conversion, if(id = '', toUInt64(0), sipHash64(site, id)) AS link,
    at * 64 + stage * 2 + is_lost AS step,
    toUInt64(multiIf(id = '', 0, startsWith(id, 'user:'), 1, startsWith(id, 'email:'), 2, 3)
        + if(visitor_id != '', 4, 0)) AS kind
FROM
(
    SELECT site, conversion_id, visitor_id, stage, at, is_lost,
        arrayFilter(one -> NOT startsWith(one, 'account:'), ids) AS names
    FROM
    (
$conversions
    )
)
ARRAY JOIN if(empty(names), [''], names) AS id
WHERE visitor_id = '' OR id != ''
LIMIT {most:UInt64}
