-- By currency and day the two rates between that currency and the one asked for, and the day of the older of the two.
-- Values: currency, and those of $by_day.
-- Order of magnitude: 10 ms, and 2 ms per thousand days and currency.
SELECT one.1 AS currency, day, one.2 AS from_rate, to_rate, least(one.3, wanted_since) AS since
FROM
(
    SELECT day, groupArray((currency, rate, since)) AS each, anyIf(rate, currency = {currency:String}) AS to_rate,
        anyIf(since, currency = {currency:String}) AS wanted_since
    FROM
    (
$by_day
    )
    GROUP BY day
)
ARRAY JOIN each AS one
WHERE to_rate != 0
