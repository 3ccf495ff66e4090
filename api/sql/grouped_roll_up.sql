-- Everything that channel_metrics knows, summed by group. Traffic rows have model '' and basis ''.
SELECT $keys_as, $totals
FROM $channel_metrics
WHERE $where
GROUP BY $keys
HAVING $having
