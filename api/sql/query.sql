-- Purpose: POST /v1/query in one round trip. Part 0 are the rows asked for, part 1 is the coverage: all credited
-- revenue of the time asked for, per currency, whatever the rows show of it. The rows of part 0 are in order of place;
-- the reader sorts by it, because a UNION promises no order (and sorting it here would cost more than sorting 100 rows).
-- Built by api/plan.py from fixed fragments: $rows (one row per group: d0 ..., m_* measures), $bases, $texts, $measures,
-- $order, $coverage_where. Values are server-side parameters: from and to (epoch seconds), model, basis, currency, f0, f1, ...
-- (filters), limit, offset.
-- Order of magnitude: 10 ms, and 90 ms per million cells of channel_metrics read, on one core.
SELECT 0 AS part, rowNumberInAllBlocks() AS place, [$texts] AS dimensions, [$measures] AS measures
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

SELECT 1 AS part, toUInt64(0) AS place, [CAST(currency, 'String')] AS dimensions,
    [toString(sumIf(m.revenue, channel != '(unattributed)')), toString(sumIf(m.revenue, channel = '(unattributed)')),
     toString(sumIf(m.conversions, channel != '(unattributed)')),
     toString(sumIf(m.conversions, channel = '(unattributed)'))] AS measures
FROM $channel_metrics AS m
WHERE $coverage_where
GROUP BY currency
