-- Purpose: a learnt table as it was written, to be put together again where Redis has lost it. All rows of a version say
-- the same of a channel, should it ever stand here twice. Columns in the order of sinks.tables.LEARNT_MODELS_COLUMNS.
-- Parameters: version String.
-- Order of magnitude: some dozen rows.
SELECT version, model, site, channel, toString(effect), toString(share), toString(low), toString(high), toString(error),
    markov_order, worth, conversion_types, toUnixTimestamp64Milli(from_at), toUnixTimestamp64Milli(to_at), journeys,
    conversions, seed, rounds, toUnixTimestamp64Milli(learnt_at)
FROM $learnt_models
WHERE version = {version:String}
ORDER BY site, channel
LIMIT 1 BY site, channel
