-- Purpose: how much traffic each hour holds, so that the audit can cut the past into slices of bounded cost. Only a
-- guide: a roll-up that is wrong makes slices of another size, and never one too few.
-- Parameters: low UInt32 (epoch seconds), limit UInt32. Order of magnitude: 10 ms per million cells.
SELECT toUnixTimestamp(hour) AS at, greatest(0, sum(hits)) AS weight
FROM $channel_metrics
WHERE model = '' AND basis = '' AND hour >= toDateTime({low:UInt32}, 'UTC')
GROUP BY hour
ORDER BY hour
LIMIT {limit:UInt32}
