-- Purpose: exchange rates, in units of the currency for one euro, as the European Central Bank publishes them. Own rates
-- (source 'own') count before those of the ECB of the same day, of two own ones the later recorded.
-- A day that has none (a weekend, after the last one known) has the rate of the last day before it: api/sql/rates_by_day.sql.

CREATE TABLE IF NOT EXISTS {database}.fx_rates
(
    currency LowCardinality(String),
    day Date,
    rate Decimal(18, 8),
    source LowCardinality(String),
    recorded_at DateTime64(3, 'UTC')
)
ENGINE = MergeTree
ORDER BY (currency, day)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;
