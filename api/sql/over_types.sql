-- Groups with the sessions of all conversion types beside them: what cr divides by. $grouped is one row per group,
-- $window the dimensions that traffic has as well, $keep leaves out traffic that nobody asked for.
SELECT *
FROM
(
    SELECT *, sum(m_sessions) OVER ($window) AS m_sessions_base
    FROM
    (
$grouped
    )
)
WHERE $keep
