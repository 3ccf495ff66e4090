-- The same for what the roll-up does not keep (landing_page, visitors): from sessions, hits and credits.
-- Each branch sums to groups; visitors are counted exactly, from the sessions that stand.
-- Instants are compared with DateTime64, never DateTime: with `<` and a DateTime the engine (26.5) skips parts that
-- hold the last second before the bound.
-- Order of magnitude: about 1 s per 10 million sessions in the date range and core.
SELECT $keys, $sums
FROM
(
    SELECT $keys_as, $parts
    FROM
    (
        SELECT site, hour, channel, source, medium, campaign, landing_page, '' AS model, '' AS basis,
            '' AS conversion_type, '' AS currency, toInt64(hour_hit) * sign AS hits,
            toInt64(hour_page_view) * sign AS page_views, toInt64(0) AS impressions,
            toInt64(if(hour_index = 1, sign, 0)) AS sessions,
            toDecimal64(0, 9) AS conversions, toDecimal64(0, 4) AS revenue
        FROM $sessions
        ARRAY JOIN hours AS hour, hour_hits AS hour_hit, hour_page_views AS hour_page_view,
            arrayEnumerate(hours) AS hour_index
        WHERE started_at < toDateTime64({to:UInt32}, 3, 'UTC') AND ended_at >= toDateTime64({from:UInt32}, 3, 'UTC')
            AND $reads_traffic
        UNION ALL
        SELECT site, toStartOfHour(occurred_at, 'UTC') AS hour, channel, source, medium, campaign,
            '' AS landing_page, '' AS model, '' AS basis, '' AS conversion_type, '' AS currency, toInt64(1) AS hits,
            toInt64(event = 'page_view') AS page_views, toInt64(event = 'impression') AS impressions,
            toInt64(0) AS sessions, toDecimal64(0, 9) AS conversions, toDecimal64(0, 4) AS revenue
        FROM $hits
        WHERE in_session = 0 AND occurred_at >= toDateTime64({from:UInt32}, 3, 'UTC')
            AND occurred_at < toDateTime64({to:UInt32}, 3, 'UTC') AND $reads_traffic
        UNION ALL
        SELECT site, toStartOfHour($credit_time, 'UTC') AS hour, channel, source, medium, campaign, landing_page,
            model, {basis:String} AS basis, conversion_type, currency, toInt64(0) AS hits, toInt64(0) AS page_views,
            toInt64(0) AS impressions, toInt64(0) AS sessions, weight AS conversions, amount AS revenue
        FROM $credits
        WHERE model = {model:String} AND $credit_time >= toDateTime64({from:UInt32}, 3, 'UTC')
            AND $credit_time < toDateTime64({to:UInt32}, 3, 'UTC') AND $reads_credit
    )
    WHERE $where
    GROUP BY $keys

    UNION ALL

    SELECT $keys, $no_parts, toInt64(count()) AS p_visitors
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
                AND $reads_visitors
        )
        WHERE $where
        GROUP BY $keys, of_site, visitor_id
        HAVING sum(sign) > 0
    )
    GROUP BY $keys
)
GROUP BY $keys
HAVING $having
