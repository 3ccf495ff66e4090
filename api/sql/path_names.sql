-- Purpose: the channels of some paths by their hash: rows (hash, channels). Any row with the hash will do, so reading ends when
-- each was seen: frequent paths at once.
-- Parameters: hashes, and those of $where. $path_hash: of paths as they are or collapsed; $shown makes one of channels.
-- Order of magnitude: 7 ms for frequent paths, 20 ms per million conversions if one is rare.
SELECT $path_hash AS hash, arrayMap(name -> toString(name), $shown) AS key
FROM $paths
PREWHERE $path_hash IN {hashes:Array(UInt64)}
WHERE $where
LIMIT 1 BY hash
LIMIT {many:UInt32}
