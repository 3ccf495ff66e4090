-- Purpose: every table of the contract. All are append-only; changed facts are signed rows (sign = -1 takes back).
-- Every table and every materialized view target has a deduplication window: see docs/delivery.md.
-- Statements end with a semicolon at the end of a line. {database} is filled in by the runner.
-- src_* name the Kafka batch that wrote the row: cluster id, partition, first offset of the batch (hits: own offset).

CREATE TABLE IF NOT EXISTS {database}.hits
(
    site LowCardinality(String),
    event_id String,
    visitor_id String,
    event LowCardinality(String),
    occurred_at DateTime64(3, 'UTC'),
    received_at DateTime64(3, 'UTC'),
    clock_skew_ms Int64,
    time_flag LowCardinality(String),
    in_session UInt8,
    url String,
    path String,
    referrer String,
    referrer_host LowCardinality(String),
    title String,
    channel LowCardinality(String),
    source LowCardinality(String),
    medium LowCardinality(String),
    campaign LowCardinality(String),
    term String,
    content String,
    ad_network LowCardinality(String),
    click_id_param LowCardinality(String),
    click_id String,
    user_id String,
    email_sha256 String,
    value Nullable(Decimal(18, 4)),
    currency LowCardinality(String),
    order_id String,
    consent LowCardinality(String),
    gpc UInt8,
    dnt UInt8,
    device LowCardinality(String),
    browser LowCardinality(String),
    os LowCardinality(String),
    user_agent String,
    ip String,
    props String,
    src_broker LowCardinality(String),
    src_partition UInt16,
    src_offset UInt64
)
ENGINE = MergeTree
ORDER BY (site, toStartOfHour(occurred_at), visitor_id, occurred_at)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS {database}.sessions
(
    site LowCardinality(String),
    session_id String,
    visitor_id String,
    started_at DateTime64(3, 'UTC'),
    ended_at DateTime64(3, 'UTC'),
    channel LowCardinality(String),
    source LowCardinality(String),
    medium LowCardinality(String),
    campaign LowCardinality(String),
    term String,
    content String,
    ad_network LowCardinality(String),
    landing_page String,
    referrer_host LowCardinality(String),
    hits UInt32,
    page_views UInt32,
    hours Array(DateTime('UTC')),
    hour_hits Array(UInt32),
    hour_page_views Array(UInt32),
    sign Int8,
    src_broker LowCardinality(String),
    src_partition UInt16,
    src_offset UInt64
)
ENGINE = MergeTree
ORDER BY (site, toStartOfHour(started_at), session_id)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS {database}.touchpoints
(
    site LowCardinality(String),
    touchpoint_id String,
    visitor_id String,
    touched_at DateTime64(3, 'UTC'),
    channel LowCardinality(String),
    source LowCardinality(String),
    medium LowCardinality(String),
    campaign LowCardinality(String),
    term String,
    content String,
    ad_network LowCardinality(String),
    landing_page String,
    sign Int8,
    src_broker LowCardinality(String),
    src_partition UInt16,
    src_offset UInt64
)
ENGINE = MergeTree
ORDER BY (site, toStartOfHour(touched_at), touchpoint_id)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

-- Inputs refused on purpose, counted by reason (DropReason).
CREATE TABLE IF NOT EXISTS {database}.drops
(
    hour DateTime('UTC'),
    site LowCardinality(String),
    reason LowCardinality(String),
    count UInt64,
    src_broker LowCardinality(String),
    src_partition UInt16,
    src_offset UInt64
)
ENGINE = MergeTree
ORDER BY (site, reason, hour)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

-- The bytes that could not be processed, as base64 (they need not be text). No ALIAS column decodes them: the small
-- embedded engine has no base64Decode; on a server read base64Decode(payload_base64).
CREATE TABLE IF NOT EXISTS {database}.dead_letters
(
    dead_letter_id String,
    topic LowCardinality(String),
    src_broker LowCardinality(String),
    src_partition UInt16,
    src_offset UInt64,
    reason LowCardinality(String),
    detail String,
    key_base64 String,
    payload_base64 String,
    attempts UInt16,
    version LowCardinality(String),
    recorded_at DateTime64(3, 'UTC')
)
ENGINE = MergeTree
ORDER BY (topic, recorded_at)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS {database}.dead_letter_replays
(
    dead_letter_id String,
    replayed_at DateTime64(3, 'UTC')
)
ENGINE = MergeTree
ORDER BY dead_letter_id
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

-- sum(sign) = 1 for a conversion that stands; its current facts are the rows that sign does not cancel.
CREATE TABLE IF NOT EXISTS {database}.conversions
(
    site LowCardinality(String),
    conversion_id String,
    type LowCardinality(String),
    order_id String,
    visitor_id String,
    event_id String,
    converted_at DateTime64(3, 'UTC'),
    value Decimal(18, 4),
    currency LowCardinality(String),
    sign Int8,
    cause LowCardinality(String),
    recorded_at DateTime64(3, 'UTC')
)
ENGINE = MergeTree
ORDER BY (site, conversion_id)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

-- The ledger. A plain sum(amount) is right at every moment. Each correction is one insert of one block.
-- For every (conversion_id, model): sum(amount) = sum(conversion_value) and sum(weight) = 1, the entry with
-- channel '(unattributed)' included. conversion_value is non-zero on one entry of each change and model only,
-- so the books can be checked with one scan of this one table.
CREATE TABLE IF NOT EXISTS {database}.credits
(
    site LowCardinality(String),
    model LowCardinality(String),
    conversion_id String,
    touchpoint_id String,
    conversion_type LowCardinality(String),
    visitor_id String,
    channel LowCardinality(String),
    source LowCardinality(String),
    medium LowCardinality(String),
    campaign LowCardinality(String),
    term String,
    content String,
    ad_network LowCardinality(String),
    landing_page String,
    weight Decimal(18, 9),
    amount Decimal(18, 4),
    conversion_value Decimal(18, 4),
    currency LowCardinality(String),
    cause LowCardinality(String),
    policy_version LowCardinality(String),
    touched_at DateTime64(3, 'UTC'),
    converted_at DateTime64(3, 'UTC'),
    recorded_at DateTime64(3, 'UTC')
)
ENGINE = MergeTree
ORDER BY (site, model, conversion_id, touchpoint_id)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

-- Filled by the cost connectors (POST /v1/spend, `headwater import spend`), which are not built yet.
CREATE TABLE IF NOT EXISTS {database}.spend
(
    day Date,
    ad_network LowCardinality(String),
    account_id String,
    campaign_id String,
    campaign LowCardinality(String),
    ad_group_id String,
    ad_id String,
    channel LowCardinality(String),
    source LowCardinality(String),
    medium LowCardinality(String),
    impressions Int64,
    clicks Int64,
    views Int64,
    installs Int64,
    amount Decimal(18, 4),
    currency LowCardinality(String),
    recorded_at DateTime64(3, 'UTC')
)
ENGINE = MergeTree
ORDER BY (day, ad_network, account_id, campaign_id, ad_group_id, ad_id)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;
