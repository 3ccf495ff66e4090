-- Purpose: the newest row of each restatement, the newest restatement first: what to go on with after a loss of Redis.
-- Parameters: none. Order of magnitude: as many rows as restatements have made steps.
SELECT restatement_id, argMax(policy_version, noted_at), argMax(site, noted_at),
    toUnixTimestamp64Milli(argMax(since, noted_at)), toUnixTimestamp64Milli(argMax(until, noted_at)),
    argMax(resends_hits, noted_at), argMax(phase, noted_at), argMax(cursor, noted_at), argMax(slices, noted_at),
    argMax(hits, noted_at), argMax(conversions, noted_at), toUnixTimestamp64Milli(max(recorded_at)) AS began_at
FROM $restatements
GROUP BY restatement_id
ORDER BY began_at DESC
