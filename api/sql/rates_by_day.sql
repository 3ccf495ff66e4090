-- The rate of each currency on every day asked for, in units for one euro: of a day without one the last before it. Own
-- rates count before those of the ECB of the same day, later ones before earlier ones. since: the day that the rate is of.
-- No day before the first that has anything, because without a date range fx_from is 0.
-- Values: currencies, fx_from and fx_to (days since 1970; the last is not included).
-- Order of magnitude: 20 ms per currency (7,000 rates).
SELECT 'EUR' AS currency, day, toDecimal64(1, 8) AS rate, day AS since
FROM
(
    SELECT toDate(arrayJoin(range(greatest({fx_from:UInt32}, first_day), {fx_to:UInt32}))) AS day
    FROM (SELECT toUInt32(toDate(min(hour), 'UTC')) AS first_day FROM $all_metrics)
)
UNION ALL
SELECT currency, toDate(arrayJoin(range(greatest(toUInt32(since), {fx_from:UInt32}, first_day), least(until, {fx_to:UInt32}))))
    AS day, rate, since
FROM
(
    -- A window, not arrays of all steps: an ARRAY JOIN would carry them along in every row.
    SELECT currency, day AS since, rate, leadInFrame(toUInt32(day), 1, {fx_to:UInt32})
        OVER (PARTITION BY currency ORDER BY day ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING) AS until,
        (SELECT toUInt32(toDate(min(hour), 'UTC')) FROM $all_metrics) AS first_day
    FROM
    (
        SELECT CAST(currency, 'String') AS currency, day, argMax(rate, (source = 'own', recorded_at)) AS rate
        FROM $fx_rates
        WHERE currency IN {currencies:Array(String)} AND currency != 'EUR'
        GROUP BY currency, day
    )
)
