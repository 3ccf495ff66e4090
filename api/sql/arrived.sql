-- What touches of a time brought, by how long it took to arrive. place: 1 = within the first hour, ... 48 = within the 48th,
-- 49 = on the third day, and so on; the last one is everything that took longer. What was in place n has arrived when the
-- touch is n hours old, or from 48 hours on n - 46 days.
-- Order of magnitude: 0.3 s per million entries of the model and core.
SELECT least(if(hours_of < 48, hours_of + 1, 47 + intDiv(hours_of, 24)), {places:Int64}) AS place$of_money,
    sum(amount) AS p_money, sumIf(weight, amount != 0) AS p_weight
FROM
(
    SELECT greatest(intDiv(toUnixTimestamp64Milli(booked_at) - toUnixTimestamp64Milli(touched_at), 3600000), 0) AS hours_of,
        currency, booked_at, amount, weight
    FROM $credits
    WHERE model = {model:String} AND $where AND $wanted AND channel != '(unattributed)'
        AND conversion_type NOT IN {pipeline_types:Array(String)}
        AND toUnixTimestamp64Milli(touched_at) >= {cohort_from:Int64} AND toUnixTimestamp64Milli(touched_at) < {cohort_to:Int64}
)
GROUP BY place$by_money
