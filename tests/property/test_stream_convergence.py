"""I1, I2, I3 and I6 through the real stages: any order, doubles, borders, crashes at every step, a broker that forgets.

The stages, the Lua scripts and a real Valkey are what runs in production; Kafka is a list per partition and
ClickHouse the writer's twin (held against the real one in tests/contract). A crash is raised before or after any
call to the outside, the stages are thrown away, and new owners take over from the fence.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from attribution.hit import Hit, encode_envelope
from attribution.oracle import World, oracle
from attribution.policy import DAY_MS, MINUTE_MS, AttributionPolicy, SessionSwitch
from sinks.memory import MemoryWriter
from streams.credit import CreditStage
from streams.fence import Fenced, FenceStore
from streams.ownership import Ownership
from streams.records import Batch, Record
from streams.stitch import StitchStage
from streams.stitch_batch import StitchRules
from streams.tally import Counts, Tally, tally_of
from streams.topics import (
    CONVERSIONS,
    HITS,
    VOLATILE_CLUSTER_PREFIX,
    dirty_key,
    outbox_key,
    partition_of,
    tallies_key,
    tally_key,
)

PARTITIONS = 2
MOST_TURNS = 3_000
"""Far more than any example needs: a stream that never settles fails instead of hanging."""
T0 = 1_760_000_000_000
URLS = (
    "https://shop.example/a",
    "https://shop.example/b?utm_source=newsletter&utm_medium=email&utm_campaign=may",
    "https://shop.example/c?gclid=abc",
    "https://shop.example/d?utm_source=linkedin&utm_medium=paid-social&utm_campaign=x",
)
REFERRERS = ("", "", "https://www.google.com/", "https://news.example.org/story")
EVENTS = ("page_view", "page_view", "page_view", "purchase", "lead", "impression")


class Crash(BaseException):
    """The process is gone: nothing may catch this but the test."""


class Faults:
    """Raises ``Crash`` at the drawn calls; each call to the outside is a point before and a point after."""

    def __init__(self, at: Sequence[int]) -> None:
        self._at = set(at)
        self.count = 0
        self.raised = 0

    def point(self) -> None:
        """One moment at which the process may die."""
        self.count += 1
        if self.count in self._at:
            self.raised += 1
            raise Crash


class CrashingFences(FenceStore):
    """Fences whose every script may be the last thing a worker does."""

    faults: Faults
    house: House

    async def run(self, script: Any, keys: list[Any], args: list[Any], what: str) -> Any:
        await self.house.meanwhile()
        self.faults.point()
        result = await super().run(script, keys, args, what)
        self.faults.point()
        return result


class CrashingWriter(MemoryWriter):
    """A writer that checks the books after each insert and may be the last thing a worker does."""

    faults: Faults

    def insert(self, table: str, columns: tuple[str, ...], rows: Sequence[Any], token: str) -> None:
        self.faults.point()
        super().insert(table, columns, rows, token)
        if table == "credits":
            assert_books_balance(self)
        self.faults.point()


class House:
    """The outside world of the stages, which survives their crashes."""

    def __init__(
        self, redis: Redis, policy: AttributionPolicy, faults: Faults, broker: str, rng: random.Random
    ) -> None:
        self.policy = policy
        self.faults = faults
        self.rng = rng
        self.credit_is_running = False
        self.fences = CrashingFences(redis, range_events=5)
        self.fences.faults = faults
        self.fences.house = self
        self.writer = CrashingWriter()
        self.writer.faults = faults
        self.redis = redis
        self.broker = broker
        self.logs: dict[tuple[str, int], list[Record]] = defaultdict(list)
        self.stages: dict[tuple[str, int], tuple[Any, int, int | None]] = {}
        self.tallies: dict[int, list[Tally]] = {}

    async def send(self, topic: str, key: bytes, value: bytes) -> None:
        """Kafka's part: keep the record."""
        self.faults.point()
        self.append(topic, key, value)
        self.faults.point()

    def append(self, topic: str, key: bytes, value: bytes) -> None:
        partition = partition_of(key.decode(), PARTITIONS)
        log = self.logs[topic, partition]
        log.append(Record(len(log), T0, key, value))

    async def take_over(self, topic: str, partition: int) -> None:
        """A new owner, as in ``streams.worker``."""
        fence = await self.fences.acquire(topic, partition)
        own = Ownership(self.broker, fence, self.writer, self.send)
        stage: Any
        if topic == HITS:
            stage = StitchStage(own, StitchRules(self.policy, "USD", PARTITIONS))
        else:
            stage = CreditStage(own, self.policy, PARTITIONS)
        await stage.start()
        self.stages[topic, partition] = (stage, *fence.found.start_on(self.broker))

    async def turn(self, topic: str, partition: int, size: int) -> bool:
        """Let the owner process its next batch of at most ``size`` records; False when there is none."""
        if (topic, partition) not in self.stages:
            await self.take_over(topic, partition)
        stage, offset, must_end_at = self.stages[topic, partition]
        end = must_end_at + 1 if must_end_at is not None else offset + size
        records = self.logs[topic, partition][offset:end]
        if not records:
            return False
        self.credit_is_running = topic == CONVERSIONS
        try:
            await stage.process(Batch(topic, partition, self.broker, records))
        finally:
            self.credit_is_running = False
        self.stages[topic, partition] = (stage, records[-1].offset + 1, None)
        return True

    async def meanwhile(self) -> None:
        """While credit waits for Redis, stitch may write: the past changes under credit's hands."""
        if self.credit_is_running and self.rng.random() < 0.3:
            self.credit_is_running = False
            await self.turn(HITS, self.rng.randrange(PARTITIONS), 2)
            self.credit_is_running = True

    def forget_broker(self, number: int) -> list[Record]:
        """The broker dies with its log; returns what its producer will send again."""
        spool = [record for (topic, _), log in self.logs.items() if topic == HITS for record in log]
        self.logs.clear()
        self.stages.clear()
        self.broker = f"{VOLATILE_CLUSTER_PREFIX}{number}"
        return spool


def assert_books_balance(writer: MemoryWriter) -> None:
    """I2 after every insert: per conversion and model amounts equal value and weights add up to one."""
    amounts: Counter[tuple[str, str]] = Counter()
    weights: Counter[tuple[str, str]] = Counter()
    for row in writer.dicts("credits"):
        key = (row["conversion_id"], row["model"])
        amounts[key] += cents(row["amount"]) - cents(row["conversion_value"])
        weights[key] += int(row["weight"].replace(".", ""))
    assert not {key: rest for key, rest in amounts.items() if rest}
    assert set(weights.values()) <= {10**9}


def cents(text: str) -> int:
    """Minor units of a two-decimal amount."""
    whole, _, rest = text.partition(".")
    return int(whole + rest.ljust(2, "0"))


def net(rows: list[dict[str, Any]], key: str) -> dict[str, Counter[Any]]:
    """Signed rows summed: id → the facts that stand."""
    standing: dict[str, Counter[Any]] = defaultdict(Counter)
    for row in rows:
        facts = {n: tuple(v) if isinstance(v, list) else v for n, v in row.items() if n not in IGNORED}
        standing[row[key]][tuple(sorted(facts.items()))] += row["sign"]
    return {
        i: Counter({f: n for f, n in facts.items() if n})
        for i, facts in standing.items()
        if any(facts.values())
    }


IGNORED = {"sign", "src_broker", "src_partition", "src_offset", "cause", "recorded_at"}


def assert_equals_oracle(writer: MemoryWriter, world: World) -> None:
    """What stands in the tables is what one pass over all hits says."""
    stored = Counter((r["site"], r["visitor_id"], r["event_id"]) for r in writer.dicts("hits"))
    assert Counter(world.hits.keys()) == stored

    sessions = net(writer.dicts("sessions"), "session_id")
    expected = {s.session_id: s for s in world.sessions}
    assert expected.keys() == sessions.keys()
    for session_id, facts in sessions.items():
        ((row, count),) = facts.items()
        found, want = dict(row), expected[session_id]
        assert count == 1
        assert (want.started_at, want.ended_at, want.hits, want.page_views, want.landing_page) == (
            found["started_at"],
            found["ended_at"],
            found["hits"],
            found["page_views"],
            found["landing_page"],
        )
        assert (want.acquisition.channel, want.acquisition.source, want.hours, want.hour_hits) == (
            found["channel"],
            found["source"],
            found["hours"],
            found["hour_hits"],
        )

    touchpoints = net(writer.dicts("touchpoints"), "touchpoint_id")
    assert {t.touchpoint_id for t in world.touchpoints} == touchpoints.keys()
    assert all(list(facts.values()) == [1] for facts in touchpoints.values())

    conversions = net(writer.dicts("conversions"), "conversion_id")
    assert world.conversions.keys() == conversions.keys()
    for conversion_id, facts in conversions.items():
        ((row, count),) = facts.items()
        want_fact = world.conversions[conversion_id]
        assert (1, want_fact.event_id, want_fact.visitor_id) == (
            count,
            dict(row)["event_id"],
            dict(row)["visitor_id"],
        )
        assert (want_fact.value_minor or 0) == cents(dict(row)["value"])

    weights: Counter[Any] = Counter()
    amounts: Counter[Any] = Counter()
    for row in writer.dicts("credits"):
        key = (row["conversion_id"], row["model"], row["touchpoint_id"])
        weights[key] += int(row["weight"].replace(".", ""))
        amounts[key] += cents(row["amount"])
    standing = {k: (weights[k], amounts[k]) for k in weights if weights[k] or amounts[k]}
    assert {k: v for k, v in world.credits.items() if any(v)} == standing


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[Hit], AttributionPolicy]:
    """Hits of a few visitors around the rules' edges, in order of time."""
    gap = 30 * MINUTE_MS
    step = st.sampled_from(
        [0, 1, 60_000, gap - 1, gap, gap + 1, 3 * gap, DAY_MS - 1, DAY_MS + 1, 31 * DAY_MS]
    )
    hits: list[Hit] = []
    for visitor in range(draw(st.integers(1, 3))):
        at = T0 + draw(st.integers(0, 3)) * 3_000_000
        for number in range(draw(st.integers(1, 8))):
            at += draw(step)
            event = draw(st.sampled_from(EVENTS))
            has_page = event != "purchase" or draw(st.booleans())
            hits.append(
                Hit(
                    event_id=f"e{number}",
                    site="s",
                    visitor_id=f"v{visitor}",
                    occurred_at=at,
                    received_at=at + 5,
                    event=event,
                    url=draw(st.sampled_from(URLS)) if has_page else "",
                    referrer=draw(st.sampled_from(REFERRERS)) if has_page else "",
                    value=draw(st.sampled_from([None, "10.00", "0.01", "99.99"]))
                    if event == "purchase"
                    else None,
                    currency="USD" if event == "purchase" else "",
                    order_id=draw(st.sampled_from(["", "", "o1", "o2"])) if event == "purchase" else "",
                    user_agent=draw(
                        st.sampled_from(["Mozilla/5.0 (X11; Linux) Firefox/130.0", "Googlebot/2.1"])
                    )
                    if draw(st.integers(0, 9)) == 0
                    else "Mozilla/5.0 (X11; Linux) Firefox/130.0",
                )
            )
    return hits, AttributionPolicy(session_switch=draw(st.sampled_from(list(SessionSwitch))))


async def play(
    empty_valkey: str, hits: list[Hit], policy: AttributionPolicy, seed: int, crashes: list[int]
) -> House:
    """Everything arrives, in the order and with the accidents of ``seed``; returns when all is settled."""
    rng = random.Random(seed)
    redis = Redis.from_url(empty_valkey)
    await redis.flushdb()
    is_volatile = rng.random() < 0.5
    house = House(
        redis, policy, Faults(crashes), f"{VOLATILE_CLUSTER_PREFIX}1" if is_volatile else "durable", rng
    )
    arriving = hits + rng.sample(hits, k=rng.randint(0, len(hits)))
    rng.shuffle(arriving)
    number = 1
    for _ in range(MOST_TURNS):
        action = rng.random()
        try:
            if arriving and action < 0.4:
                size = rng.randint(1, 4)
                by_partition: dict[int, list[Hit]] = defaultdict(list)
                for hit in arriving[:size]:
                    by_partition[partition_of(hit.visitor_id, PARTITIONS)].append(hit)
                del arriving[:size]
                for envelope in by_partition.values():
                    house.append(HITS, envelope[0].visitor_id.encode(), encode_envelope(envelope))
            elif is_volatile and action < 0.43 and number < 4:
                number += 1
                for record in house.forget_broker(number):
                    house.append(HITS, record.key, record.value)
            elif action < 0.9:
                topic = rng.choice((HITS, CONVERSIONS))
                await house.turn(topic, rng.randrange(PARTITIONS), rng.randint(1, 3))
            else:
                house.stages.pop((rng.choice((HITS, CONVERSIONS)), rng.randrange(PARTITIONS)), None)
            if not arriving and await settled(house, rng):
                break
        except Crash:
            house.stages.clear()
    else:
        raise AssertionError(f"not settled after {MOST_TURNS} turns")
    house.tallies = {partition: await tallies(redis, partition) for partition in range(PARTITIONS)}
    await redis.aclose()
    return house


async def tallies(redis: Redis, partition: int) -> list[Tally]:
    """Every offset range of a partition, the one that still grows included."""
    ranges = await redis.lrange(tallies_key(partition), 0, -1)
    last = await redis.get(tally_key(partition))
    return [tally_of(packed) for packed in [*ranges, last] if packed is not None]


def assert_tallies_equal_rows(house: House) -> None:
    """What the self-audit compares: every event once, every range as ClickHouse holds it, none left out."""
    hits = house.writer.dicts("hits")
    assert sum(tally.hits for ranges in house.tallies.values() for tally in ranges) == len(hits)
    for partition, ranges in house.tallies.items():
        for tally in ranges:
            assert tally.events == tally.hits + tally.drops + tally.dead_letters
            assert (tally.skipped, tally.repeated) == (0, 0)
            for table in ("hits", "sessions", "touchpoints"):
                assert getattr(tally, table) == house.writer.count_rows(
                    table, tally.broker, partition, tally.first, tally.next - 1
                )
            drops = [
                row["count"]
                for row in house.writer.dicts("drops")
                if (row["src_broker"], row["src_partition"]) == (tally.broker, partition)
                and tally.first <= row["src_offset"] < tally.next
            ]
            assert tally.drops == sum(drops)


async def settled(house: House, rng: random.Random) -> bool:
    """True when every log is processed and no conversion waits."""
    for topic in (HITS, CONVERSIONS):
        for partition in range(PARTITIONS):
            if await house.turn(topic, partition, rng.randint(1, 3)):
                return False
    for partition in range(PARTITIONS):
        if await house.redis.hlen(dirty_key(partition)):
            house.stages.pop((HITS, partition), None)  # the next owner sends the triggers again
            return False
        if await house.redis.hlen(outbox_key(partition)):
            house.stages.pop((CONVERSIONS, partition), None)
            return False
    return True


@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(world=worlds(), seed=st.integers(0, 2**32), crashes=st.lists(st.integers(1, 160), max_size=6))
def test_the_stream_equals_the_oracle_whatever_happens(
    empty_valkey: str, world: tuple[list[Hit], AttributionPolicy], seed: int, crashes: list[int]
) -> None:
    """Any order, doubles, batch borders, crashes before and after each effect, a broker that loses its log."""
    hits, policy = world
    house = asyncio.run(play(empty_valkey, hits, policy, seed, crashes))
    note(f"{house.faults.raised} crashes at {house.faults.count} points")
    assert_equals_oracle(house.writer, oracle(hits, policy, "USD"))
    assert_tallies_equal_rows(house)


@pytest.mark.parametrize("crash_at", range(1, 61))
def test_a_crash_at_every_single_point_changes_nothing(empty_valkey: str, crash_at: int) -> None:
    """One fixed journey with a late touch after its purchase; the process dies once, at each point in turn."""
    hits = [
        Hit(event_id="1", site="s", visitor_id="v", occurred_at=T0, received_at=T0, url=URLS[1]),
        Hit(
            event_id="2",
            site="s",
            visitor_id="v",
            occurred_at=T0 + DAY_MS,
            received_at=T0 + DAY_MS,
            event="purchase",
            value="30.01",
            currency="USD",
            order_id="o",
        ),
        Hit(
            event_id="3",
            site="s",
            visitor_id="v",
            occurred_at=T0 + 3_600_000,
            received_at=T0 + 2 * DAY_MS,
            url=URLS[3],
        ),
    ]
    house = asyncio.run(play(empty_valkey, hits, AttributionPolicy(), crash_at, [crash_at, crash_at + 7]))
    assert_equals_oracle(house.writer, oracle(hits, AttributionPolicy(), "USD"))
    assert_tallies_equal_rows(house)


def batch_of(first: int, last: int) -> Batch:
    return Batch(HITS, 0, "b", [Record(offset, T0, b"", b"") for offset in range(first, last + 1)])


def test_an_old_owner_is_refused(empty_valkey: str) -> None:
    """A zombie that wakes up after a take-over can neither claim nor commit."""

    async def scenario() -> None:
        redis = Redis.from_url(empty_valkey)
        await redis.flushdb()
        fences = FenceStore(redis)
        range_ = batch_of(0, 4)
        old = await fences.acquire(HITS, 0)
        assert await old.claim(range_, "1", b"") == 1
        new = await fences.acquire(HITS, 0)
        assert new.found.pending is not None
        assert (new.found.pending.first, new.found.pending.last) == (0, 4)
        with pytest.raises(Fenced):
            await old.commit_stitch(range_, {b"t": b"old"}, {}, Counts())
        assert await new.claim(range_, "1", b"") == 2
        with pytest.raises(Fenced):
            await new.claim(batch_of(0, 3), "1", b"")
        await new.commit_stitch(range_, {b"t": b"new"}, {}, Counts())
        await new.commit_stitch(range_, {b"t": b"again"}, {}, Counts())
        assert await redis.get(b"t") == b"new"
        with pytest.raises(Fenced):
            await new.claim(batch_of(2, 7), "1", b"")
        await redis.aclose()

    asyncio.run(scenario())


def test_an_answered_trigger_is_forgotten_but_a_newer_one_is_kept(empty_valkey: str) -> None:
    """Credit deletes the wish it has fulfilled, never one that stitch has written since."""

    async def scenario() -> None:
        redis = Redis.from_url(empty_valkey)
        await redis.flushdb()
        fences = FenceStore(redis)
        await redis.hset(dirty_key(0), mapping={"answered": "1", "newer": "2"})
        await fences.forget(dirty_key(0), {b"answered": b"1", b"newer": b"1", b"unknown": b"1"})
        assert await redis.hgetall(dirty_key(0)) == {b"newer": b"2"}
        await redis.aclose()

    asyncio.run(scenario())
