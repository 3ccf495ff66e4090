-- Conversions that reach a stage: those that stand, and deals that stood until they were lost. What was cancelled, deleted
-- or opened again reaches nothing. Of a conversion whose facts were corrected only the last ones stand. Fragment of
-- funnel_visitors.sql and funnel_told.sql.
-- Values: types, type_stages (their places), sites.
SELECT site, conversion_id, visitor_id, ids,
    transform(type, {types:Array(String)}, {type_stages:Array(UInt64)}, toUInt64(0)) AS stage,
    toUInt64(toUnixTimestamp64Milli(converted_at)) AS at, toUInt64(sum(sign) <= 0) AS is_lost
FROM $conversions
WHERE type IN {types:Array(String)} AND $of_sites
GROUP BY site, conversion_id, type, visitor_id, ids, converted_at
HAVING sum(sign) > 0 OR argMaxIf(cause, (recorded_at, cause = 'lost'), sign < 0) = 'lost'
