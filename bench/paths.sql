-- Purpose: conversions and how they came, drawn in the engine: no touchpoint in one of twenty, else one to ten (geometric,
-- 3.2 on average) of eight channels, some more frequent than others; every fourth a lead. Uniform over the days.
-- Parameters: conversions, seed, from_ms (epoch ms), days.
INSERT INTO $paths (site, conversion_id, conversion_type, converted_at, currency, value, channels, first_touch_at, last_touch_at,
    sign, recorded_at)
SELECT 'site_bench' AS site, lower(hex(cityHash64(number, {seed:UInt32}))) AS conversion_id,
    if(cityHash64(number, {seed:UInt32}, 1) % 4 = 0, 'lead', 'purchase') AS conversion_type,
    fromUnixTimestamp64Milli(toInt64({from_ms:UInt64} + cityHash64(number, {seed:UInt32}, 2) % ({days:UInt32} * 86400000)), 'UTC')
        AS converted,
    'USD' AS currency, toDecimal64(cityHash64(number, {seed:UInt32}, 3) % 10000, 4) / 100 AS value,
    arrayMap(
        place -> ['Direct', 'Paid Search', 'Organic Search', 'Email', 'Display', 'Paid Social', 'Referral', 'Affiliate'][
            arrayFirstIndex(
                most -> most > cityHash64(number, {seed:UInt32}, 10 + place) % 100, [25, 45, 60, 72, 82, 90, 96, 100])],
        range(if(cityHash64(number, {seed:UInt32}, 4) % 20 = 0, 0, toUInt32(least(10,
            1 + floor(log(1 - (cityHash64(number, {seed:UInt32}, 5) % 1000000) / 1000000.) / log(0.7))))))) AS came,
    if(empty(came), converted, converted - toIntervalSecond(cityHash64(number, {seed:UInt32}, 6) % 2592000)) AS first_touch,
    if(empty(came), converted, converted - toIntervalSecond(
        intDiv(cityHash64(number, {seed:UInt32}, 6) % 2592000, length(came)))) AS last_touch,
    1 AS sign, converted AS recorded_at
FROM numbers({conversions:UInt64})
