-- Purpose: what each conversion brought, and when: the ledger under one model, by instant and currency. units: 1/10,000 of the
-- currency, as the amount is stored.
-- $known: as of an instant what was recorded by then. Parameters: model, pipeline_types.
-- Order of magnitude: 0.5 s per million entries of the model and core.
SELECT sipHash64(site, conversion_id) AS conversion, toUnixTimestamp64Milli(booked_at) AS booked_ms,
    CAST(currency, 'String') AS of_currency, toDate(booked_at, 'UTC') AS of_day, sum(reinterpretAsInt64(amount)) AS units
FROM $credits
WHERE model = {model:String} AND conversion_type NOT IN {pipeline_types:Array(String)} AND $known
GROUP BY site, conversion_id, booked_at, currency
HAVING units != 0
