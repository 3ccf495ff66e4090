-- Groups with the sessions and the spend of all conversion types beside them: what cr, cpa and roas relate to. $grouped is
-- one row per group, $bases sums over the dimensions that traffic has as well, $keep leaves out sides that nobody asked for.
SELECT *
FROM
(
    SELECT *, $bases
    FROM
    (
$grouped
    )
)
WHERE $keep
