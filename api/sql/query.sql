-- Purpose: POST /v1/query in one round trip. Part 0 are the rows asked for, part 1 is the coverage: all credited
-- revenue of the time asked for, per currency, whatever the rows show of it.
-- Built by api/plan.py from fixed fragments: $grouped (one row per group, m_* measures), $texts, $measures, $bases,
-- $order, $keep, $coverage_where. Values are server-side parameters: from and to (epoch seconds), model, basis,
-- currency, f0, f1, ... (filters), limit, offset.
-- Order of magnitude: 10 to 60 ms over a million cells of channel_metrics on one core.
SELECT part, dimensions, measures
FROM
(
    SELECT 0 AS part, row_number() OVER (ORDER BY $order) AS place, [$texts] AS dimensions, [$measures] AS measures
    FROM
    (
        SELECT *$bases
        FROM
        (
$grouped
        )
    )
    WHERE $keep
    ORDER BY place
    LIMIT {limit:UInt32} OFFSET {offset:UInt32}

    UNION ALL

    SELECT 1 AS part, toUInt64(0) AS place, [CAST(currency, 'String')] AS dimensions,
        [toString(sumIf(m.revenue, channel != '(unattributed)')), toString(sumIf(m.revenue, channel = '(unattributed)')),
         toString(sumIf(m.conversions, channel != '(unattributed)')),
         toString(sumIf(m.conversions, channel = '(unattributed)'))] AS measures
    FROM $channel_metrics AS m
    WHERE $coverage_where
    GROUP BY currency
)
ORDER BY part, place
