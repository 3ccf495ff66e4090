-- Purpose: how many touchpoint rows learning has to read, to cut it into slices of visitors.
-- Parameters: low, high Int64 (instants, epoch milliseconds, high excluded), site String ('' = all).
-- Order of magnitude: 10 million rows in well under a second.
SELECT count()
FROM $touchpoints
WHERE toStartOfHour(touched_at) >= toStartOfHour(fromUnixTimestamp64Milli({low:Int64}, 'UTC'))
    AND touched_at >= fromUnixTimestamp64Milli({low:Int64}, 'UTC')
    AND touched_at < fromUnixTimestamp64Milli({high:Int64}, 'UTC')
    AND ({site:String} = '' OR site = {site:String})
