-- Purpose: under which policies the conversions of a period stand: version and how many. A restatement that found nothing
-- to change has left no entry, so the newest finished one that covers a conversion counts if it is newer than its entries.
-- Parameters: site String ('' = all), since, until Int64 (epoch milliseconds, until excluded).
-- Order of magnitude: one scan of four columns of the ledger, about 1 s for ten million entries.
SELECT version, count() AS conversions
FROM
(
    SELECT conversion_id,
        if(max(restated_at) > max(credited_at), argMax(restated_version, restated_at), argMax(version_then, credited_at)) AS version
    FROM
    (
        SELECT conversion_id, version_then, credited_at, restated_version, restated_at
        FROM
        (
            SELECT conversion_id, any(credits.site) AS its_site, max(converted_at) AS instant,
                argMax(policy_version, recorded_at) AS version_then, max(recorded_at) AS credited_at
            FROM $credits AS credits
            WHERE (site = {site:String} OR {site:String} = '')
              AND converted_at >= fromUnixTimestamp64Milli({since:Int64}, 'UTC')
              AND converted_at < fromUnixTimestamp64Milli({until:Int64}, 'UTC')
            GROUP BY conversion_id
        ) AS credited
        CROSS JOIN
        (
            SELECT policy_version AS restated_version, site AS restated_site, since AS from_at, until AS to_at,
                recorded_at AS restated_at
            FROM $restatements
            WHERE phase = 'done'
            UNION ALL
            SELECT '' AS restated_version, '' AS restated_site, toDateTime64(0, 3, 'UTC') AS from_at,
                toDateTime64('2299-01-01 00:00:00', 3, 'UTC') AS to_at, toDateTime64(0, 3, 'UTC') AS restated_at
        ) AS restated
        WHERE (restated_site = '' OR restated_site = its_site) AND instant >= from_at AND instant < to_at
    )
    GROUP BY conversion_id
)
GROUP BY version
ORDER BY conversions DESC, version
