-- Purpose: paths without reading the ledger conversion by conversion: what each change of a conversion did to its path, one
-- row in place of one for each touchpoint, kept by a materialized view. Under `linear` every touchpoint that counts has
-- a share, so the touchpoints with net weight are the path.
-- is_whole = 1: the first credit, with all of it: as long as a conversion has no other row, its path is read from this one.
-- Else the net weights of all its rows (of one type, currency and instant) tell it.
-- What is in the ledger already is put in before the view begins: workers do not run while tables are migrated.

CREATE TABLE IF NOT EXISTS {database}.paths
(
    site LowCardinality(String),
    conversion_id String,
    conversion_type LowCardinality(String),
    currency LowCardinality(String),
    converted_at DateTime64(3, 'UTC'),
    touches Array(Tuple(touched_at DateTime64(3, 'UTC'), touchpoint_id String, channel LowCardinality(String),
        weight Decimal(18, 9))),
    value Decimal(38, 4),
    is_whole UInt8,
    recorded_at DateTime64(3, 'UTC')
)
ENGINE = MergeTree
ORDER BY (site, toStartOfHour(converted_at), conversion_id)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

TRUNCATE TABLE {database}.paths;

INSERT INTO {database}.paths
SELECT site, conversion_id, conversion_type, currency, converted_at,
    arraySort(groupArray((touched_at, touchpoint_id, channel, weight))) AS touches, sum(amount) AS value,
    cause = 'conversion' AND sum(weight) = 1 AS is_whole, recorded_at
FROM {database}.credits
WHERE model = 'linear'
GROUP BY site, conversion_id, conversion_type, currency, converted_at, cause, recorded_at;

CREATE MATERIALIZED VIEW IF NOT EXISTS {database}.credits_to_paths
TO {database}.paths AS
SELECT site, conversion_id, conversion_type, currency, converted_at,
    arraySort(groupArray((touched_at, touchpoint_id, channel, weight))) AS touches, sum(amount) AS value,
    cause = 'conversion' AND sum(weight) = 1 AS is_whole, recorded_at
FROM {database}.credits
WHERE model = 'linear'
GROUP BY site, conversion_id, conversion_type, currency, converted_at, cause, recorded_at;
