-- Purpose: the touchpoints of a person's visitors that stand.
-- Parameters: site String, visitors Array(String).
-- Order of magnitude: 0.3 s per ten million touchpoints of the site: the table is sorted by time, not by visitor. An
-- index for this one question, asked by a person now and then, would cost every insert.
SELECT touchpoint_id, toUnixTimestamp64Milli(touched_at) AS touched_at_ms, channel, source, medium, campaign, term,
    content, ad_network, landing_page, visitor_id, max(kind) AS kind
FROM $touchpoints
WHERE site = {site:String} AND visitor_id IN {visitors:Array(String)}
GROUP BY touchpoint_id, visitor_id, touched_at, channel, source, medium, campaign, term, content, ad_network, landing_page
HAVING sum(sign) > 0
ORDER BY touched_at_ms, touchpoint_id
