-- Purpose: POST /v1/query in one round trip. Part 0 are the rows asked for, part 1 is the coverage: all revenue of the
-- time asked for, per currency and reason why it is unattributed ("" = it is attributed), whatever the rows show of it;
-- part 2 is how many hits of robots were dropped in that time, part 3 what dropped hits claim was bought in it, per
-- currency and reason: each conversion once, and not if it stands in conversions, because somebody else reported it.
-- The rows of part 0 are in order of place; the reader sorts by it, because a UNION promises no order (and sorting it here
-- would cost more than sorting 100 rows).
-- Built by api/plan.py from fixed fragments: $rows (one row per group: d0 ..., m_* measures), $bases, $texts, $measures,
-- $order, $credit_facts, $linked and $no_linked (visitors whom ids name, if people are asked for), $coverage_where,
-- $drops_where, $dropped_where, $known. Values are server-side parameters: from and to (epoch seconds), model, basis, currency,
-- f0, f1, ... (filters), limit, offset; as_of (epoch ms), models and s0, s1, ... (spread) if asked for.
-- Order of magnitude: 10 ms, and 90 ms per million cells of channel_metrics read, on one core; if there are dropped
-- conversions, 40 ms per million rows of conversions and 5 ms per thousand dropped ones.
SELECT 0 AS part, rowNumberInAllBlocks() AS place, [$texts] AS dimensions, [$measures] AS measures$linked
FROM
(
    SELECT *$bases
    FROM
    (
$rows
    )
    ORDER BY $order
    LIMIT {limit:UInt32} OFFSET {offset:UInt32}
)

UNION ALL

SELECT 1 AS part, toUInt64(0) AS place, [CAST(currency, 'String'), CAST(why, 'String')] AS dimensions,
    [toString(revenue_of), toString(conversions_of)] AS measures$no_linked
FROM
(
    SELECT currency, if(channel = '(unattributed)', source, '') AS why, sum(m.revenue) AS revenue_of,
        sum(m.conversions) AS conversions_of
    FROM $credit_facts AS m
    WHERE $coverage_where
    GROUP BY currency, why
)

UNION ALL

SELECT 2 AS part, toUInt64(0) AS place, [''] AS dimensions, [toString(sum(count))] AS measures$no_linked
FROM $drops
WHERE $drops_where

UNION ALL

SELECT 3 AS part, toUInt64(0) AS place, [CAST(currency, 'String'), CAST(reason, 'String')] AS dimensions,
    [toString(sum(worth)), toString(count())] AS measures$no_linked
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
GROUP BY currency, reason
