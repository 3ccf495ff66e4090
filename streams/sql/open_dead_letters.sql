-- Purpose: dead letters that nobody has replayed yet, oldest first.
-- Parameters: reason (String; '' = all). Order of magnitude: as many rows as there are open dead letters.
SELECT dead_letter_id, topic, reason, key_base64, payload_base64
FROM {database}.dead_letters
WHERE ({reason:String} = '' OR reason = {reason:String})
  AND dead_letter_id NOT IN (SELECT dead_letter_id FROM {database}.dead_letter_replays)
ORDER BY recorded_at, dead_letter_id
