-- Purpose: what learnt models have learnt, one row for each table version, site and channel. A version is a digest of the
-- table's content, so its rows never change; which version is active stands in Redis and, by policies, in
-- credits.policy_version. All rows of a version are one insert: there is no half table.
-- site: '' = learnt from all sites together, for sites that have too few journeys of their own.
-- effect: markov: removal effect (0 to 1); shapley: what the channel adds to the worth (may be negative).
-- share: the effect, if positive, divided by the sum of the positive ones; low and high: its 90 % bootstrap interval.
-- error: by how much an effect may be off because orders of channels were sampled; 0 = exact.
-- markov_order: 1 to 4, 0 for shapley. worth: of shapley, '' for markov. from_at, to_at: journeys that ended from .. to.

CREATE TABLE IF NOT EXISTS {database}.learnt_models
(
    version LowCardinality(String),
    model LowCardinality(String),
    site LowCardinality(String),
    channel LowCardinality(String),
    effect Decimal(18, 9),
    share Decimal(18, 9),
    low Decimal(18, 9),
    high Decimal(18, 9),
    error Decimal(18, 9),
    markov_order UInt8,
    worth LowCardinality(String),
    conversion_types Array(String),
    from_at DateTime64(3, 'UTC'),
    to_at DateTime64(3, 'UTC'),
    journeys UInt64,
    conversions UInt64,
    seed UInt64,
    rounds UInt32,
    learnt_at DateTime64(3, 'UTC')
)
ENGINE = MergeTree
ORDER BY (model, version, site, channel)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;
