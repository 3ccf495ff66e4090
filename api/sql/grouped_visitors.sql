-- Visitors, who do not add up over groups: counted exactly, from the sessions that stand. An arm of grouped_arms.sql.
-- $linked lists, where people are asked for, those of them whom any id names, by hash (people_links.sql).
-- Order of magnitude: 0.7 s per million sessions in the date range and core.
SELECT $keys$of_money, $no_parts, toInt64(count()) AS p_visitors$linked
FROM
(
    SELECT $keys_as, site AS of_site, visitor_id
    FROM
    (
        SELECT site, hour, channel, source, medium, campaign, landing_page, ad_network, term, content, country, device,
            '' AS model, '' AS basis, '' AS conversion_type, visitor_id, sign
        FROM $sessions
        ARRAY JOIN hours AS hour
        WHERE started_at < toDateTime64({to:UInt32}, 3, 'UTC') AND ended_at >= toDateTime64({from:UInt32}, 3, 'UTC')
    )
    WHERE $where
    GROUP BY $keys, of_site, visitor_id
    HAVING sum(sign) > 0
)
GROUP BY $keys
