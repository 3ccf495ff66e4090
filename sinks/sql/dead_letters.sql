-- Purpose: dead letters by topic and reason, and how many of them went back in (`headwater replay`).
-- Parameters: limit UInt32. Order of magnitude: milliseconds; dead letters are few or the worker has stopped.
SELECT topic, reason, count() AS letters,
    countIf(dead_letter_id IN (SELECT dead_letter_id FROM $dead_letter_replays)) AS replayed,
    toString(max(recorded_at)) AS last_at
FROM $dead_letters
GROUP BY topic, reason
ORDER BY letters DESC, topic, reason
LIMIT {limit:UInt32}
