-- All revenue of the time asked for. An open deal is no revenue: its value is pipeline.
SELECT m.currency AS of_currency$of_day,
    if(m.channel = '(unattributed)', m.source, '') AS why,
    sumIf(m.revenue, $earned) AS p_money, sum(m.conversions) AS p_conversions
FROM $facts AS m
WHERE $where
GROUP BY of_currency, why$by_day
