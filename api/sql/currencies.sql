-- Currencies that money here was billed in.
-- Order of magnitude: 3 ms per million cells of channel_metrics and core; asked once.
SELECT DISTINCT CAST(currency, 'String')
FROM $channel_metrics
WHERE currency != ''
