-- Purpose: whether conversions have come, changed or gone since they were read.
-- Order of magnitude: 5 ms per million conversions and core.
SELECT count() AS rows, sum(sign) AS standing, toUnixTimestamp64Milli(max(recorded_at)) AS newest
FROM $conversions
