-- The rate of each currency on every day asked for, in units for one euro: of a day without one the last before it. Own
-- rates count before those of the ECB of the same day, later ones before earlier ones. since: the day that the rate is of.
-- $first is the first day asked for (rates_from.sql). Of the rates before it only the last counts. The days that a rate holds
-- are worked out before ARRAY JOIN, which would copy a column with all days to each of them.
-- Values: currencies, fx_from and fx_to (days since 1970; the last is not included).
-- Order of magnitude: 10 ms, and 10 ms per thousand days and currency.
SELECT 'EUR' AS currency, toDate(euro_day) AS day, toDecimal64(1, 8) AS rate, toDate(euro_day) AS since
FROM (SELECT arrayJoin(range($first, {fx_to:UInt32})) AS euro_day)
UNION ALL
SELECT currency, toDate(one_day) AS day, rate, toDate(from_day) AS since
FROM
(
    SELECT currency, from_day, rate, until
    FROM
    (
        SELECT currency, arrayMap(step -> toUInt32(step.1), steps) AS days, arrayMap(step -> step.2, steps) AS rates,
            arrayPushBack(arrayPopFront(days), {fx_to:UInt32}) AS ends
        FROM
        (
            SELECT currency, arraySort(groupArray((day, rate))) AS steps
            FROM
            (
                SELECT CAST(currency, 'String') AS currency, max(r.day) AS day,
                    argMax(r.rate, (r.day, r.source = 'own', r.recorded_at)) AS rate
                FROM $fx_rates AS r
                WHERE currency IN {currencies:Array(String)} AND currency != 'EUR'
                GROUP BY currency, greatest(toUInt32(r.day) + 1, $first)
            )
            GROUP BY currency
        )
    )
    ARRAY JOIN days AS from_day, rates AS rate, ends AS until
    WHERE from_day < {fx_to:UInt32}
)
ARRAY JOIN range(greatest(from_day, $first), least(until, {fx_to:UInt32})) AS one_day
