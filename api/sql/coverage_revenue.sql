-- All revenue of the time asked for. An open deal is no revenue: its value is pipeline.
SELECT CAST(m.currency, 'String') AS of_currency$of_day,
    CAST(if(m.channel = '(unattributed)', m.source, ''), 'String') AS why,
    sumIf(m.revenue, $earned) AS p_money, sum(m.conversions) AS p_conversions
FROM $facts AS m
WHERE $where
GROUP BY of_currency, why$by_day
