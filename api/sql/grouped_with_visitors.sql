-- The same with visitors, who do not add up over groups: counted exactly, from the sessions that stand.
-- $linked lists, where people are asked for, those of them whom any id names, by hash (people_links.sql).
-- Order of magnitude: grouped.sql, and 0.7 s per million sessions in the date range and core.
SELECT $keys, $sums
FROM
(
    SELECT $keys_as, $parts
    FROM $facts
    WHERE $where
    GROUP BY $keys

    UNION ALL

    SELECT $keys, $no_parts, toInt64(count()) AS p_visitors$linked
    FROM
    (
        SELECT $keys_as, site AS of_site, visitor_id
        FROM
        (
            SELECT site, hour, channel, source, medium, campaign, landing_page, '' AS model, '' AS basis,
                '' AS conversion_type, visitor_id, sign
            FROM $sessions
            ARRAY JOIN hours AS hour
            WHERE started_at < toDateTime64({to:UInt32}, 3, 'UTC') AND ended_at >= toDateTime64({from:UInt32}, 3, 'UTC')
        )
        WHERE $where
        GROUP BY $keys, of_site, visitor_id
        HAVING sum(sign) > 0
    )
    GROUP BY $keys
)
GROUP BY $keys
HAVING $having
