-- Purpose: every row of conversions that are revenue, those of the earliest first: conversion and visitor by hash (visitor 0 = nobody
-- is known), the instant (epoch ms), what it is worth (in 1/10,000, as stored) and the sign. The reader adds the signs up
-- (attribution.bulk.customers.standing): grouping by texts would cost five times as much as all the rest.
-- $known: as of an instant what was recorded by then. Parameters: pipeline_types, most (rows).
-- Order of magnitude: 0.8 s per million rows and core.
SELECT sipHash64(site, conversion_id) AS conversion, if(visitor_id = '', toUInt64(0), sipHash64(site, visitor_id)) AS visitor,
    reinterpretAsUInt64(toUnixTimestamp64Milli(converted_at)) AS at_ms, reinterpretAsUInt64(value) AS worth,
    reinterpretAsUInt64(toInt64(sign)) AS sign_
FROM $conversions
WHERE type NOT IN {pipeline_types:Array(String)} AND $known
ORDER BY converted_at, conversion_id, site
LIMIT {most:UInt32}
