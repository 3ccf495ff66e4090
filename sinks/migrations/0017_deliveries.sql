-- Purpose: what CRMs, shops and networks delivered, unchanged, and what was made of it. One row for each delivery that the
-- worker took, repeats included. And a way to the visitor of a click that they name: hits are not in order of clicks, and
-- few of them have one. Hits written before this migration are covered once their parts are merged.

CREATE TABLE IF NOT EXISTS {database}.deliveries
(
    site LowCardinality(String),
    source LowCardinality(String),
    scheme LowCardinality(String),
    keys Array(String),
    received_at DateTime64(3, 'UTC'),
    outcome LowCardinality(String),
    events UInt16,
    facts UInt32,
    adapter_version UInt16,
    reasons Array(LowCardinality(String)),
    problems Array(String),
    ignored Array(String),
    headers String,
    body_base64 String,
    src_broker LowCardinality(String),
    src_partition UInt16,
    src_offset UInt64,
    position UInt16
)
ENGINE = MergeTree
ORDER BY (site, source, received_at)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

ALTER TABLE {database}.hits
    ADD INDEX IF NOT EXISTS click click_id TYPE bloom_filter(0.01) GRANULARITY 4;
