-- Purpose: what `headwater restate` has been asked for and how far it came. One row at each step of a job; the newest
-- of a restatement_id counts. The worker needs none of it: Redis has the same, this outlives a loss of Redis.
-- since and until bound the instants of the conversions, until excluded; recorded_at is the instant at which the job
-- began (no entry that it wrote is dated before); noted_at when this row was written.

CREATE TABLE IF NOT EXISTS {database}.restatements
(
    restatement_id String,
    policy_version LowCardinality(String),
    site String,
    since DateTime64(3, 'UTC'),
    until DateTime64(3, 'UTC'),
    resends_hits UInt8,
    phase LowCardinality(String),
    cursor String,
    slices UInt32,
    hits UInt64,
    conversions UInt64,
    recorded_at DateTime64(3, 'UTC'),
    noted_at DateTime64(3, 'UTC')
)
ENGINE = MergeTree
ORDER BY (recorded_at, restatement_id, noted_at)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;
