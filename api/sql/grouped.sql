-- One row per group: keys d0, d1, ... and measures m_*. $facts is channel_metrics wherever that can answer, else the
-- rows of facts_detail.sql. Traffic rows have model '' and basis ''.
-- Order of magnitude: 20 ms and 30 ms per million cells read, on one core.
SELECT $keys_as, $totals
FROM $facts
WHERE $where
GROUP BY $keys
HAVING $having
