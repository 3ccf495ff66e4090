-- Conversions by which somebody may have become a customer, and each one's share of a group (in 1/1,000,000,000), conversion by
-- hash and share in turns: which of them are anybody's first, api/customers.py knows. An arm of grouped_arms.sql. Signed
-- entries of one model, at the time of the conversion or of the touch, whenever they were booked. (Decimals as the whole
-- numbers that they are stored as: the small embedded engine cannot multiply large ones.)
-- Order of magnitude: 0.6 s per million entries of the model in the date range and core.
SELECT $keys$of_money$no_parts, groupArrayArray([conversion, share]) AS p_acquired
FROM
(
    SELECT $keys_as, sipHash64(site, conversion_id) AS conversion,
        reinterpretAsUInt64(sum(units)) AS share
    FROM
    (
        SELECT site, toStartOfHour($credit_time, 'UTC') AS hour, channel, source, medium, campaign, landing_page, ad_network, term,
            content, $scene, model, conversion_type, conversion_id, reinterpretAsInt64(weight) AS units
        FROM $credits AS c $scenes
        WHERE $which
    )
    WHERE $where
    GROUP BY $keys, site, conversion_id
    HAVING sum(units) != 0
)
GROUP BY $keys
