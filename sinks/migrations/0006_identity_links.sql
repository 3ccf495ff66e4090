-- Purpose: why two visitors are one person. Each row says that a hit linked a visitor with an id (sign = 1) or unlinked
-- it (sign = -1): the sum of sign of a pair is 1 while the link holds, and 0 when it was withdrawn.
-- id: the kind, a colon, the value: user:42, email:<sha256>, crm:0031, account:acme.
-- event_id and said_at name the evidence: the hit that says so, and when it occurred.
-- recorded_at: when the collector received the hit that changed the link, never the time of processing.

CREATE TABLE IF NOT EXISTS {database}.identity_links
(
    site LowCardinality(String),
    visitor_id String,
    id String,
    event_id String,
    said_at DateTime64(3, 'UTC'),
    sign Int8,
    recorded_at DateTime64(3, 'UTC'),
    src_broker LowCardinality(String),
    src_partition UInt16,
    src_offset UInt64,
    INDEX by_id id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = MergeTree
ORDER BY (site, visitor_id, id, said_at)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;
