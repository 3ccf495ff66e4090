-- Purpose: entries of the ledger that do not balance. For every conversion and model, per currency, the credit must
-- equal the conversion's value; the weight must be 1, or 0 when the conversion does not stand (any more), and its value 0.
-- Of conversions whose value changes over time that must hold up to every instant of booked_at, not only in the end.
-- Reads: one scan of credits, and those conversions once more. Parameters: low, high String (conversion ids, high
-- excluded), limit UInt32 (most rows answered).
-- Order of magnitude: 1 million conversions under 6 models in about 2 s on one core.
SELECT conversion_id, model, any(codes) AS currencies, any(standing) AS weight, any(wrong_amount) AS amount_of_first,
    any(wrong_value) AS value_of_first
FROM
(
    SELECT conversion_id, model, groupArray(currency) AS codes, sum(weight) AS standing,
        argMax(amount, amount != value) AS wrong_amount, argMax(value, amount != value) AS wrong_value,
        countIf(amount != value) AS unequal, countIf(value != toDecimal64(0, 4)) AS valued
    FROM
    (
        SELECT conversion_id, model, currency, sum(credits.weight) AS weight, sum(credits.amount) AS amount,
            sum(credits.conversion_value) AS value
        FROM $credits AS credits
        WHERE conversion_id >= {low:String} AND conversion_id < {high:String}
        GROUP BY conversion_id, model, currency
    )
    GROUP BY conversion_id, model
    HAVING unequal > 0 OR NOT (standing = toDecimal64(1, 9) OR (standing = toDecimal64(0, 9) AND valued = 0))

    UNION ALL

    -- As of each instant at which something was booked.
    SELECT conversion_id, model, arrayDistinct(arrayMap(one -> one.2, steps)) AS codes,
        arraySum(arrayMap(one -> one.3, steps)) AS standing, arraySum(arrayMap(one -> one.4, steps)) AS wrong_amount,
        arraySum(arrayMap(one -> one.5, steps)) AS wrong_value, arrayCount(one -> one.4 != one.5, steps) AS unequal,
        toUInt64(wrong_value != 0) AS valued
    FROM
    (
        SELECT conversion_id, model, arrayFilter(one -> one.1 <= instant, entries) AS steps
        FROM
        (
            SELECT conversion_id, model, groupArray((booked_at, currency, weight, amount, value)) AS entries
            FROM
            (
                SELECT conversion_id, model, booked_at, toString(currency) AS currency, sum(credits.weight) AS weight,
                    sum(credits.amount) AS amount, sum(credits.conversion_value) AS value
                FROM $credits AS credits
                WHERE conversion_id >= {low:String} AND conversion_id < {high:String} AND conversion_id IN
                (
                    SELECT conversion_id
                    FROM $credits
                    WHERE booked_at != converted_at AND conversion_id >= {low:String} AND conversion_id < {high:String}
                )
                GROUP BY conversion_id, model, booked_at, currency
            )
            GROUP BY conversion_id, model
        )
        ARRAY JOIN arrayDistinct(arrayMap(one -> one.1, entries)) AS instant
    )
    WHERE unequal > 0 OR NOT (standing = toDecimal64(1, 9) OR (standing = toDecimal64(0, 9) AND valued = 0))
)
GROUP BY conversion_id, model
ORDER BY conversion_id, model
LIMIT {limit:UInt32}
