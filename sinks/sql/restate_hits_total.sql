-- Purpose: how many hits have visitors that were there in a period: what a restatement sends again.
-- Parameters: site String ('' = all), since, until Int64 (epoch milliseconds, until excluded).
-- Order of magnitude: two scans of two columns, some seconds for a hundred million hits.
SELECT count()
FROM $hits
WHERE (site = {site:String} OR {site:String} = '')
  AND (site, visitor_id) IN
  (
      SELECT site, visitor_id
      FROM $hits
      WHERE occurred_at >= fromUnixTimestamp64Milli({since:Int64}, 'UTC')
        AND occurred_at < fromUnixTimestamp64Milli({until:Int64}, 'UTC')
  )
