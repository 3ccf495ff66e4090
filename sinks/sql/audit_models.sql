-- Purpose: the models that the ledger or its roll-up knows: one slice of the audit each.
-- Parameters: none. Order of magnitude: 20 ms per 10 million entries (the model is the second sorting column).
SELECT DISTINCT model
FROM (SELECT model FROM $credits GROUP BY model UNION ALL SELECT model FROM $channel_metrics WHERE model != '' GROUP BY model)
ORDER BY model
