-- Purpose: what stands credited for some conversions according to the ledger, entry by entry.
-- Parameters: ids Array(String). Order of magnitude: a granule for each conversion and model, 0.3 s for 500 of a million.
SELECT conversion_id, model, touchpoint_id, currency, sum(credits.weight) AS weight, sum(credits.amount) AS amount
FROM $credits AS credits
WHERE conversion_id IN {ids:Array(String)}
GROUP BY conversion_id, model, touchpoint_id, currency
HAVING weight != 0 OR amount != 0
