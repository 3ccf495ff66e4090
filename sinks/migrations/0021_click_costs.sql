-- Purpose: what clicks cost, as the addresses of landing pages tell it (hw_cost): one row for each hit that says so.
-- Live figures of spend are sums over it. reason: why the hit's cost does not count ("" = it does): bot and visitor_over_limit
-- are dropped hits, the others say what is wrong with the address. click: names the click, so that it counts once however
-- often its page is loaded (sinks/sql/click_costs_of_day.sql). day is UTC's. recorded_at: when the collector received the hit.

CREATE TABLE IF NOT EXISTS {database}.click_costs
(
    site LowCardinality(String),
    ad_network LowCardinality(String),
    day Date,
    click String,
    campaign_id String,
    campaign String,
    currency LowCardinality(String),
    amount Decimal(18, 6),
    reason LowCardinality(String),
    event_id String,
    occurred_at DateTime64(3, 'UTC'),
    recorded_at DateTime64(3, 'UTC'),
    src_broker LowCardinality(String),
    src_partition UInt16,
    src_offset UInt64
)
ENGINE = MergeTree
ORDER BY (site, ad_network, day, click)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;
