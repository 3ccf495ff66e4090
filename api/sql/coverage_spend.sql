-- All spend of the time asked for.
SELECT m.currency AS of_currency$of_day, '' AS why, sum(m.spend) AS p_money,
    sum(toDecimal64(0, 9)) AS p_conversions
FROM $facts AS m
WHERE $where
GROUP BY of_currency$by_day
