-- A part of the answer that says what became of all money: per currency and reason, as billed. $rows has of_currency, why,
-- p_money and p_conversions.
SELECT $part AS part, toUInt64(0) AS place, [CAST(of_currency, 'String'), CAST(why, 'String')] AS dimensions,
    [toString(p_money), toString(p_conversions)] AS measures$no_linked
FROM
(
$rows
)
