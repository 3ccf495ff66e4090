-- Purpose: whether rates have come since money was converted, and the first day that they are told from (rates_from.sql).
-- Order of magnitude: 5 ms.
SELECT count() AS rates, toUnixTimestamp64Milli(max(recorded_at)) AS newest, sum(reinterpretAsInt64(rate)) AS units,
    (SELECT toUInt32(toDate(min(hour), 'UTC')) FROM $all_metrics) AS first_day
FROM $fx_rates
