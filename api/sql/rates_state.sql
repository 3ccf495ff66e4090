-- How many rows fx_rates has, and the first day (since 1970) whose rates are needed: $first, rates_from.sql.
-- Order of magnitude: 3 ms, and if a question names no first day 3 ms per million cells of channel_metrics and core.
SELECT (SELECT count() FROM $fx_rates) AS rows, $first AS first
