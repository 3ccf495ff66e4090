"""Journeys as ClickHouse counts them are those of the plain definition, for random pasts with corrections."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from journey_definition import Conversion, Touch, journeys_of
from sinks_rows import NOON, row

from sinks.learnt import LONGEST, JourneyRange, JourneyReader
from sinks.tables import WRITTEN
from sinks.writer import RowWriter

CHANNELS = ("Direct", "Email", "Paid Search", "Organic, > Search")
LOOKBACKS = {"purchase": 50, "lead": 20}
"""Milliseconds; all instants are tens of them, so that edges are met often."""


def write(place: tuple[Client, str], table: str, rows: list[dict[str, Any]]) -> None:
    client, database = place
    written = [row(table, **given) for given in rows]
    RowWriter(client, database).insert(table, WRITTEN[table], written, f"{random.random()}")


def a_past(rng: random.Random) -> tuple[list[Touch], list[Conversion]]:
    """A few visitors on two sites; instants so close that ties and edges are common."""
    touches, conversions = [], []
    for number in range(rng.randrange(1, 200)):
        site, visitor = rng.choice("ab"), rng.choice("opqrstuvwxyz")
        at = NOON + rng.randrange(-150, 250, 10)
        touches.append(Touch(site, visitor, at, f"t{number:03}", rng.choice(CHANNELS)))
        if rng.random() < 0.3:
            types = rng.choice([("purchase",), ("lead",), ("sign_up",), ("lead", "purchase")])
            at = NOON + rng.randrange(-150, 350, 10)
            conversions += [Conversion(site, visitor, at, type_) for type_ in types]
    return touches, conversions


def store(place: tuple[Client, str], rng: random.Random, past: tuple[list[Touch], list[Conversion]]) -> None:
    """As the stream writes it: some rows taken back, written anew, or doubled and halved again."""
    touches, conversions = past
    rows: list[dict[str, Any]] = []
    for touch in touches:
        fact = {
            "site": touch.site,
            "visitor_id": touch.visitor,
            "touched_at": touch.at,
            "touchpoint_id": touch.id,
        }
        if rng.random() < 0.3:
            wrong = {**fact, "channel": "Wrong", "touched_at": touch.at + rng.choice([0, 0, 7])}
            rows += [wrong, {**wrong, "sign": -1}]
        rows.append({**fact, "channel": touch.channel})
    gone = {"site": "a", "visitor_id": "u", "touched_at": NOON, "touchpoint_id": "gone", "channel": "Email"}
    rows += [gone, {**gone, "sign": -1}]
    rng.shuffle(rows)
    write(place, "touchpoints", rows)
    rows = []
    for number, conversion in enumerate(conversions):
        fact = {
            "site": conversion.site,
            "visitor_id": conversion.visitor,
            "conversion_id": f"c{number}",
            "converted_at": conversion.at,
            "type": conversion.type,
            "value": "1",
        }
        if rng.random() < 0.3:
            earlier = {**fact, "visitor_id": rng.choice("uvw"), "value": "2"}
            rows += [earlier, {**earlier, "sign": -1}]
        rows.append(fact)
    if rows:
        rng.shuffle(rows)
        write(place, "conversions", rows)


@pytest.mark.parametrize("seed", range(10))
def test_journeys_are_those_of_the_definition(clean: tuple[Client, str], seed: int) -> None:
    """However the visitors are cut into slices, for all sites and for one."""
    rng = random.Random(seed)
    past = a_past(rng)
    store(clean, rng, past)
    from_, to = NOON - 20, NOON + 80
    converted, lost = journeys_of(*past, LOOKBACKS, from_, to)
    for slices, site in ((1, ""), (3, ""), (1, "a")):
        reader = JourneyReader(*clean)
        counters = reader.read(JourneyRange(from_, to, LOOKBACKS, site), slices)
        found_converted: Counter[tuple[str, tuple[str, ...]]] = Counter()
        found_lost: Counter[tuple[str, tuple[str, ...]]] = Counter()
        for name, counter in counters.items():
            result = counter.result()
            steps = iter(result.steps.tolist())
            counts = zip(
                result.lengths.tolist(), result.converted.tolist(), result.lost.tolist(), strict=True
            )
            for length, won, given_up in counts:
                channels = tuple(result.channels[next(steps)] for _ in range(length))
                found_converted[name, channels] += won
                found_lost[name, channels] += given_up
        assert +found_converted == Counter({k: n for k, n in converted.items() if site in ("", k[0])})
        assert +found_lost == Counter({k: n for k, n in lost.items() if site in ("", k[0])})


def test_channels_that_never_count_are_no_part_of_a_journey(clean: tuple[Client, str]) -> None:
    """Left out; and Direct, if it counts alone only, where there is something else."""
    touches = [
        Touch("a", visitor, NOON + place, f"{visitor}{place}", channel)
        for visitor, channels in {
            "u": ("Direct", "Email", "Display"),
            "v": ("Direct", "Direct"),
            "w": ("Display",),
        }.items()
        for place, channel in enumerate(channels)
    ]
    store(clean, random.Random(0), (touches, []))
    wanted = JourneyRange(NOON, NOON + 1000, LOOKBACKS, "", ("Display",), True)
    result = JourneyReader(*clean).read(wanted, 1)["a"].result()
    assert result.channels == ("Direct", "Email")
    assert (result.lengths.tolist(), result.steps.tolist()) == ([2, 1], [0, 0, 1])


def test_of_a_very_long_journey_the_end_is_kept(clean: tuple[Client, str]) -> None:
    """Somebody with thousands of touches is one journey of the last hundred."""
    touches = [Touch("a", "v", NOON + number, f"t{number:04}", "Email") for number in range(LONGEST + 50)]
    touches.append(Touch("a", "v", NOON + 500, "z", "Direct"))
    store(clean, random.Random(0), (touches, []))
    counters = JourneyReader(*clean).read(JourneyRange(NOON, NOON + 1000, {"purchase": 10_000}), 1)
    result = counters["a"].result()
    assert result.lengths.tolist() == [LONGEST]
    assert result.lost.tolist() == [1]
    assert result.channels[int(result.steps[-1])] == "Direct"


def test_work_is_cut_by_the_number_of_touchpoints(clean: tuple[Client, str]) -> None:
    """Each slice holds about so many."""
    touches = [Touch("a", f"v{number}", NOON, f"t{number:04}", "Email") for number in range(100)]
    store(clean, random.Random(1), (touches, []))
    wanted = JourneyRange(NOON, NOON + 1000, LOOKBACKS)
    assert JourneyReader(*clean).slices(wanted) == 1
    assert JourneyReader(*clean, slice_rows=30).slices(wanted) >= 4
    assert JourneyReader(*clean, slice_rows=30).slices(JourneyRange(NOON + 500, NOON + 600, LOOKBACKS)) == 1
