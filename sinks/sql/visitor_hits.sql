-- Purpose: all hits of some visitors, as they were heard: what a timeline is made of.
-- Parameters: sites, visitors Array(String) of equal length; broker String, partition UInt16, first UInt64: hits of that
-- partition of that log from that offset on are left out (broker '' = none are).
-- Order of magnitude: a bloom filter leaves the granules that have one of the visitors; without it one scan of visitor_id.
SELECT event_id, site, visitor_id, toUnixTimestamp64Milli(occurred_at), toUnixTimestamp64Milli(received_at), event,
    clock_skew_ms, time_flag, url, referrer, title, user_id, email_sha256, toString(value), currency, order_id, consent,
    gpc, dnt, user_agent, ip, country, props
FROM $hits
WHERE visitor_id IN {visitors:Array(String)}
  AND (site, visitor_id) IN (SELECT one.1, one.2 FROM (SELECT arrayJoin(arrayZip({sites:Array(String)}, {visitors:Array(String)})) AS one))
  AND NOT (src_broker = {broker:String} AND src_partition = {partition:UInt16} AND src_offset >= {first:UInt64})
