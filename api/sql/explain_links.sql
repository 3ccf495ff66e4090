-- Purpose: what is known of the ids of some visitors, or of the visitors of some ids: the links with the evidence that holds.
-- Parameters: site String, names Array(String); $column is visitor_id or id.
-- Order of magnitude: 10 ms (primary key by visitor, bloom filter by id).
SELECT visitor_id, id, sum(sign) > 0 AS is_held, argMax(event_id, (said_at, recorded_at)) AS event,
    toUnixTimestamp64Milli(max(said_at)) AS said_at_ms
FROM $identity_links
WHERE site = {site:String} AND $column IN {names:Array(String)}
GROUP BY visitor_id, id
ORDER BY visitor_id, id
