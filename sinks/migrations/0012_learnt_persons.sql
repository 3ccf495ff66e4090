-- Purpose: while somebody learns, which visitors are one person: learning resolves persons from identity_links once and
-- reads touchpoints and conversions by them, a slice at a time. Whoever is alone does not stand here.
-- run: one learning. visitor, person: cityHash64(site, visitor_id) of the visitor, and of one visitor of his person, the
-- same for all of them. The rows of a run are of no use after it, and go away a day later.

CREATE TABLE IF NOT EXISTS {database}.learnt_persons
(
    run UInt64,
    visitor UInt64,
    person UInt64,
    noted_at DateTime('UTC')
)
ENGINE = MergeTree
PARTITION BY toDate(noted_at)
ORDER BY (run, visitor)
TTL noted_at + INTERVAL 1 DAY
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1;
