-- Purpose: all hits of one slice of the visitors that were there in a period, visitor by visitor, as they were heard.
-- Parameters: site String ('' = all), since, until Int64 (epoch milliseconds, until excluded), slices, slice UInt32.
-- Order of magnitude: one scan of visitor_id for each slice, and the slice's rows.
SELECT event_id, site, visitor_id, toUnixTimestamp64Milli(occurred_at), toUnixTimestamp64Milli(received_at), event,
    clock_skew_ms, time_flag, url, referrer, title, user_id, email_sha256, toString(value), currency, order_id, consent,
    gpc, dnt, user_agent, ip, country, props
FROM $hits
WHERE cityHash64(visitor_id) % {slices:UInt32} = {slice:UInt32}
  AND (site = {site:String} OR {site:String} = '')
  AND (site, visitor_id) IN
  (
      SELECT site, visitor_id
      FROM $hits
      WHERE cityHash64(visitor_id) % {slices:UInt32} = {slice:UInt32}
        AND occurred_at >= fromUnixTimestamp64Milli({since:Int64}, 'UTC')
        AND occurred_at < fromUnixTimestamp64Milli({until:Int64}, 'UTC')
  )
ORDER BY site, visitor_id, src_offset
