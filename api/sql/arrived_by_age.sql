-- The same by age alone, in the currency asked for.
SELECT place, toString($money), toString(sum(p_weight))
FROM
(
$rows
)
GROUP BY place
ORDER BY place
