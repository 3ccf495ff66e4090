-- Purpose: whom the buyers of customers_conversions.sql are known as: of each third both devices by a user id, of each fifth the
-- first device by an e-mail address.
-- Parameters: buyers, from_ms (epoch ms).
INSERT INTO $identity_links (site, visitor_id, id, event_id, said_at, sign, recorded_at)
SELECT 'site_bench' AS site, concat('visitor-of-the-shop-', toString(number), linked.1) AS visitor_id,
    concat(linked.2, toString(number)) AS id, '' AS event_id, fromUnixTimestamp64Milli(toInt64({from_ms:UInt64}), 'UTC') AS said,
    1 AS sign, said AS recorded_at
FROM numbers({buyers:UInt64})
ARRAY JOIN arrayConcat(
    if(number % 3 = 0, [('', 'user:'), ('-phone', 'user:')], []),
    if(number % 5 = 0, [('', 'email:')], [])) AS linked
