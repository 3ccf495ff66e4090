-- Purpose: every attribution policy that ever credited, by the version that stands in credits.policy_version. A worker
-- writes its policy when it starts; should one stand here twice, both rows say the same of it.
-- policy: JSON, every rule named (attribution.policy.AttributionPolicy).

CREATE TABLE IF NOT EXISTS {database}.policies
(
    version LowCardinality(String),
    policy String,
    recorded_at DateTime64(3, 'UTC')
)
ENGINE = MergeTree
ORDER BY (version, recorded_at)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;
