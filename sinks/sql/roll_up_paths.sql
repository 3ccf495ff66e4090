-- Purpose: cells of path_metrics that differ from a recount of paths (the same definition as in migration 0010). Both sides of
-- each figure: kept, recounted.
-- Parameters: limit UInt32. Rows being written at this moment may show: they are in the source before the roll-up.
-- Order of magnitude: about 3 s per million conversions and core.
SELECT kind, site, toString(day) AS at, conversion_type, currency, channel, toString(number) AS number, toString(path_hash) AS hash,
    sumIf(n, side = 1) AS conversions_kept, sumIf(n, side = -1) AS conversions_recounted,
    sumIf(worth, side = 1) AS revenue_kept, sumIf(worth, side = -1) AS revenue_recounted
FROM
(
    SELECT 1 AS side, kind, site, day, conversion_type, currency, channel, number, path_hash,
        toInt64(sum(conversions)) AS n, sum(revenue) AS worth
    FROM $path_metrics
    GROUP BY kind, site, day, conversion_type, currency, channel, number, path_hash
    UNION ALL
    SELECT -1 AS side, kind, site, toDate32(converted_at, 'UTC') AS day, conversion_type, currency, channel, number,
        if(kind = 'path', p.path_hash, 0) AS path_hash, toInt64(sum(sign)) AS n, sum(value * sign) AS worth
    FROM $paths AS p
    ARRAY JOIN
        arrayConcat(['length', 'first_lag', 'last_lag', 'path', 'last'], arrayMap(one -> 'has', distinct_channels)) AS kind,
        arrayConcat(
            [toUInt64(least(touchpoints, 100)), toUInt64(least(days_from_first, 400)), toUInt64(least(days_from_last, 400)),
                collapsed_hash, toUInt64(0)],
            arrayMap(one -> toUInt64(0), distinct_channels)) AS number,
        arrayConcat(['', '', '', '', toString(last_channel)], distinct_channels) AS channel
    WHERE touchpoints > 0 OR kind = 'length'
    GROUP BY kind, site, day, conversion_type, currency, channel, number, path_hash
)
GROUP BY kind, site, day, conversion_type, currency, channel, number, path_hash
HAVING conversions_kept != conversions_recounted OR revenue_kept != revenue_recounted
ORDER BY kind, site, day, conversion_type, currency, channel, number, path_hash
LIMIT {limit:UInt32}
