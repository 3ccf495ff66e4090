-- Purpose: the journeys of one slice of visitors, counted by site and sequence of channels; the definition is in
-- docs/learnt-models.md, and in plain Python in tests/integration/journey_definition.py.
-- Parameters: from, to Int64 (epoch milliseconds, to excluded): journeys that ended then; lookback Int64: the longest
-- lookback in milliseconds; low Int64: from which instant on touches and conversions are read; types Array(String),
-- lookbacks Array(Int64): the conversion types that end journeys, each with its lookback; excluded Array(String):
-- channels whose touches never count; site String ('' = all); slices, slice UInt32; longest UInt32: touchpoints kept of
-- a journey, the last ones; separator String between channels.
-- Order of magnitude: a slice of a million touchpoints in some seconds on one core; answers a row per sequence.
SELECT
    site,
    arrayStringConcat(arrayMap(e -> e.5, arraySlice(journey.2, -toInt64({longest:UInt32}))), {separator:String}) AS channels,
    countIf(journey.1 = 1) AS converted,
    countIf(journey.1 = 0) AS lost
FROM
(
    -- Touches that the conversion's lookback does not reach, and those without a conversion, are lost: a run of them
    -- ends where the next one is further away than the longest lookback.
    SELECT
        site,
        arrayJoin(arrayConcat(
            [(toUInt8(1), counted)],
            arrayMap(
                run -> (toUInt8(0), arrayFilter(e -> e.1 >= run[-1].1 - {lookback:Int64}, run)),
                arraySplit(
                    (e, pause) -> pause > {lookback:Int64},
                    uncounted,
                    arrayMap(n -> uncounted[n].1 - uncounted[greatest(n - 1, 1)].1, arrayEnumerate(uncounted))
                )
            )
        )) AS journey,
        if(journey.1 = 1, ending.1, journey.2[-1].1) AS ended_at
    FROM
    (
        SELECT
            site,
            segment[-1] AS ending,
            arrayFilter(e -> e.2 = 0 AND ending.2 = 1 AND e.1 >= ending.1 - ending.3, segment) AS counted,
            arrayFilter(e -> e.2 = 0 AND NOT (ending.2 = 1 AND e.1 >= ending.1 - ending.3), segment) AS uncounted
        FROM
        (
            -- A segment ends with a conversion, the last one of a visitor with a touch or with a conversion.
            SELECT site, arrayJoin(arrayReverseSplit((e, kind) -> kind, events, arrayMap(e -> e.2, events))) AS segment
            FROM
            (
                SELECT site, visitor_id, arraySort(groupArray(event)) AS events
                FROM
                (
                    -- (instant, 0 touch or 1 conversion, lookback, touchpoint id, channel)
                    SELECT
                        site, visitor_id,
                        (toUnixTimestamp64Milli(touched_at), toUInt8(0), toInt64(0), touchpoint_id, toString(channel)) AS event
                    FROM $touchpoints
                    WHERE toStartOfHour(touched_at) >= toStartOfHour(fromUnixTimestamp64Milli({low:Int64}, 'UTC'))
                        AND touched_at >= fromUnixTimestamp64Milli({low:Int64}, 'UTC')
                        AND touched_at < fromUnixTimestamp64Milli({to:Int64} + {lookback:Int64}, 'UTC')
                        AND ({site:String} = '' OR site = {site:String})
                        AND channel NOT IN {excluded:Array(String)}
                        AND cityHash64(site, visitor_id) % {slices:UInt32} = {slice:UInt32}
                    GROUP BY site, visitor_id, touched_at, touchpoint_id, channel
                    HAVING sum(sign) > 0
                    UNION ALL
                    SELECT
                        site, visitor_id,
                        (toUnixTimestamp64Milli(converted_at), toUInt8(1), max(within), '', '') AS event
                    FROM
                    (
                        SELECT site, visitor_id, converted_at, conversion_id,
                            transform(toString(type), {types:Array(String)}, {lookbacks:Array(Int64)}, toInt64(0)) AS within
                        FROM $conversions
                        WHERE type IN {types:Array(String)}
                            AND converted_at >= fromUnixTimestamp64Milli({low:Int64}, 'UTC')
                            AND ({site:String} = '' OR site = {site:String})
                            AND cityHash64(site, visitor_id) % {slices:UInt32} = {slice:UInt32}
                        GROUP BY site, visitor_id, converted_at, conversion_id, type
                        HAVING sum(sign) > 0
                    )
                    GROUP BY site, visitor_id, converted_at
                )
                GROUP BY site, visitor_id
                HAVING countIf(event.2 = 0) > 0
            )
        )
    )
)
WHERE notEmpty(journey.2) AND ended_at >= {from:Int64} AND ended_at < {to:Int64}
GROUP BY site, channels
