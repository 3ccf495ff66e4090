-- Purpose: every conversion that stands and is revenue, the earliest first: itself and its visitor by hash (visitor 0 = nobody
-- is known), the instant (epoch ms), and whether it is worth anything.
-- $known: as of an instant what was recorded by then. Parameters: pipeline_types, most (rows).
-- Order of magnitude: 0.6 s per million conversions and core.
SELECT conversion, visitor, toUInt64(toUnixTimestamp64Milli(at)) AS at_ms, toUInt64(worth > 0) AS is_worth
FROM
(
    SELECT sipHash64(site, conversion_id) AS conversion, if(visitor_id = '', toUInt64(0), sipHash64(site, visitor_id)) AS visitor,
        converted_at AS at, value AS worth, conversion_id, site
    FROM $conversions
    WHERE type NOT IN {pipeline_types:Array(String)} AND $known
    GROUP BY site, conversion_id, visitor_id, converted_at, value
    HAVING sum(sign) > 0
)
ORDER BY at, conversion_id, site
LIMIT {most:UInt32}
