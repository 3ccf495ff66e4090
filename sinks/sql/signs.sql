-- Purpose: signed facts that do not add up. What is taken back must have been there (each distinct row stands 0 or 1
-- times), and one id stands at most once.
-- $table with its id column $id and every other fact column in $facts; $range says which rows: all of one id or none.
-- Parameters: low, high (as $range has them), limit UInt32.
-- Order of magnitude: about 1 s per 5 million rows and core.
SELECT $id AS id, sum(standing) AS stands, min(standing) AS lowest, max(standing) AS highest
FROM
(
    SELECT site, $id, toInt64(sum(sign)) AS standing
    FROM $table
    WHERE $range
    GROUP BY site, $id, cityHash64($facts)
)
GROUP BY site, $id
HAVING stands NOT IN (0, 1) OR lowest < 0 OR highest > 1
ORDER BY id
LIMIT {limit:UInt32}
