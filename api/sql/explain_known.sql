-- Purpose: which of some ids are conversions of a site. Parameters: site String, ids Array(String).
-- Order of magnitude: 10 ms for twenty ids over a million conversions (primary key).
SELECT DISTINCT conversion_id
FROM $conversions
WHERE site = {site:String} AND conversion_id IN {ids:Array(String)}
