-- Purpose: the types of the conversions of a period that brought money.
-- Parameters: from, to Int64 (epoch milliseconds, to excluded), site String ('' = all).
-- Order of magnitude: a million conversions in well under a second; a few rows.
SELECT conversion_type
FROM $paths
WHERE toStartOfHour(converted_at) >= toStartOfHour(fromUnixTimestamp64Milli({from:Int64}, 'UTC'))
    AND converted_at >= fromUnixTimestamp64Milli({from:Int64}, 'UTC')
    AND converted_at < fromUnixTimestamp64Milli({to:Int64}, 'UTC')
    AND ({site:String} = '' OR site = {site:String})
GROUP BY conversion_type
HAVING sum(value * sign) > 0
