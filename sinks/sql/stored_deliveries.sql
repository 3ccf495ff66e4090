-- Purpose: deliveries of a site as they came, page by page in the order of their arrival; how far the worker was with them.
-- Parameters: site, source String ('' = of all senders), limit UInt32; from_at Int64, from_broker String, from_offset UInt64,
-- from_position UInt16: behind which place the page begins; broker String, partition UInt16, first UInt64: those of that
-- partition of that log from that offset on are left out.
-- Order of magnitude: by the primary key, the page's rows and their bodies.
SELECT site, source, scheme, keys, toUnixTimestamp64Milli(received_at) AS at, outcome, has(reasons, 'unreadable_body'), headers,
    body_base64, src_broker, src_partition, src_offset, position
FROM $deliveries
WHERE site = {site:String} AND (source = {source:String} OR {source:String} = '')
  AND (toUnixTimestamp64Milli(received_at), src_broker, src_offset, position)
      > ({from_at:Int64}, {from_broker:String}, {from_offset:UInt64}, {from_position:UInt16})
  AND NOT (src_broker = {broker:String} AND src_partition = {partition:UInt16} AND src_offset >= {first:UInt64})
ORDER BY at, src_broker, src_offset, position
LIMIT {limit:UInt32}
