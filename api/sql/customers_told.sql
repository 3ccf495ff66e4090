-- Purpose: whom senders of deals say that conversions are about: conversion and id by hash, of those that stand.
-- $known: as of an instant what was recorded by then. Parameters: pipeline_types, most (rows).
-- Order of magnitude: 0.7 s per million conversions with ids and core.
SELECT sipHash64(site, conversion_id) AS conversion, sipHash64(site, id) AS link
FROM
(
    SELECT site, conversion_id, ids
    FROM $conversions
    WHERE notEmpty(ids) AND type NOT IN {pipeline_types:Array(String)} AND $known
    GROUP BY site, conversion_id, ids
    HAVING sum(sign) > 0
)
ARRAY JOIN ids AS id
WHERE NOT startsWith(id, 'account:')
LIMIT {most:UInt32}
