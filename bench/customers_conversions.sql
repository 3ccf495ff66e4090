-- Purpose: conversions and whom they are about, drawn in the engine: 2.1 for each buyer on average; of each third buyer half from
-- a second device; one of ten told by a CRM, without a visitor; one of twenty in dollars. Uniform over the days.
-- Parameters: conversions, buyers, seed, from_ms (epoch ms), days.
INSERT INTO $conversions (site, conversion_id, type, order_id, visitor_id, event_id, converted_at, value, currency, sign, cause,
    recorded_at, ids)
SELECT 'site_bench' AS site, lower(hex(cityHash64(number, {seed:UInt32}))) AS conversion_id, 'purchase' AS type,
    conversion_id AS order_id,
    if(is_told, '', concat('visitor-of-the-shop-', toString(buyer), if(buyer % 3 = 0 AND number % 2 = 0, '-phone', ''))) AS visitor,
    '' AS event_id,
    fromUnixTimestamp64Milli(toInt64({from_ms:UInt64} + cityHash64(number, {seed:UInt32}, 2) % ({days:UInt32} * 86400000)), 'UTC')
        AS converted,
    toDecimal64(100 + cityHash64(number, {seed:UInt32}, 3) % 10000, 4) / 100 AS value,
    if(cityHash64(number, {seed:UInt32}, 7) % 20 = 0, 'USD', 'EUR') AS currency, 1 AS sign, 'conversion' AS cause,
    converted AS recorded_at,
    if(is_told, [concat('email:', toString(buyer))], emptyArrayString()) AS ids
FROM
(
    SELECT number, cityHash64(number, {seed:UInt32}, 8) % {buyers:UInt64} AS buyer,
        cityHash64(number, {seed:UInt32}, 9) % 10 = 0 AS is_told
    FROM numbers({conversions:UInt64})
)
