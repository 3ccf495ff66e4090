-- Purpose: conversions whose standing in `conversions` is not their standing in `credits`: one that stands must be
-- credited under at least one model, one that was withdrawn under none. The two tables are written one after the
-- other, so only conversions at rest are judged.
-- Parameters: low, high String (conversion ids, high excluded), at_rest_seconds UInt32 (no row younger than that), limit UInt32.
-- Order of magnitude: 1 million conversions under 6 models in about 2 s on one core.
SELECT conversion_id, sum(standing) AS stands, sum(credited) AS is_credited
FROM
(
    SELECT conversion_id, toInt64(sum(sign)) AS standing, toInt64(0) AS credited, max(recorded_at) AS last_at
    FROM $conversions
    WHERE conversion_id >= {low:String} AND conversion_id < {high:String}
    GROUP BY conversion_id
    UNION ALL
    SELECT conversion_id, toInt64(0) AS standing, toInt64(max(weight) > toDecimal64(0, 9)) AS credited, max(last_at) AS last_at
    FROM
    (
        SELECT conversion_id, model, sum(credits.weight) AS weight, max(recorded_at) AS last_at
        FROM $credits AS credits
        WHERE conversion_id >= {low:String} AND conversion_id < {high:String}
        GROUP BY conversion_id, model
    )
    GROUP BY conversion_id
)
GROUP BY conversion_id
HAVING stands != is_credited AND max(last_at) < now() - toIntervalSecond({at_rest_seconds:UInt32})
ORDER BY conversion_id
LIMIT {limit:UInt32}
