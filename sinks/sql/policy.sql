-- Purpose: one attribution policy by its version, as JSON; every row of a version says the same.
-- Parameters: version String. Order of magnitude: milliseconds.
SELECT policy
FROM $policies
WHERE version = {version:String}
LIMIT 1
