-- Purpose: the paths that share their hash's last 16 bits with the most conversions, for path_metrics.sql. Counting by 16 bits
-- is many times cheaper than by whole hashes; who asks tells from the counts whether a path outside can matter.
-- Parameters: buckets, and those of $where and path_metrics.sql.
-- Order of magnitude: 20 ms per 300,000 rows (a million conversions), on one core.
SELECT 'path' AS what, $path_hash AS hash, '' AS name, toInt64(sum(conversions)) AS n, toString($worth) AS worth
FROM $path_metrics
PREWHERE kind = 'path' AND toUInt16($path_hash) IN
(
    SELECT toUInt16($path_hash) AS bucket
    FROM $path_metrics
    WHERE kind = 'path' AND $where
    GROUP BY bucket
    ORDER BY sum(conversions) DESC
    LIMIT {buckets:UInt32}
)
WHERE $where
GROUP BY hash
HAVING n > 0
