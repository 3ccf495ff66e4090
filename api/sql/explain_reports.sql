-- Purpose: the hits of some visitors of a site that report conversions, up to an instant: a path may end at the previous one.
-- Parameters: site String, visitors, types Array(String), until Int64 (epoch milliseconds, included).
-- Order of magnitude: 1 s per ten million hits of the site on a busy machine (two columns are read). Asked under few policies only.
SELECT toUnixTimestamp64Milli(occurred_at) AS occurred_at_ms, event, order_id, visitor_id, event_id
FROM $hits
PREWHERE event IN {types:Array(String)}
WHERE site = {site:String} AND visitor_id IN {visitors:Array(String)}
    AND occurred_at <= fromUnixTimestamp64Milli({until:Int64}, 'UTC')
ORDER BY occurred_at_ms, event_id
