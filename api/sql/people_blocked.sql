-- Purpose: ids that may be blocked, with the hashes that people_links.sql knows them by. The reader decides: those that
-- are not ASCII are all asked, for upper and lower case are not the engine's matter there.
-- Parameters: blocked Array(String), values in lower case, without their kind.
-- Order of magnitude: 0.2 s per million links and core.
SELECT DISTINCT id, sipHash64(site, id) AS link
FROM $identity_links
WHERE has({blocked:Array(String)}, lower(substring(id, position(id, ':') + 1))) OR length(id) != lengthUTF8(id)
