-- Purpose: the paths of one slice of the conversions, as credit saw them, counted by site and sequence of channels.
-- Parameters: from, to Int64 (epoch milliseconds, to excluded): when they converted; types Array(String); excluded
-- Array(String): channels that count no more; site String ('' = all); direct_alone UInt8: Direct counts only where there is
-- nothing else; slices, slice UInt32; longest UInt32: touchpoints kept of a path, the last ones; separator String.
-- Order of magnitude: a million paths in a second; answers a row per sequence.
SELECT
    site,
    arrayStringConcat(
        arraySlice(if({direct_alone:UInt8} AND notEmpty(others), others, counted), -toInt64({longest:UInt32})),
        {separator:String}) AS journey,
    sum(standing) AS converted
FROM
(
    SELECT
        site, sum(sign) AS standing,
        arrayFilter(channel -> NOT has({excluded:Array(String)}, channel), arrayMap(channel -> toString(channel), channels)) AS counted,
        arrayFilter(channel -> channel != 'Direct', counted) AS others
    FROM $paths
    WHERE toStartOfHour(converted_at) >= toStartOfHour(fromUnixTimestamp64Milli({from:Int64}, 'UTC'))
        AND converted_at >= fromUnixTimestamp64Milli({from:Int64}, 'UTC')
        AND converted_at < fromUnixTimestamp64Milli({to:Int64}, 'UTC')
        AND conversion_type IN {types:Array(String)}
        AND ({site:String} = '' OR site = {site:String})
        AND cityHash64(site, conversion_id) % {slices:UInt32} = {slice:UInt32}
    GROUP BY site, channels
    HAVING standing > 0
)
WHERE notEmpty(counted)
GROUP BY site, journey
