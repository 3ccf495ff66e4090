-- As coverage.sql where money is converted: beside it what it is worth in the currency asked for, what of it has no rate,
-- how many days the oldest rate is older than the day of the money, and the first day of money (since 1970). $rows is converted.sql.
SELECT $part AS part, toUInt64(0) AS place, [CAST(of_currency, 'String'), CAST(why, 'String')] AS dimensions,
    [toString(sum(p_money)), toString(sum(p_conversions)), toString(sum($worth)), toString(sumIf(p_money, to_rate = 0)),
        toString(sumIf(p_conversions, to_rate = 0)), toString(max(age)),
        toString(toUInt32(min(of_day)))] AS measures$no_linked
FROM
(
$rows
)
GROUP BY of_currency, why
