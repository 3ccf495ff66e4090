-- Purpose: every signed row of a conversion, found by its id or by its order id.
-- Parameters: reference String. Order of magnitude: 10 ms over a million conversions (one scan of two columns).
SELECT site, conversion_id, type, order_id, visitor_id, event_id, toUnixTimestamp64Milli(converted_at) AS converted_at_ms,
    value, currency, sign, cause, toUnixTimestamp64Milli(recorded_at) AS recorded_at_ms, ids
FROM $conversions
WHERE conversion_id = {reference:String} OR (order_id = {reference:String} AND order_id != '')
ORDER BY recorded_at_ms, sign
