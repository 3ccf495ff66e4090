-- Purpose: what ads cost, as signed rows, and its roll-up.
-- `spend` was made by 0001 and never written: it is altered, not replaced. amount and all counts (reach excepted) are
-- written already multiplied by sign, so a plain sum() is right; reach, bid and names are as the network told them.
-- day is the day of the network's account. cause: report (other figures), level (the same money is told at another
-- level), match (touches of it became known: channel, source, medium and campaign_label are theirs). as_of: when the
-- figures were read from the network. recorded_at: when the collector received them (match: when it was noticed).
-- The roll-up is a table of its own: the columns that channel_metrics sums cannot be altered, and a new table in its place
-- would not remember which inserts it has. `all_metrics` reads both as one: a day's spend stands at 00:00 UTC of the day
-- under model '', basis '' and the currency that was billed; its impressions are those that the network told.
-- arraySum([toDecimal64(0, n)]) is a zero of type Decimal(38, n): the small embedded engine has no toDecimal128.

ALTER TABLE {database}.spend
    ADD COLUMN IF NOT EXISTS site LowCardinality(String) FIRST,
    ADD COLUMN IF NOT EXISTS level LowCardinality(String) AFTER ad_network,
    ADD COLUMN IF NOT EXISTS ad_group String AFTER ad_group_id,
    ADD COLUMN IF NOT EXISTS ad String AFTER ad_id,
    ADD COLUMN IF NOT EXISTS campaign_label LowCardinality(String) AFTER medium,
    ADD COLUMN IF NOT EXISTS reach Nullable(Int64) AFTER impressions,
    ADD COLUMN IF NOT EXISTS platform_conversions Nullable(Decimal(18, 6)) AFTER currency,
    ADD COLUMN IF NOT EXISTS platform_value Nullable(Decimal(18, 6)) AFTER platform_conversions,
    ADD COLUMN IF NOT EXISTS bid_strategy LowCardinality(String) AFTER platform_value,
    ADD COLUMN IF NOT EXISTS bid Nullable(Decimal(18, 6)) AFTER bid_strategy,
    ADD COLUMN IF NOT EXISTS time_zone LowCardinality(String) AFTER bid,
    ADD COLUMN IF NOT EXISTS sign Int8 DEFAULT 1 AFTER time_zone,
    ADD COLUMN IF NOT EXISTS cause LowCardinality(String) AFTER sign,
    ADD COLUMN IF NOT EXISTS as_of DateTime64(3, 'UTC') AFTER cause,
    ADD COLUMN IF NOT EXISTS imported_at DateTime64(3, 'UTC') AFTER as_of,
    MODIFY COLUMN amount Decimal(18, 6);

CREATE TABLE IF NOT EXISTS {database}.spend_metrics
(
    site LowCardinality(String),
    hour DateTime('UTC'),
    channel LowCardinality(String),
    source LowCardinality(String),
    medium LowCardinality(String),
    campaign LowCardinality(String),
    currency LowCardinality(String),
    impressions Int64,
    clicks Int64,
    views Int64,
    installs Int64,
    spend Decimal(38, 6)
)
ENGINE = SummingMergeTree((impressions, clicks, views, installs, spend))
ORDER BY (site, hour, channel, source, medium, campaign, currency)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS {database}.spend_to_spend_metrics
TO {database}.spend_metrics AS
SELECT site, toDateTime(day, 'UTC') AS hour, channel, source, medium, campaign_label AS campaign, currency,
    sum(s.impressions) AS impressions, sum(s.clicks) AS clicks, sum(s.views) AS views, sum(s.installs) AS installs,
    sum(s.amount) AS spend
FROM {database}.spend AS s
GROUP BY site, hour, channel, source, medium, campaign, currency;

CREATE VIEW IF NOT EXISTS {database}.all_metrics AS
SELECT site, hour, channel, source, medium, campaign, model, basis, conversion_type, currency, hits, page_views, impressions,
    sessions, conversions, revenue, toInt64(0) AS clicks, toInt64(0) AS views, toInt64(0) AS installs,
    arraySum([toDecimal64(0, 6)]) AS spend
FROM {database}.channel_metrics
UNION ALL
SELECT site, hour, channel, source, medium, campaign, CAST('', 'LowCardinality(String)') AS model,
    CAST('', 'LowCardinality(String)') AS basis, CAST('', 'LowCardinality(String)') AS conversion_type, currency,
    toInt64(0) AS hits, toInt64(0) AS page_views, impressions, toInt64(0) AS sessions, arraySum([toDecimal64(0, 9)]) AS conversions,
    arraySum([toDecimal64(0, 4)]) AS revenue, clicks, views, installs, spend
FROM {database}.spend_metrics;
