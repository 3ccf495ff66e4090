-- Conversions by which somebody may have become a customer, and each one's shares of a group (in 1/1,000,000,000), conversion by
-- hash and share in turns, as often as it has entries: what of that is anybody's first, and adds up to something,
-- api/acquired.py tells. An arm of grouped_arms.sql. Signed entries of one model, at the time of the conversion or of the touch,
-- whenever they were booked. (Decimals as the whole numbers that they are stored as: the small embedded engine cannot multiply
-- large ones.) Adding up each conversion's here would cost twice as much as all the rest.
-- Order of magnitude: 0.25 s per million entries of the model in the date range and core.
SELECT $keys_as$of_money$no_parts,
    groupArrayArray([sipHash64(site, conversion_id), reinterpretAsUInt64(units)]) AS p_acquired
FROM
(
    SELECT site, toStartOfHour($credit_time, 'UTC') AS hour, channel, source, medium, campaign, landing_page, ad_network, term,
        content, $scene, model, conversion_type, conversion_id, reinterpretAsInt64(weight) AS units
    FROM $credits AS c $scenes
    WHERE $which AND weight != 0
)
WHERE $where
GROUP BY $keys
