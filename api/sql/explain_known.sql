-- Purpose: which of some ids are conversions of a site. Parameters: site String, ids Array(String).
-- Order of magnitude: 5 ms (primary key).
SELECT DISTINCT conversion_id
FROM $conversions
WHERE site = {site:String} AND conversion_id IN {ids:Array(String)}
