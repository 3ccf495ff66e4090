-- Purpose: GET /v1/paths off the roll-up of `paths` in one statement: rows (kind, number, channel, conversions, revenue).
-- Kinds are those of migration 0010. length, first_lag, last_lag, last, has: whole, few rows. path: $path_rows says which;
-- number = its hash.
-- Parameters: currency, pipeline_types (no revenue), and those of $where: from_day, to_day (days since 1970), sites, types.
-- Order of magnitude: 35 ms for a million conversions with path_metrics_likely, on one core.
SELECT kind AS what, number, toString(channel) AS name, toInt64(sum(conversions)) AS n, toString($worth) AS worth
FROM $path_metrics
WHERE kind IN ('length', 'first_lag', 'last_lag', 'last', 'has') AND $where
GROUP BY kind, number, name
HAVING n > 0

UNION ALL

$path_rows
