-- Purpose: POST /v1/query in one round trip. Part 0 are the rows asked for; parts 1 and 4 are the coverage (coverage.sql): all
-- revenue of the time asked for, per currency and reason why it is unattributed ("" = it is attributed), and all spend,
-- if spend is asked for, whatever the rows show of them; part 2 is how many hits of robots were dropped in that time; part 5 how many rows
-- dropped_conversions has at all: whoever sees some asks for part 3, too (query_claims.sql). Each of these is an arm of its
-- own and no level more than it needs: the engine takes longer to plan a statement than to read a roll-up.
-- The rows of part 0 are in order of place; the reader sorts by it, because a UNION promises no order (and sorting it here
-- would cost more than sorting 100 rows).
-- Built by api/plan.py from fixed fragments: $rows (one row per group: d0 ..., m_* measures; it ends where ORDER BY can follow), $texts, $measures,
-- $order, $coverage, $linked and $no_linked (visitors whom ids name, if people are asked for; conversions and shares, if customers are), $drops_where. Values are server-side parameters: from and to (epoch seconds), model, basis, currency,
-- f0, f1, ... (filters), limit, offset, pipeline_types, qualified_leads; as_of (epoch ms), models and s0, s1, ... (spread),
-- currencies, fx_from and fx_to (conversion of money) if asked for.
-- Order of magnitude: 10 ms, and 90 ms per million cells of channel_metrics read, on one core.
SELECT 0 AS part, rowNumberInAllBlocks() AS place, [$texts] AS dimensions, [$measures] AS measures$linked
FROM
(
$rows
    ORDER BY $order
    LIMIT {limit:UInt32} OFFSET {offset:UInt32}
)

UNION ALL

$coverage

UNION ALL

SELECT 2 AS part, toUInt64(0) AS place, [''] AS dimensions,
    [toString(sum(count))] AS measures$no_linked
FROM $drops
WHERE $drops_where

UNION ALL

SELECT 5 AS part, toUInt64(0) AS place, [''] AS dimensions, [toString(count())] AS measures$no_linked
FROM $dropped_conversions
