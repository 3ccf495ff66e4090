-- Purpose: POST /v1/query in one round trip. Part 0 are the rows asked for, part 1 is the coverage: all revenue of the
-- time asked for, per currency and reason why it is unattributed ("" = it is attributed), whatever the rows show of it;
-- part 2 is how many hits of robots were dropped in that time, and how many rows dropped_conversions has at all: whoever
-- sees some asks for part 3, too (query_claims.sql).
-- The rows of part 0 are in order of place; the reader sorts by it, because a UNION promises no order (and sorting it here
-- would cost more than sorting 100 rows).
-- Built by api/plan.py from fixed fragments: $rows (one row per group: d0 ..., m_* measures), $bases, $texts, $measures,
-- $order, $credit_facts, $linked and $no_linked (visitors whom ids name, if people are asked for), $coverage_where,
-- $drops_where. Values are server-side parameters: from and to (epoch seconds), model, basis, currency,
-- f0, f1, ... (filters), limit, offset; as_of (epoch ms), models and s0, s1, ... (spread) if asked for.
-- Order of magnitude: 10 ms, and 90 ms per million cells of channel_metrics read, on one core.
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

SELECT 2 AS part, toUInt64(0) AS place, [''] AS dimensions,
    [toString(sum(count)), toString((SELECT count() FROM $dropped_conversions))] AS measures$no_linked
FROM $drops
WHERE $drops_where
