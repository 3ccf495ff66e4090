-- Purpose: touchpoints that stand, by the hits that may have made them. What their rows say, signs and sources apart.
-- Parameters and order of magnitude: as standing_sessions.sql.
SELECT site, touchpoint_id, visitor_id, toUnixTimestamp64Milli(touched_at), channel, source, medium, campaign, term, content,
    ad_network, landing_page, kind, device, country
FROM $touchpoints
WHERE toStartOfHour(touched_at) IN (SELECT toDateTime(arrayJoin({hours:Array(UInt32)}), 'UTC'))
  AND touchpoint_id IN {ids:Array(String)}
  AND NOT (src_broker = {broker:String} AND src_partition = {partition:UInt16} AND src_offset >= {first:UInt64})
GROUP BY ALL
HAVING sum(sign) > 0
