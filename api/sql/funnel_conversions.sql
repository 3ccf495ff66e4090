-- Conversions that reach a stage: those that stand, and deals that stood until they were lost. What was cancelled, deleted
-- or opened again, and what never stood as far as is known now, reaches nothing. Of a conversion whose facts were corrected
-- only the last ones count: those that stand, else those that were taken back last. names: the ids that senders told, without
-- companies. Fragment of funnel_visitors.sql and funnel_told.sql.
-- Instants and causes are one number (recorded * 4 + what the cause is, + 2^63 of what stands): comparing tuples takes longer.
-- Values: types, type_stages (their places), sites.
SELECT site, conversion_id, facts.2 AS visitor_id, arrayFilter(one -> NOT startsWith(one, 'account:'), facts.3) AS names,
    transform(facts.1, {types:Array(String)}, {type_stages:Array(UInt64)}, toUInt64(0)) AS stage,
    toUInt64(toUnixTimestamp64Milli(facts.4)) AS at, toUInt64(last < 9223372036854775808) AS is_lost
FROM
(
    SELECT site, conversion_id, argMax((type, visitor_id, ids, converted_at), rank) AS facts, max(rank) AS last
    FROM
    (
        SELECT site, conversion_id, type, visitor_id, ids, converted_at,
            toUInt64(sum(sign) > 0) * 9223372036854775808 + maxIf(toUInt64(toUnixTimestamp64Milli(recorded_at)) * 4
                + multiIf(cause = 'never_stood', 2, cause = 'lost', 1, 0), sign < 0) AS rank
        FROM $conversions
        WHERE type IN {types:Array(String)} AND $of_sites
        GROUP BY site, conversion_id, type, visitor_id, ids, converted_at
    )
    GROUP BY site, conversion_id
)
WHERE last >= 9223372036854775808 OR last % 4 = 1
