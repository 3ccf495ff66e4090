-- By currency and day the two rates between that currency and the one asked for, and the day of the older of the two.
-- Values: currency, and those of $by_day.
-- Order of magnitude: 50 ms per currency beside the euro and the one asked for, 200 ms for the whole answer.
SELECT one.currency AS currency, one.day AS day, one.rate AS from_rate, wanted.rate AS to_rate,
    least(one.since, wanted.since) AS since
FROM
(
$by_day
) AS one
INNER JOIN
(
    SELECT day, rate, since
    FROM
    (
$by_day
    )
    WHERE currency = {currency:String}
) AS wanted ON one.day = wanted.day
