-- Purpose: what some tables have learnt of each channel, with the interval of its share.
-- Parameters: versions Array(String).
-- Order of magnitude: some dozen rows a version.
SELECT model, version, site, channel, effect, share, low, high, error, markov_order, worth, from_at, to_at, journeys,
    conversions, learnt_at
FROM $learnt_models
WHERE version IN {versions:Array(String)}
ORDER BY model, version, site, share DESC, channel
LIMIT 1 BY model, version, site, channel
