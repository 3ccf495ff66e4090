-- Purpose: the path of each conversion as one signed row, so that reports on paths put none together. The credit stage
-- writes it beside the ledger: sum(sign) = 1 for a conversion; its path is the row that sign does not cancel.
-- channels: of every touchpoint that counts, in the order of time; empty = nobody can be credited.
-- What is in the ledger already is read from it here, once: a row for each instant at which the path of a conversion
-- changed (under `linear` every touchpoint that counts has a share), the latest being what the stage will take back.
-- Workers do not run while tables are migrated; ordered rows and a token make a second run insert nothing twice.

CREATE TABLE IF NOT EXISTS {database}.paths
(
    site LowCardinality(String),
    conversion_id String,
    conversion_type LowCardinality(String),
    converted_at DateTime64(3, 'UTC'),
    currency LowCardinality(String),
    value Decimal(18, 4),
    channels Array(LowCardinality(String)),
    first_touch_at DateTime64(3, 'UTC'),
    last_touch_at DateTime64(3, 'UTC'),
    sign Int8,
    recorded_at DateTime64(3, 'UTC'),
    -- What reports group by, worked out once. Grouping by a number is many times cheaper than by an array; two of a
    -- million different paths have the same 64 bits with a probability of 3 in 100 million.
    path_hash UInt64 MATERIALIZED cityHash64(channels),
    collapsed_hash UInt64 MATERIALIZED cityHash64(arrayCompact(channels)),
    touchpoints UInt16 MATERIALIZED length(channels),
    last_channel LowCardinality(String) MATERIALIZED channels[-1],
    distinct_channels Array(LowCardinality(String)) MATERIALIZED arrayDistinct(channels),
    days_from_first UInt16 MATERIALIZED intDiv(toUnixTimestamp64Milli(converted_at) - toUnixTimestamp64Milli(first_touch_at), 86400000),
    days_from_last UInt16 MATERIALIZED intDiv(toUnixTimestamp64Milli(converted_at) - toUnixTimestamp64Milli(last_touch_at), 86400000)
)
ENGINE = MergeTree
ORDER BY (site, toStartOfHour(converted_at), conversion_id)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

INSERT INTO {database}.paths (site, conversion_id, conversion_type, converted_at, currency, value, channels, first_touch_at,
    last_touch_at, sign, recorded_at)
SELECT site, conversion_id, path.1, path.2, path.3, path.4, path.5, path.6, path.7, change.1, instant
FROM
(
    -- Beside the paths of each instant those of the instant before.
    SELECT site, conversion_id, change_at AS instant, paths, before
    FROM
    (
        SELECT site, conversion_id, arraySort(step -> step.1, groupArray((recorded_at, paths))) AS steps
        FROM
        (
            -- What stood as of each instant: of one type, currency and instant of conversion, or nothing.
            SELECT site, conversion_id, recorded_at, groupArrayIf(
                (conversion_type, converted_at, currency, worth, arrayMap(touch -> touch.3, touches),
                    if(empty(touches), converted_at, touches[1].1), if(empty(touches), converted_at, touches[-1].1)),
                stands) AS paths
            FROM
            (
                SELECT site, conversion_id, recorded_at, conversion_type, currency, converted_at, sum(amount) AS worth,
                    arraySort(groupArrayIf((touched_at, touchpoint_id, channel), weight != 0 AND touchpoint_id != '')) AS touches,
                    sum(weight) > 0 AS stands
                FROM
                (
                    SELECT site, conversion_id, recorded_at, entry.2 AS conversion_type, entry.3 AS currency,
                        entry.4 AS converted_at, entry.5 AS touched_at, entry.6 AS touchpoint_id, entry.7 AS channel,
                        sum(entry.8) AS weight, sum(entry.9) AS amount
                    FROM
                    (
                        SELECT site, conversion_id, groupArray((recorded_at, conversion_type, currency, converted_at,
                            touched_at, touchpoint_id, channel, weight, amount)) AS entries
                        FROM {database}.credits
                        WHERE model = 'linear'
                        GROUP BY site, conversion_id
                    )
                    ARRAY JOIN arrayDistinct(entries.1) AS recorded_at
                    ARRAY JOIN arrayFilter(one -> one.1 <= recorded_at, entries) AS entry
                    GROUP BY site, conversion_id, recorded_at, conversion_type, currency, converted_at, touched_at, touchpoint_id,
                        channel
                )
                GROUP BY site, conversion_id, recorded_at, conversion_type, currency, converted_at
            )
            GROUP BY site, conversion_id, recorded_at
        )
        GROUP BY site, conversion_id
    )
    ARRAY JOIN steps.1 AS change_at, steps.2 AS paths, arrayPopBack(arrayPushFront(steps.2, [])) AS before
)
ARRAY JOIN [(toInt8(-1), before), (toInt8(1), paths)] AS change
ARRAY JOIN change.2 AS path
WHERE paths != before
ORDER BY site, conversion_id, instant, change.1
SETTINGS max_threads = 1, insert_deduplication_token = '0007_paths';
