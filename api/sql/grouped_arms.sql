-- One row per group from several arms, each of which has rows of keys d0, d1, ... and parts p_*.
SELECT $keys, $sums
FROM
(
$rows
)
GROUP BY $keys
HAVING $having
