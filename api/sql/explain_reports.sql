-- Purpose: the conversions that stand of some visitors of a site: a path may end at the previous one, or need a lead's instant.
-- Parameters: site String, visitors Array(String). Order of magnitude: 10 ms over a million conversions (one scan).
SELECT toUnixTimestamp64Milli(converted_at) AS converted_at_ms, conversion_id, type
FROM $conversions
WHERE site = {site:String} AND visitor_id IN {visitors:Array(String)}
GROUP BY converted_at, conversion_id, type
HAVING sum(sign) > 0
ORDER BY converted_at_ms, conversion_id
