-- Rows of arms with the two rates that convert their money: amount * to_rate / from_rate. Both are 1 where the money is in
-- the currency asked for; where none is known the first is 0.
SELECT parts.*, if(of_currency = {currency:String}, toDecimal64(1, 8), rates.to_rate) AS to_rate,
    if(of_currency = {currency:String} OR rates.from_rate = 0, toDecimal64(1, 8), rates.from_rate) AS from_rate,
    if(of_currency = {currency:String} OR rates.to_rate = 0, toInt32(0), toInt32(of_day) - toInt32(rates.since)) AS age
FROM
(
$rows
) AS parts
LEFT JOIN
(
$rates
) AS rates ON parts.of_currency = rates.currency AND parts.of_day = rates.day
