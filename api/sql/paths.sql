-- Purpose: GET /v1/paths in one statement: rows (kind, key, conversions, revenue). Kinds: total, unattributed, path (key: the
-- channels in order), length (touchpoints), first_lag and last_lag (whole days from the first and the last touchpoint to the
-- conversion), has (a channel is in the path), last (it is the last).
-- Parameters: from, to (epoch seconds), currency, collapse (channels that follow themselves count once), most (rows of a
-- kind), and those of $where: sites, types, channels, as_of (epoch ms). $known is the condition of as_of alone.
-- A conversion that was credited once is read from its one row; those that were corrected are netted: a few per cent.
-- GROUPING SETS read the conversions once. In their rows channels = [] and a lag of 0 mean "not of this set"; so lags are days + 1,
-- and a conversion without path has the channel '' and no lag.
-- The whole rows are read without their touchpoint ids, by subcolumns: those are most of the table.
-- Order of magnitude: 2.5 s of one core per million conversions in the date range (measured), most of it grouping arrays.
SELECT kind, key, toUInt64(sum(n)) AS conversions, toString(sum(worth)) AS revenue
FROM
(
    SELECT n, worth, part.1 AS kind, part.2 AS key
    FROM
    (
        SELECT channels, first_lag, last_lag, count() AS n, sumIf(value, currency = {currency:String}) AS worth
        FROM
        (
            SELECT if(way = ['(unattributed)'], [''], arrayMap(name -> toString(name), way)) AS channels, currency, value,
                if(channels = [''], 0, 1 + intDiv(at - first_at, 86400000)) AS first_lag,
                if(channels = [''], 0, 1 + intDiv(at - last_at, 86400000)) AS last_lag
            FROM
            (
                SELECT currency, toUnixTimestamp64Milli(converted_at) AS at, value, touches.channel AS way,
                    toUnixTimestamp64Milli(touches.touched_at[1]) AS first_at,
                    toUnixTimestamp64Milli(touches.touched_at[-1]) AS last_at
                FROM $paths
                WHERE is_whole AND $where AND conversion_id NOT IN (SELECT conversion_id FROM $paths WHERE NOT is_whole AND $known)

                UNION ALL

                SELECT currency, toUnixTimestamp64Milli(converted_at) AS at, value, arrayMap(t -> t.3, stood) AS way,
                    toUnixTimestamp64Milli(stood[1].1) AS first_at, toUnixTimestamp64Milli(stood[-1].1) AS last_at
                FROM
                (
                    SELECT currency, converted_at, sum(worth_of) AS value,
                        arraySort(groupArrayIf(touch, net != 0)) AS stood
                    FROM
                    (
                        SELECT conversion_id, currency, conversion_type, converted_at, (t.1, t.2, t.3) AS touch,
                            sum(t.4) AS net, sum(if(place = 1, value, 0)) AS worth_of
                        FROM $paths
                        ARRAY JOIN touches AS t, arrayEnumerate(touches) AS place
                        WHERE $where AND conversion_id IN (SELECT conversion_id FROM $paths WHERE NOT is_whole AND $known)
                        GROUP BY conversion_id, currency, conversion_type, converted_at, touch
                    )
                    GROUP BY conversion_id, currency, conversion_type, converted_at
                    HAVING sum(net) > 0
                )
            )
        )
        WHERE $of_path
        GROUP BY GROUPING SETS ((channels), (first_lag), (last_lag))
    )
    ARRAY JOIN multiIf(
        channels = [''], [('total', ['']), ('unattributed', [''])],
        notEmpty(channels), arrayConcat(
            [('total', ['']), ('path', if({collapse:UInt8}, arrayCompact(channels), channels)),
                ('length', [toString(least(length(channels), {longest:UInt32}))]), ('last', [channels[-1]])],
            arrayMap(channel -> ('has', [channel]), arrayDistinct(channels))),
        first_lag > 0, [('first_lag', [toString(least(first_lag - 1, {oldest:UInt32}))])],
        last_lag > 0, [('last_lag', [toString(least(last_lag - 1, {oldest:UInt32}))])],
        []) AS part
)
GROUP BY kind, key
ORDER BY kind, conversions DESC, key
LIMIT {most:UInt32} BY kind
