-- The rate of each currency on every day asked for, in units for one euro: of a day without one the last before it. Own
-- rates count before those of the ECB of the same day, later ones before earlier ones. since: the day that the rate is of.
-- Values: currencies, fx_from and fx_to (days since 1970; the last is not included).
SELECT 'EUR' AS currency, toDate(euro_day) AS day, toDecimal64(1, 8) AS rate, toDate(euro_day) AS since
FROM (SELECT arrayJoin(range({fx_from:UInt32}, {fx_to:UInt32})) AS euro_day)
UNION ALL
SELECT currency, toDate(one_day) AS day, rate, since
FROM
(
    SELECT currency, step.1 AS since, step.2 AS rate,
        if(number = length(steps), {fx_to:UInt32}, toUInt32(steps[number + 1].1)) AS until
    FROM
    (
        SELECT currency, arraySort(groupArray((day, rate))) AS steps
        FROM
        (
            SELECT CAST(currency, 'String') AS currency, day, argMax(rate, (source = 'own', recorded_at)) AS rate
            FROM $fx_rates
            WHERE currency IN {currencies:Array(String)} AND currency != 'EUR'
            GROUP BY currency, day
        )
        GROUP BY currency
    )
    ARRAY JOIN steps AS step, arrayEnumerate(steps) AS number
)
ARRAY JOIN range(greatest(toUInt32(since), {fx_from:UInt32}), least(until, {fx_to:UInt32})) AS one_day
