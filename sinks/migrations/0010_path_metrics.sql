-- Purpose: the roll-up of `paths` that reports on paths read, kept exact by a materialized view over its signed rows.
-- A row of `paths` counts once under each kind: length (number = touchpoints, 100 = 100 and more; 0 = nobody can be
-- credited), first_lag and last_lag (whole days from the first and the last touchpoint, 400 = 400 and more), path (number
-- = hash of the collapsed path, path_hash = of the path as it is), last (its last channel), has (each distinct channel).
-- A path without touchpoints has a length only. `channels` stands in `paths` alone: a report looks up those it lists.
-- What is in `paths` already is put in by its difference to what is kept here: nothing when the migration runs again.
-- Its rows are ordered, so two that run at the same time insert the same block, which counts once.
-- Workers do not run while tables are migrated.

CREATE TABLE IF NOT EXISTS {database}.path_metrics
(
    kind LowCardinality(String),
    site LowCardinality(String),
    day Date32,
    conversion_type LowCardinality(String),
    currency LowCardinality(String),
    channel LowCardinality(String),
    number UInt64,
    path_hash UInt64,
    conversions Int64,
    revenue Decimal(38, 4)
)
ENGINE = SummingMergeTree((conversions, revenue))
ORDER BY (kind, site, day, conversion_type, currency, channel, number, path_hash)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS {database}.paths_to_path_metrics
TO {database}.path_metrics AS
SELECT kind, site, toDate32(converted_at, 'UTC') AS day, conversion_type, currency, channel, number,
    if(kind = 'path', paths.path_hash, 0) AS path_hash, toInt64(sum(sign)) AS conversions, sum(value * sign) AS revenue
FROM {database}.paths
ARRAY JOIN
    arrayConcat(['length', 'first_lag', 'last_lag', 'path', 'last'], arrayMap(one -> 'has', distinct_channels)) AS kind,
    arrayConcat(
        [toUInt64(least(touchpoints, 100)), toUInt64(least(days_from_first, 400)), toUInt64(least(days_from_last, 400)),
            collapsed_hash, toUInt64(0)],
        arrayMap(one -> toUInt64(0), distinct_channels)) AS number,
    arrayConcat(['', '', '', '', toString(last_channel)], distinct_channels) AS channel
WHERE touchpoints > 0 OR kind = 'length'
GROUP BY kind, site, day, conversion_type, currency, channel, number, path_hash;

INSERT INTO {database}.path_metrics (kind, site, day, conversion_type, currency, channel, number, path_hash, conversions, revenue)
SELECT kind, site, day, conversion_type, currency, channel, number, path_hash, toInt64(sum(n)) AS conversions, sum(worth) AS revenue
FROM
(
    SELECT kind, site, toDate32(converted_at, 'UTC') AS day, conversion_type, currency, channel, number,
        if(kind = 'path', paths.path_hash, 0) AS path_hash, toInt64(sum(sign)) AS n, sum(value * sign) AS worth
    FROM {database}.paths
    ARRAY JOIN
        arrayConcat(['length', 'first_lag', 'last_lag', 'path', 'last'], arrayMap(one -> 'has', distinct_channels)) AS kind,
        arrayConcat(
            [toUInt64(least(touchpoints, 100)), toUInt64(least(days_from_first, 400)), toUInt64(least(days_from_last, 400)),
                collapsed_hash, toUInt64(0)],
            arrayMap(one -> toUInt64(0), distinct_channels)) AS number,
        arrayConcat(['', '', '', '', toString(last_channel)], distinct_channels) AS channel
    WHERE touchpoints > 0 OR kind = 'length'
    GROUP BY kind, site, day, conversion_type, currency, channel, number, path_hash

    UNION ALL

    SELECT kind, site, day, conversion_type, currency, channel, number, path_hash, -conversions AS n, -revenue AS worth
    FROM {database}.path_metrics
)
GROUP BY kind, site, day, conversion_type, currency, channel, number, path_hash
HAVING conversions != 0 OR revenue != 0
ORDER BY kind, site, day, conversion_type, currency, channel, number, path_hash
SETTINGS max_threads = 1;
