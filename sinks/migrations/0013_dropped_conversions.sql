-- Purpose: what dropped hits claim was bought: the conversions that robots report, and visitors beyond the limit of hits.
-- They are in no ledger and in no report but the coverage, whose parts add up to everything that was heard.
-- One row per dropped hit, named by its own place in the log. A conversion that is reported twice has two rows and one
-- conversion_id: readers count it once, and not at all when it stands in conversions.
-- value: null = the hit names none. reason: as in drops. recorded_at: when the collector received the hit.

CREATE TABLE IF NOT EXISTS {database}.dropped_conversions
(
    site LowCardinality(String),
    conversion_id String,
    conversion_type LowCardinality(String),
    event_id String,
    converted_at DateTime64(3, 'UTC'),
    value Nullable(Decimal(18, 4)),
    currency LowCardinality(String),
    reason LowCardinality(String),
    recorded_at DateTime64(3, 'UTC'),
    src_broker LowCardinality(String),
    src_partition UInt16,
    src_offset UInt64
)
ENGINE = MergeTree
ORDER BY (site, conversion_id)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;
