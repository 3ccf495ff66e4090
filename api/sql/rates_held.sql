-- Part 6 of query.sql, if rates are given: how many rows fx_rates has. Rows are only added to it, so the same number is the same
-- rates.
SELECT 6 AS part, toUInt64(0) AS place, [''] AS dimensions, [toString(count())] AS measures$no_linked
FROM $fx_rates
