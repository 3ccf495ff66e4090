-- Purpose: the next conversions of a period that stand, or stood until a deal was lost, cancelled or opened again (their
-- credit counts from the one instant to the other), in the table's own order. Of a conversion that was moved out of the
-- period the rows cancel each other.
-- Parameters: site String ('' = all), since, until Int64 (epoch milliseconds, until excluded), from_site, from_id String
-- (where the last page ended), limit UInt32. Order of magnitude: 20,000 of a million in 0.05 s.
SELECT site, conversion_id
FROM $conversions
WHERE (site, conversion_id) > ({from_site:String}, {from_id:String})
  AND (site = {site:String} OR {site:String} = '')
  AND converted_at >= fromUnixTimestamp64Milli({since:Int64}, 'UTC')
  AND converted_at < fromUnixTimestamp64Milli({until:Int64}, 'UTC')
GROUP BY site, conversion_id
HAVING sum(sign) > 0 OR argMax(cause, (recorded_at, -sign)) IN ('lost', 'cancellation', 'reopened')
ORDER BY site, conversion_id
LIMIT {limit:UInt32}
