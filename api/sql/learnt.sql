-- Purpose: what a learnt model has learnt of each channel over all sites, by its newest table.
-- Parameters: model String. Order of magnitude: 3 ms (primary key).
SELECT CAST(version, 'String') AS version, CAST(channel, 'String') AS channel, toString(share), toString(low), toString(high)
FROM $learnt_models
WHERE model = {model:String} AND site = '' AND version = (
    SELECT argMax(version, (learnt_at, version)) FROM $learnt_models WHERE model = {model:String} AND site = '')
ORDER BY share DESC, channel
