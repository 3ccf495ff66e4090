-- The rows of rates.sql from what was found before: runs of days that have the same rates.
-- Values: fx_currency, fx_from_rate, fx_to_rate, fx_since, fx_begins and fx_ends (days since 1970; the last is not included): one
-- entry a run.
-- Order of magnitude: 5 ms for a thousand days and currency.
SELECT currency, toDate(one_day) AS day, from_rate, to_rate, toDate(since_day) AS since
FROM
(
    SELECT currency, from_rate, to_rate, since_day, days
    FROM (SELECT 1)
    ARRAY JOIN {fx_currency:Array(String)} AS currency, {fx_from_rate:Array(Decimal(18, 8))} AS from_rate,
        {fx_to_rate:Array(Decimal(18, 8))} AS to_rate, {fx_since:Array(UInt32)} AS since_day,
        arrayMap((begins, ends) -> range(begins, ends), {fx_begins:Array(UInt32)}, {fx_ends:Array(UInt32)}) AS days
)
ARRAY JOIN days AS one_day
