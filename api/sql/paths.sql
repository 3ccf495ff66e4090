-- Purpose: GET /v1/paths in one statement: rows (kind, key, conversions, revenue). Kinds: path (key: the channels in order),
-- length (touchpoints; 0 = nobody can be credited), first_lag and last_lag (whole days from the first and the last
-- touchpoint to the conversion), has (a channel is in the path), last (it is the last).
-- Parameters: currency, pipeline_types (no revenue), most (rows of a kind), longest (touchpoints), oldest (days), and those of $where: from, to (epoch seconds),
-- sites, types, channels, as_of (epoch ms). $path_hash: of paths as they are or collapsed; $shown makes one of channels.
-- Rows are signed, so each kind is a plain sum over one small column, and no conversion is put together. All of
-- it over one GROUPING SETS, or a longer key, costs many times as much.
-- Order of magnitude: 0.4 s per million conversions and core where every eighth path is another; 0.7 s with channels.
SELECT kind, key, toUInt64(n) AS conversions, toString(worth) AS revenue
FROM
(
    -- Which are the most frequent is told by hashes alone; channels are read of those only.
    SELECT 'path' AS kind, arrayMap(name -> toString(name), $shown) AS key, sum(sign) AS n, $worth AS worth
    FROM $paths
    PREWHERE $path_hash IN
    (
        SELECT $path_hash
        FROM $paths
        WHERE $where AND touchpoints > 0
        GROUP BY $path_hash
        ORDER BY sum(sign) DESC, $path_hash
        LIMIT {most:UInt32}
    )
    WHERE $where
    GROUP BY $path_hash

    UNION ALL

    SELECT 'length', [toString(many)], sum(sign), $worth
    FROM $paths
    WHERE $where
    GROUP BY least(touchpoints, {longest:UInt16}) AS many

    UNION ALL

    SELECT 'first_lag', [toString(days)], sum(sign), $worth
    FROM $paths
    WHERE $where AND touchpoints > 0
    GROUP BY least(days_from_first, {oldest:UInt16}) AS days

    UNION ALL

    SELECT 'last_lag', [toString(days)], sum(sign), $worth
    FROM $paths
    WHERE $where AND touchpoints > 0
    GROUP BY least(days_from_last, {oldest:UInt16}) AS days

    UNION ALL

    SELECT 'has', [toString(channel)], sum(sign), $worth
    FROM $paths
    ARRAY JOIN distinct_channels AS channel
    WHERE $where
    GROUP BY channel

    UNION ALL

    SELECT 'last', [toString(last_channel)], sum(sign), $worth
    FROM $paths
    WHERE $where AND touchpoints > 0
    GROUP BY last_channel
)
WHERE n > 0
ORDER BY kind, conversions DESC, key
LIMIT {most:UInt32} BY kind
