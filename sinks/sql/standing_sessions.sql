-- Purpose: sessions that stand, by the hits that may have begun them. What their rows say, signs and sources apart.
-- Parameters: hours Array(UInt32) (epoch seconds) and ids Array(String) of these hits; broker String, partition UInt16, first
-- UInt64: rows of that partition of that log from that offset on are left out.
-- Order of magnitude: a granule for each hour, by the primary key.
SELECT site, session_id, visitor_id, toUnixTimestamp64Milli(started_at), toUnixTimestamp64Milli(ended_at), channel, source,
    medium, campaign, term, content, ad_network, landing_page, referrer_host, device, country, hits, page_views,
    arrayMap(hour -> toUnixTimestamp(hour), hours), hour_hits, hour_page_views
FROM $sessions
WHERE toStartOfHour(started_at) IN (SELECT toDateTime(arrayJoin({hours:Array(UInt32)}), 'UTC'))
  AND session_id IN {ids:Array(String)}
  AND NOT (src_broker = {broker:String} AND src_partition = {partition:UInt16} AND src_offset >= {first:UInt64})
GROUP BY ALL
HAVING sum(sign) > 0
