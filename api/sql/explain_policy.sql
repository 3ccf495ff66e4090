-- Purpose: the policy of a version, as JSON. Parameters: version String. Order of magnitude: 2 ms.
SELECT policy
FROM $policies
WHERE version = {version:String}
LIMIT 1
