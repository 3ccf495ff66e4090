-- Purpose: GET /v1/funnel by channel, what brought each visitor first: visitor by hash, and instant * 65536 + the place of the
-- channel in channels. Sessions that stand, and hits outside sessions that reach a stage and say where they come from.
-- Parameters: to (epoch ms), events, channels, sites, most. Order of magnitude: 0.7 s per million sessions and core.
SELECT visitor, min(at * 65536 + place) AS first
FROM
(
    SELECT sipHash64(site, visitor_id) AS visitor, toUInt64(toUnixTimestamp64Milli(started_at)) AS at,
        toUInt64(indexOf({channels:Array(String)}, channel)) AS place
    FROM $sessions
    WHERE toUnixTimestamp64Milli(started_at) < {to:UInt64} AND $of_sites
    GROUP BY site, visitor_id, session_id, started_at, channel
    HAVING sum(sign) > 0
    UNION ALL
    SELECT sipHash64(site, visitor_id) AS visitor, toUInt64(toUnixTimestamp64Milli(occurred_at)) AS at,
        toUInt64(indexOf({channels:Array(String)}, channel)) AS place
    FROM $hits
    WHERE in_session = 0 AND event IN {events:Array(String)} AND channel != 'Direct' AND source != '(not set)'
        AND toUnixTimestamp64Milli(occurred_at) < {to:UInt64} AND $of_sites
)
GROUP BY visitor
LIMIT {most:UInt64}
