-- Purpose: every ledger entry of a conversion, in the order in which they were written.
-- Parameters: site String, conversion_id String. Order of magnitude: 5 ms (primary key per site and model).
SELECT toUnixTimestamp64Milli(recorded_at) AS recorded_at_ms, cause, policy_version, model, touchpoint_id,
    toUnixTimestamp64Milli(touched_at) AS touched_at_ms, channel, source, medium, campaign, term, content, ad_network,
    landing_page, weight, amount, conversion_value, currency, toUnixTimestamp64Milli(booked_at) AS booked_at_ms
FROM $credits
WHERE site = {site:String} AND conversion_id = {conversion_id:String}
ORDER BY recorded_at_ms, booked_at_ms, model, touched_at_ms, touchpoint_id, weight, amount
