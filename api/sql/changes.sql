-- Purpose: POST /v1/changes: what ledger entries recorded after {after} and up to {until} (epoch ms) did to a report, by cause
-- and by the dimensions asked for; cause '' is everything recorded by {after}: the report as it stood.
-- Built by api/changes.py: $keys_as (d0 ...), $keys, $texts, $where (as in grouped.sql), $earned, $credit_time, $which (the entries), $scene and $scenes (touch_scenes.sql). The greatest changes first.
-- Order of magnitude: 0.3 s per million ledger entries of the model and core.
SELECT CAST(why, 'String') AS cause, [$texts] AS dimensions, toString(conversions_of) AS conversions,
    toString(revenue_of) AS revenue, entries
FROM
(
    SELECT why, $keys_as, sum(m.conversions) AS conversions_of, sumIf(m.revenue, currency = {currency:String} AND $earned) AS revenue_of,
        count() AS entries
    FROM
    (
        SELECT site, toStartOfHour($credit_time, 'UTC') AS hour, channel, source, medium, campaign, landing_page, ad_network, term, content,
            $scene, model, conversion_type, currency, weight AS conversions, amount AS revenue,
            if(toUnixTimestamp64Milli(recorded_at) <= {after:Int64}, '', cause) AS why
        FROM $credits AS c $scenes
        WHERE $which
    ) AS m
    WHERE $where
    GROUP BY why, $keys
)
ORDER BY why = '' DESC, abs(toFloat64(revenue_of)) DESC, abs(toFloat64(conversions_of)) DESC, why, $keys
