-- Purpose: as people_blocked.sql, of the ids that conversions name.
-- Parameters: blocked Array(String), values in lower case, without their kind.
SELECT DISTINCT id, sipHash64(site, id) AS link
FROM (SELECT site, arrayJoin(ids) AS id FROM $conversions)
WHERE has({blocked:Array(String)}, lower(substring(id, position(id, ':') + 1))) OR length(id) != lengthUTF8(id)
