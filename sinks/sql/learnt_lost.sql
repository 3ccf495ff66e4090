-- Purpose: the journeys of one slice of the persons that led to nothing, counted by site and sequence of channels; the
-- definition is in docs/learnt-models.md, and in plain Python in tests/property/journey_definition.py.
-- Parameters: from, to Int64 (epoch milliseconds, to excluded): journeys that ended then; low, high Int64: touches of
-- [low, high) and conversions from low on are read; run UInt64: of learnt_persons; types Array(String): conversions, the
-- place of one is its number, from 1; windows Array(Int64): for each of them the windows of visits, views and clicks in
-- milliseconds, -1 = it has none; any_type UInt8: a conversion of any type takes what came before it from later ones;
-- cutting Array(UInt8): numbers of the conversions behind which another journey begins; waited_for UInt8: number of the
-- type that lost journeys did not come to; pause Int64: a longer one ends a journey; without_views, views_give_way,
-- direct_alone UInt8; excluded Array(String): channels that never count; brand String: a pattern of terms
-- and campaigns that never count in channels of brand_channels Array(String), '' = none; site String ('' = all); slices,
-- slice UInt32; longest UInt32: touchpoints kept of a journey, the last ones; separator String.
-- Order of magnitude: a slice of a million touchpoints in some seconds on one core; answers a row per sequence.
SELECT
    site,
    arrayStringConcat(
        arraySlice(if({direct_alone:UInt8} AND notEmpty(others), others, counted), -toInt64({longest:UInt32})),
        {separator:String}) AS journey,
    count() AS lost
FROM
(
    -- What a conversion at the last touch of the run would have been credited to.
    SELECT
        site,
        run[-1].1 AS ended_at,
        arrayFilter(t -> t.1 >= ended_at - {windows:Array(Int64)}[3 * ({waited_for:UInt8} - 1) + t.4], run) AS within,
        arrayMax(arrayMap(t -> if(t.4 = 3, t.1, toInt64(-1)), within)) AS clicked_at,
        arrayMap(t -> t.3, arrayFilter(t -> NOT ({views_give_way:UInt8} AND t.4 = 2 AND t.1 <= clicked_at), within)) AS counted,
        arrayFilter(channel -> channel != 'Direct', counted) AS others
    FROM
    (
        SELECT
            site,
            arrayJoin(arraySplit(
                (t, before) -> t.1 - before.1 > {pause:Int64} OR before.2 < t.1,
                unspent,
                arrayPopBack(arrayPushFront(unspent, unspent[1]))
            )) AS run
        FROM
        (
            -- Touches (instant, next conversion that begins another journey, channel, kind) that no conversion has reached.
            SELECT
                site,
                arrayFilter(
                    (t, number, reached) -> number = 0 AND NOT reached,
                    arrayZip(instants, bars, channels, kinds), numbers, arrayResize(reaches, length(instants))
                ) AS unspent
            FROM
            (
                -- Of each type only the first conversion at or after a touch need be asked: it reaches back furthest.
                -- 9223372036854775807 = there is none.
                SELECT
                    site,
                    arraySort(groupArray(event)) AS events,
                    events.1 AS instants, events.2 AS numbers, events.4 AS channels, events.5 AS kinds,
                    arrayReverseFill(
                        at -> at != 9223372036854775807,
                        arrayMap((at, n) -> if(has({cutting:Array(UInt8)}, n), at, 9223372036854775807), instants, numbers)
                    ) AS bars,
                    arrayReduce('maxForEach', arrayMap(
                        number -> arrayMap(
                            (at, kind, next, any) -> next != 9223372036854775807
                                AND at >= next - {windows:Array(Int64)}[3 * (number - 1) + kind]
                                AND (NOT {any_type:UInt8} OR any = next),
                            instants, kinds,
                            arrayReverseFill(
                                at -> at != 9223372036854775807,
                                arrayMap((at, n) -> if(n = number, at, 9223372036854775807), instants, numbers)
                            ),
                            arrayReverseFill(
                                at -> at != 9223372036854775807,
                                arrayMap((at, n) -> if(n > 0, at, 9223372036854775807), instants, numbers)
                            )
                        ),
                        arrayDistinct(arrayFilter(n -> n > 0, numbers))
                    )) AS reaches
                FROM
                (
                    -- (instant, 0 touch or number of a conversion, touchpoint id, channel, kind: 1 visit, 2 view, 3 click)
                    SELECT
                        site, cityHash64(site, visitor_id) AS visitor,
                        (
                            toUnixTimestamp64Milli(touched_at), toUInt8(0), touchpoint_id, toString(channel),
                            toUInt8(1 + indexOf(['view', 'click'], toString(max(kind))))
                        ) AS event
                    FROM $touchpoints
                    WHERE toStartOfHour(touched_at) >= toStartOfHour(fromUnixTimestamp64Milli({low:Int64}, 'UTC'))
                        AND touched_at >= fromUnixTimestamp64Milli({low:Int64}, 'UTC')
                        AND touched_at < fromUnixTimestamp64Milli({high:Int64}, 'UTC')
                        AND ({site:String} = '' OR site = {site:String})
                        AND NOT ({without_views:UInt8} AND kind = 'view')
                        AND NOT has({excluded:Array(String)}, toString(channel))
                        AND NOT (
                            {brand:String} != '' AND has({brand_channels:Array(String)}, toString(channel))
                            AND (match(term, {brand:String}) OR match(toString(campaign), {brand:String}))
                        )
                        AND if(
                            visitor IN (SELECT visitor FROM $learnt_persons WHERE run = {run:UInt64}),
                            visitor IN (
                                SELECT visitor FROM $learnt_persons
                                WHERE run = {run:UInt64} AND person % {slices:UInt32} = {slice:UInt32}
                            ),
                            visitor % {slices:UInt32} = {slice:UInt32}
                        )
                    GROUP BY site, visitor_id, touched_at, touchpoint_id, channel
                    HAVING sum(sign) > 0
                    UNION ALL
                    SELECT
                        site, cityHash64(site, visitor_id) AS visitor,
                        (
                            toUnixTimestamp64Milli(converted_at),
                            toUInt8(indexOf({types:Array(String)}, toString(type))), '', '', toUInt8(1)
                        ) AS event
                    FROM $conversions
                    WHERE type IN {types:Array(String)}
                        AND converted_at >= fromUnixTimestamp64Milli({low:Int64}, 'UTC')
                        AND ({site:String} = '' OR site = {site:String})
                        AND if(
                            visitor IN (SELECT visitor FROM $learnt_persons WHERE run = {run:UInt64}),
                            visitor IN (
                                SELECT visitor FROM $learnt_persons
                                WHERE run = {run:UInt64} AND person % {slices:UInt32} = {slice:UInt32}
                            ),
                            visitor % {slices:UInt32} = {slice:UInt32}
                        )
                    GROUP BY site, visitor_id, converted_at, conversion_id, type
                    HAVING sum(sign) > 0
                ) AS seen
                LEFT JOIN
                (
                    SELECT visitor, person FROM $learnt_persons WHERE run = {run:UInt64}
                ) AS joined ON seen.visitor = joined.visitor
                GROUP BY site, if(joined.visitor = 0, seen.visitor, joined.person)
                HAVING countIf(event.2 = 0) > 0
            )
        )
        WHERE notEmpty(unspent)
    )
    WHERE ended_at >= {from:Int64} AND ended_at < {to:Int64}
)
GROUP BY site, journey
