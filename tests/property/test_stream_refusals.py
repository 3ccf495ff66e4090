"""ClickHouse refuses rows for good: the others get through, the causes are dead letters, and a replay makes it whole.

Through the real stages, with crashes at points all along the way.
"""

from __future__ import annotations

import asyncio
import base64
import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis
from stream_checks import assert_tallies_equal_rows
from stream_crashes import Crash, CrashingWriter, Faults
from stream_house import PARTITIONS, House, settled, tallies
from stream_worlds import T0, URLS, assert_equals_oracle

from attribution.errors import Rejected
from attribution.hit import Hit, encode_envelope
from attribution.oracle import oracle
from attribution.policy import DAY_MS, MINUTE_MS, AttributionPolicy, SessionSwitch
from sinks.tables import WRITTEN
from streams.refusals import REFUSED
from streams.topics import CONVERSIONS, HITS, partition_of, refused_key

Refuses = Callable[[str, dict[str, Any]], bool]
VISITORS = ["v0", "v1", "v2", "v3", "v4", "v5"]
BAD = ("v1", "v4")
POLICY = AttributionPolicy()
LONGER = AttributionPolicy(session_gap_ms=120 * MINUTE_MS, session_switch=SessionSwitch.nothing)


class RefusingWriter(CrashingWriter):
    """Refuses a block for one of its rows, whatever its token."""

    refuses: Refuses = staticmethod(lambda _table, _row: False)

    def insert(self, table: str, columns: tuple[str, ...], rows: Sequence[Any], token: str) -> None:
        for row in rows:
            values = msgspec.json.decode(row) if isinstance(row, msgspec.Raw) else row
            if self.refuses(table, dict(zip(WRITTEN[table], values, strict=True))):
                self.faults.point()
                raise Rejected(REFUSED, "a constraint is violated", "")
        super().insert(table, columns, rows, token)


def hits_of(visitor: str) -> list[list[Hit]]:
    """A visit and a purchase; then a touch between them that comes late."""

    def hit(event_id: str, after: int, **fields: Any) -> Hit:
        return Hit(
            event_id=event_id, site="s", visitor_id=visitor, occurred_at=T0 + after, received_at=T0 + after, **fields
        )  # fmt: skip

    bought = {"event": "purchase", "value": "30.01", "currency": "USD", "order_id": f"o-{visitor}"}
    return [
        [hit("1", 0, url=URLS[1]), hit("2", DAY_MS, **bought)],
        [hit("3", 3_600_000, url=URLS[3])],
    ]


BAD_ORDERS = oracle([hit for visitor in BAD for hit in hits_of(visitor)[0]], POLICY, "USD").conversions.keys()
"""By conversion id: rows of paths know no visitor."""


def is_bad(row: dict[str, Any]) -> bool:
    """Whether a row of any table is about a visitor who is refused."""
    return row.get("visitor_id") in BAD or row.get("conversion_id") in BAD_ORDERS


def envelopes_of(round_: int) -> list[list[Hit]]:
    """The hits of one round: one envelope for each partition."""
    found: dict[int, list[Hit]] = {}
    for visitor in VISITORS:
        found.setdefault(partition_of(visitor, PARTITIONS), []).extend(hits_of(visitor)[round_])
    return list(found.values())


def all_hits(visitors: Sequence[str]) -> list[Hit]:
    return [hit for visitor in visitors for part in hits_of(visitor) for hit in part]


async def settle(house: House, on_crash: Callable[[], None] = lambda: None) -> None:
    for _ in range(500):
        try:
            if await settled(house, house.rng):
                break
        except Crash:
            house.all_die()
            on_crash()
    else:
        raise AssertionError("not settled")
    house.tallies = {partition: await tallies(house.redis, partition) for partition in range(PARTITIONS)}


def letters(house: House) -> list[dict[str, Any]]:
    return house.writer.dicts("dead_letters")


async def begin(url: str, refuses: Refuses, crashes: list[int]) -> tuple[House, RefusingWriter]:
    redis = Redis.from_url(url)
    await redis.flushdb()
    house = House(redis, POLICY, Faults(crashes), "durable", random.Random(1))
    writer = RefusingWriter()
    writer.faults, writer.refuses = house.faults, refuses
    house.writer = writer
    return house, writer


def arrive(house: House, round_: int) -> None:
    for envelope in envelopes_of(round_):
        house.append(HITS, envelope[0].visitor_id.encode(), encode_envelope(envelope))


async def replay_all(house: House) -> None:
    """Every dead letter comes back, and nothing is refused any more: all is as if it had never been."""
    for letter in letters(house):
        key = base64.b64decode(letter["key_base64"])
        house.append(letter["topic"], key, base64.b64decode(letter["payload_base64"]))
    await settle(house)
    assert_equals_oracle(house.writer, oracle(all_hits(VISITORS), POLICY, "USD"))
    assert_tallies_equal_rows(house)
    await house.redis.aclose()


async def play(url: str, refuses: Refuses, crashes: list[int], look: Callable[[House], None]) -> int:
    """Everything arrives, rows are refused, and it is looked at; then nothing is refused and the letters are replayed.

    The number of moments at which a crash could have come.
    """
    house, writer = await begin(url, refuses, crashes)
    for round_ in (0, 1):
        arrive(house, round_)
        await settle(house)
    assert_tallies_equal_rows(house)
    assert {letter["reason"] for letter in letters(house)} == {REFUSED}
    assert set(Counter(letter["dead_letter_id"] for letter in letters(house)).values()) == {1}
    look(house)
    points = house.faults.count
    house.all_die()  # what a crash left behind, the next owners put away
    await settle(house)
    for partition in range(PARTITIONS):
        assert not await house.redis.exists(refused_key(HITS, partition), refused_key(CONVERSIONS, partition))
    writer.refuses = lambda _table, _row: False
    await replay_all(house)
    return points


async def play_until_lifted(url: str, refuses: Refuses, crash: int) -> int:
    """From a crash on nothing is refused: what was inserted in parts must not be inserted as a whole."""
    house, writer = await begin(url, refuses, [crash])

    def lift() -> None:
        writer.refuses = lambda _table, _row: False

    for round_ in (0, 1):
        arrive(house, round_)
        await settle(house, lift)
    points = house.faults.count
    lift()
    await replay_all(house)
    return points


def at_many_points(url: str, refuses: Refuses, look: Callable[[House], None]) -> None:
    """Without a crash, then with one at every seventh point, and a second one soon after."""
    points = asyncio.run(play(url, refuses, [], look))
    for point in range(random.randint(1, 7), points + 1, 7):
        asyncio.run(play(url, refuses, [point, point + 1 + point % 5], look))


@pytest.mark.parametrize("table", ["sessions", "touchpoints", "hits"])
def test_hits_whose_rows_are_refused_are_dead_letters_and_all_others_get_through(
    empty_valkey: str, table: str
) -> None:
    """Nothing of them stays in any table, every input ends in one place, and the partition goes on."""
    good = [visitor for visitor in VISITORS if visitor not in BAD]

    def look(house: House) -> None:
        assert_equals_oracle(house.writer, oracle(all_hits(good), POLICY, "USD"))
        refused = [
            msgspec.json.decode(base64.b64decode(letter["payload_base64"]), type=Hit)
            for letter in letters(house)
        ]
        assert sorted((hit.visitor_id, hit.event_id) for hit in refused) == [
            (visitor, event_id) for visitor in BAD for event_id in ("1", "2", "3")
        ]

    at_many_points(empty_valkey, lambda where, row: where == table and row["visitor_id"] in BAD, look)


@pytest.mark.parametrize("table", ["conversions", "paths", "credits"])
def test_a_conversion_whose_rows_are_refused_does_not_stop_its_partition(
    empty_valkey: str, table: str
) -> None:
    """It stands in none of the tables, and its triggers are dead letters; its hits and sessions are there."""

    def look(house: House) -> None:
        for where in ("conversions", "paths", "credits"):
            net: Counter[str] = Counter()
            for row in house.writer.dicts(where):
                net[row["conversion_id"]] += row.get("sign", 1)
            assert sum(count > 0 for count in net.values()) == len(VISITORS) - len(BAD)
        assert len(house.writer.dicts("hits")) == len(all_hits(VISITORS))
        assert {letter["topic"] for letter in letters(house)} == {CONVERSIONS}

    at_many_points(empty_valkey, lambda where, row: where == table and is_bad(row), look)


@pytest.mark.parametrize("table", ["paths", "credits"])
def test_a_correction_that_is_refused_leaves_what_stood(empty_valkey: str, table: str) -> None:
    """The ledger says what it said, Redis says the same, and the replayed trigger makes the difference to it."""

    def look(house: House) -> None:
        causes = Counter((row["visitor_id"], row["cause"]) for row in house.writer.dicts("credits"))
        assert not any(causes[visitor, "late_touch"] for visitor in BAD)
        assert all(causes[visitor, "conversion"] for visitor in VISITORS)
        assert all(causes[visitor, "late_touch"] for visitor in VISITORS if visitor not in BAD)
        lengths: Counter[str] = Counter()
        for row in house.writer.dicts("paths"):
            lengths[row["conversion_id"]] += row["sign"] * len(row["channels"])
        assert Counter(lengths.values()) == {1: len(BAD), 2: len(VISITORS) - len(BAD)}
        assert all(lengths[conversion_id] == 1 for conversion_id in BAD_ORDERS)

    def refuses(where: str, row: dict[str, Any]) -> bool:
        is_correction = row.get("cause") == "late_touch" or len(row.get("channels", ())) > 1
        return where == table and is_correction and is_bad(row)

    at_many_points(empty_valkey, refuses, look)


@pytest.mark.parametrize("table", ["sessions", "touchpoints", "hits", "conversions", "paths", "credits"])
def test_what_was_inserted_in_parts_is_not_inserted_again_as_a_whole(empty_valkey: str, table: str) -> None:
    """Somebody drops the constraint between the crash and the next attempt."""

    def refuses(where: str, row: dict[str, Any]) -> bool:
        return where == table and is_bad(row)

    points = asyncio.run(play_until_lifted(empty_valkey, refuses, 0))
    for point in range(random.randint(1, 3), points + 1, 3):
        asyncio.run(play_until_lifted(empty_valkey, refuses, point))


async def restate_while_rows_are_refused(url: str) -> House:
    """Everything is there; then it is restated with longer sessions, and rows of the restatement are refused."""
    house, writer = await begin(url, lambda _table, _row: False, [])
    arrive(house, 0)
    arrive(house, 1)
    await settle(house)
    house.start_with(LONGER)
    while not await house.is_quiet():
        await settled(house, house.rng)
    house.restate(LONGER, T0 + 90 * DAY_MS)
    # All of one envelope: what is restated is inserted in parts, of which some go through.
    writer.refuses = lambda table, row: table == "sessions" and row["visitor_id"] in BAD
    await settle(house)
    return house


def test_restated_hits_of_a_batch_that_is_refused_are_judged_once_more_and_are_not_doubles(
    empty_valkey: str,
) -> None:
    """In parts as in a whole: nobody's hits are dropped, and those who are not refused have the new sessions."""
    house = asyncio.run(restate_while_rows_are_refused(empty_valkey))
    assert not house.writer.dicts("drops")
    lengths: Counter[str] = Counter()
    for row in house.writer.dicts("sessions"):
        lengths[row["visitor_id"]] += row["sign"]
    expected = oracle(all_hits(VISITORS), LONGER, "USD")
    now = Counter(session.visitor_id for session in expected.sessions)
    assert {v: n for v, n in lengths.items() if v not in BAD} == {
        v: n for v, n in now.items() if v not in BAD
    }
    assert {letter["topic"] for letter in letters(house)} == {HITS}


async def play_with_robots(url: str, crashes: list[int]) -> int:
    """Robots claim to have bought; ClickHouse refuses one claim. The number of moments for a crash."""
    house, _ = await begin(
        url, lambda where, row: where == "dropped_conversions" and row["event_id"] == "bad", crashes
    )
    arrive(house, 0)
    for event_id in ("a", "bad", "c"):
        bought = {"event": "purchase", "value": "1.00", "currency": "USD", "user_agent": "Googlebot/2.1"}
        for visitor in VISITORS:
            at = {"occurred_at": T0, "received_at": T0}
            hit = Hit(event_id=event_id, site="s", visitor_id=visitor, **at, **bought)
            house.append(HITS, visitor.encode(), encode_envelope([hit]))
    await settle(house)
    assert letters(house) == []
    claims = Counter(row["event_id"] for row in house.writer.dicts("dropped_conversions"))
    assert claims == {"a": len(VISITORS), "c": len(VISITORS)}
    assert sum(row["count"] for row in house.writer.dicts("drops")) == 3 * len(VISITORS)
    first_round = [hit for visitor in VISITORS for hit in hits_of(visitor)[0]]
    assert_equals_oracle(house.writer, oracle(first_round, POLICY, "USD"))
    assert_tallies_equal_rows(house)
    points = house.faults.count
    await house.redis.aclose()
    return points


def test_a_claim_of_a_robot_that_is_refused_is_left_out_and_stops_nobody(empty_valkey: str) -> None:
    """It is counted as dropped all the same, so it needs no dead letter; the others are kept once."""
    points = asyncio.run(play_with_robots(empty_valkey, []))
    for point in range(1, points + 1, 5):
        asyncio.run(play_with_robots(empty_valkey, [point, point + 3]))
