-- Purpose: hits kept more than once: the same event_id of the same visitor of the same site.
-- Parameters: low, high UInt32 (hours of occurred_at as epoch seconds, high excluded), limit UInt32.
-- Order of magnitude: about 2 s per 10 million hits and core; groups by a 64-bit hash to stay small in memory,
-- and by the names themselves only for the few hashes that stand twice.
SELECT visitor_id, event_id, count() AS copies
FROM $hits
WHERE toStartOfHour(occurred_at) >= toDateTime({low:UInt32}, 'UTC')
    AND toStartOfHour(occurred_at) < toDateTime({high:UInt32}, 'UTC')
    AND cityHash64(site, visitor_id, event_id) IN
(
    SELECT cityHash64(site, visitor_id, event_id) AS name
    FROM $hits
    WHERE toStartOfHour(occurred_at) >= toDateTime({low:UInt32}, 'UTC')
        AND toStartOfHour(occurred_at) < toDateTime({high:UInt32}, 'UTC')
    GROUP BY name
    HAVING count() > 1
)
GROUP BY site, visitor_id, event_id
HAVING copies > 1
ORDER BY visitor_id, event_id
LIMIT {limit:UInt32}
