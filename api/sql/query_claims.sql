-- Purpose: part 3 of query.sql, what dropped hits claim was bought in the time asked for, per currency and reason: each
-- conversion once, and not if it stands in conversions, because somebody else reported it. A statement of its own,
-- because the engine takes as long to plan it as to answer the rest, and most installations have none.
-- Built by api/plan.py: $dropped_conversions, $conversions, $dropped_where, $known; read by coverage.sql.
-- Order of magnitude: 10 ms, 40 ms per million rows of conversions and 5 ms per thousand dropped ones, on one core.
SELECT CAST(currency, 'String') AS of_currency$of_day, CAST(reason, 'String') AS why, sumIf(worth, $earned) AS p_money,
    count() AS p_conversions
FROM
(
    -- The report that counts is chosen as of conversions: the earliest with a value, else the earliest.
    SELECT site, toStartOfHour(report.1, 'UTC') AS hour, report.2 AS conversion_type, report.3 AS currency, report.4 AS worth,
        report.5 AS reason, '-' AS model
    FROM
    (
        SELECT site, conversion_id, argMin(
            (converted_at, conversion_type, currency, ifNull(value, toDecimal64(0, 4)), reason),
            (isNull(value), converted_at, event_id, recorded_at, src_partition, src_offset)) AS report
        FROM $dropped_conversions
        WHERE $known AND (site, conversion_id) NOT IN
        (
            SELECT site, conversion_id
            FROM $conversions
            -- By id alone: four times as fast as by the pair.
            WHERE $known AND conversion_id IN (SELECT conversion_id FROM $dropped_conversions)
            GROUP BY site, conversion_id
            HAVING sum(sign) > 0
        )
        GROUP BY site, conversion_id
    )
)
WHERE $dropped_where
GROUP BY of_currency, why$by_day
