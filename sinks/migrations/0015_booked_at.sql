-- Purpose: when an entry of the ledger counts in cash. A conversion whose value changes over time (refunded, lost after it
-- was won) has entries at the instant of each change; every other entry counts at the instant of its conversion, and so do
-- all entries of earlier versions. For every conversion and model the entries up to any booked_at add up to what the
-- conversion was worth then, and their weights to 1 while it stood and to 0 while it did not.
-- Rows under basis 'conversion' of the roll-up stand at the hour of booked_at: for what is there already that is the same.
-- The view of 0002 stays as it is: altered or made anew it would not remember which inserts it has seen, and one that is
-- repeated after an upgrade would count twice. It puts every entry at the hour of its conversion; this view moves those that
-- count at another hour.
-- conversions: its value is what the conversion is worth now; one that does not stand (any more) has no row that counts.
-- ids: whom a sender of deals says that it is about, as identity_links writes ids; of what hits report none.

ALTER TABLE {database}.conversions
    ADD COLUMN IF NOT EXISTS ids Array(String) AFTER recorded_at;

ALTER TABLE {database}.credits
    ADD COLUMN IF NOT EXISTS booked_at DateTime64(3, 'UTC') DEFAULT converted_at AFTER recorded_at;

CREATE MATERIALIZED VIEW IF NOT EXISTS {database}.booked_credits_to_channel_metrics
TO {database}.channel_metrics AS
SELECT site, hour, channel, source, medium, campaign, model, 'conversion' AS basis, conversion_type, currency,
    toInt64(0) AS hits, toInt64(0) AS page_views, toInt64(0) AS impressions, toInt64(0) AS sessions,
    sum(weight * sign) AS conversions, sum(amount * sign) AS revenue
FROM {database}.credits
ARRAY JOIN [toInt8(-1), toInt8(1)] AS sign,
    [toStartOfHour(converted_at, 'UTC'), toStartOfHour(booked_at, 'UTC')] AS hour
WHERE toStartOfHour(converted_at, 'UTC') != toStartOfHour(booked_at, 'UTC')
GROUP BY site, hour, channel, source, medium, campaign, model, conversion_type, currency;
