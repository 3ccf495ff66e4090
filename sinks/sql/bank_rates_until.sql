-- Whether there are rates of the ECB, and the last day that they are of.
-- Order of magnitude: 5 ms.
SELECT count() > 0, max(day)
FROM $fx_rates
WHERE source = 'ecb'
