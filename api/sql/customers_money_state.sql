-- Purpose: whether entries of a model have come since they were read. Parameters: model.
-- Order of magnitude: 15 ms per million entries of the model and core.
SELECT count() AS entries, toUnixTimestamp64Milli(max(recorded_at)) AS newest, sum(reinterpretAsInt64(amount)) AS units
FROM $credits
WHERE model = {model:String}
