-- Rows shaped like channel_metrics with what it does not keep (landing_page, ad_network, term, content, country, device; when
-- the ledger learnt of it, for reports as of an earlier instant), from sessions, hits and credits. $scene and $scenes: country
-- and device of credit are joined from its touchpoints (touch_scenes.sql) where they are asked for. The ledger is append-only: as of an instant it is its rows
-- that were recorded by then.
-- Instants are compared with DateTime64, never DateTime: with `<` and a DateTime the engine (26.5) skips parts that
-- hold the last second before the bound.
-- Order of magnitude: 0.3 s per million rows in the date range and core.
(
    SELECT site, hour, channel, source, medium, campaign, landing_page, ad_network, term, content, country, device,
        '' AS model, '' AS basis, '' AS conversion_type, '' AS currency, toInt64(hour_hit) * sign AS hits,
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
        '' AS landing_page, ad_network, term, content, country, device, '' AS model, '' AS basis, '' AS conversion_type, '' AS currency, toInt64(1) AS hits,
        toInt64(event = 'page_view') AS page_views, toInt64(event = 'impression') AS impressions,
        toInt64(0) AS sessions, toDecimal64(0, 9) AS conversions, toDecimal64(0, 4) AS revenue
    FROM $hits
    WHERE in_session = 0 AND occurred_at >= toDateTime64({from:UInt32}, 3, 'UTC')
        AND occurred_at < toDateTime64({to:UInt32}, 3, 'UTC') AND $reads_traffic
    UNION ALL
    SELECT site, toStartOfHour($credit_time, 'UTC') AS hour, channel, source, medium, campaign, landing_page,
        ad_network, term, content, $scene, model, {basis:String} AS basis, conversion_type, currency, toInt64(0) AS hits, toInt64(0) AS page_views,
        toInt64(0) AS impressions, toInt64(0) AS sessions, weight AS conversions, amount AS revenue
    FROM $credits AS c $scenes
    WHERE $which_credits
)
