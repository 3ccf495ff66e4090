-- Purpose: entries of the ledger that do not balance. For every conversion and model, per currency, the credit must
-- equal the conversion's value; the weight must be 1, or 0 when the conversion was withdrawn whole.
-- Reads: one scan of credits. Parameters: low, high String (conversion ids, high excluded), limit UInt32 (most rows
-- answered).
-- Order of magnitude: 1 million conversions under 6 models in about 2 s on one core.
SELECT conversion_id, model, currencies, weight, amount_of_first, value_of_first
FROM
(
    SELECT conversion_id, model, groupArray(currency) AS currencies, sum(weight) AS weight,
        countIf(amount != value) AS unequal, countIf(value != toDecimal64(0, 4)) AS valued,
        argMax(amount, amount != value) AS amount_of_first, argMax(value, amount != value) AS value_of_first
    FROM
    (
        SELECT conversion_id, model, currency, sum(credits.weight) AS weight, sum(credits.amount) AS amount,
            sum(credits.conversion_value) AS value
        FROM $credits AS credits
        WHERE conversion_id >= {low:String} AND conversion_id < {high:String}
        GROUP BY conversion_id, model, currency
    )
    GROUP BY conversion_id, model
)
WHERE unequal > 0 OR NOT (weight = toDecimal64(1, 9) OR (weight = toDecimal64(0, 9) AND valued = 0))
ORDER BY conversion_id, model
LIMIT {limit:UInt32}
