"""Spend under crashes, sleeping owners and stores that are set back: rows sum up to what counts, under the labels of
the touches, in whatever order, repetition and batches figures and touches come."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis
from stream_crashes import Crash, CrashingJournals, CrashingWriter, Faults
from stream_house import MOST_TURNS, PARTITIONS, House
from stream_trouble import lose_broker, trouble

from attribution.policy import AttributionPolicy
from attribution.spend.fact import MICROS, Level, SpendFact
from attribution.spend.kept import decode_kept
from attribution.spend.labels import Touches, TouchLabel, by_network, labelled
from attribution.spend.merging import counted, newest
from attribution.spend.report import SpendReport, encode_reports
from sinks.tables import SPEND_COLUMNS, TOUCHPOINTS_COLUMNS
from streams.fence import Fenced
from streams.journal import JournalTaken
from streams.spend_batch import SpendDecision, spend_row
from streams.topics import SPEND, VOLATILE_CLUSTER_PREFIX, outbox_key, partition_of, spend_key

START = datetime(2026, 10, 1, tzinfo=UTC)
REPORTED = [level for level in Level if level is not Level.live]
SITE = "s"


@st.composite
def _facts(draw: st.DrawFn) -> SpendFact:
    """Of few things, days and instants, so that versions, levels and names meet."""
    level = draw(st.sampled_from(REPORTED))
    depth = REPORTED.index(level)
    campaign = draw(st.sampled_from("AB"))
    return SpendFact(
        day=date(2026, 10, draw(st.integers(1, 2))),
        ad_network=draw(st.sampled_from(["google_ads", "acme"])),
        level=level,
        account_id="1",
        campaign_id=campaign if depth else "",
        campaign=draw(st.sampled_from(["", "Autumn", "Winter"])) if depth else "",
        ad_group_id=campaign + draw(st.sampled_from("xy")) if depth > 1 else "",
        ad_id=campaign + draw(st.sampled_from("pq")) if depth > 2 else "",
        currency=draw(st.sampled_from(["USD", "EUR"])),
        cost=draw(st.integers(-3, 9)) * MICROS // 4,
        clicks=draw(st.integers(0, 5)),
        as_of=START + timedelta(hours=draw(st.integers(0, 3))),
        imported_at=START + timedelta(hours=draw(st.integers(4, 5))),
    )


_touches = st.builds(
    TouchLabel,
    st.just(SITE),
    st.sampled_from(["google_ads", "acme", ""]),
    st.sampled_from(["Paid Search", "Email"]),
    st.sampled_from(["google", "acme"]),
    st.sampled_from(["cpc", "paid"]),
    st.sampled_from(["A", "autumn", "AUTUMN ", "Winter", "other"]),
    st.just(1),
)


def _touch_row(touch: TouchLabel, number: int) -> tuple[Any, ...]:
    facts = {**touch._asdict(), "touchpoint_id": str(number), "sign": 1}
    return tuple(facts.get(name, "") for name in TOUCHPOINTS_COLUMNS)


def _send(house: House, facts: list[SpendFact]) -> None:
    by_key: defaultdict[str, list[SpendReport]] = defaultdict(list)
    for fact in facts:
        report = SpendReport(site=SITE, fact=fact, received_at=1_790_000_000_000)
        by_key[report.partition_key].append(report)
    for key, reports in by_key.items():
        house.append(SPEND, key.encode(), encode_reports(reports))


_NO_FIGURES = {"sign", "cause", "as_of", "imported_at", "recorded_at"}
_MULTIPLIED = {"impressions", "clicks", "views", "installs", "amount"}


def _standing(rows: Iterable[tuple[Any, ...]]) -> Counter[tuple[Any, ...]]:
    """Rows that nothing took back; when and why they were written is no figure."""
    sums: Counter[tuple[Any, ...]] = Counter()
    for row in rows:
        told = dict(zip(SPEND_COLUMNS, row, strict=True))
        figures = {
            name: Decimal(value) * told["sign"] if name in _MULTIPLIED else value
            for name, value in told.items()
            if name not in _NO_FIGURES
        }
        sums[tuple(figures.values())] += told["sign"]
    return Counter({row: count for row, count in sums.items() if count})


def _balance(rows: Iterable[tuple[Any, ...]]) -> dict[tuple[str, str, str], Decimal]:
    """What a plain sum says by network, currency and day, zeros left out."""
    sums: defaultdict[tuple[str, str, str], Decimal] = defaultdict(Decimal)
    for row in rows:
        told = dict(zip(SPEND_COLUMNS, row, strict=True))
        sums[told["ad_network"], told["currency"], told["day"]] += Decimal(told["amount"])
    return {place: amount for place, amount in sums.items() if amount}


async def _assert_books(house: House) -> None:
    """Rows, and those on their way, sum up to what counts of that which Redis knows, at every moment."""
    rows = list(house.writer.tables.get("spend", ()))
    for partition in range(PARTITIONS):
        for packed in (await house.redis.hgetall(outbox_key(partition, SPEND))).values():
            (decision,) = [msgspec.msgpack.decode(packed, type=SpendDecision)]
            told = [row for day in decision.days for row in day.rows]
            token = f"spend:{SPEND}:{partition}:{decision.batch_id}"
            if ("spend", token) not in house.writer._tokens:
                rows += told
    expected = [
        spend_row(SITE, fact, ("", "", "", ""), 1, "", 0)
        for facts in (await _kept(house)).values()
        for fact in counted(facts).values()
    ]
    assert _balance(rows) == _balance(expected)


async def _kept(house: House) -> dict[tuple[str, date], dict[str, SpendFact]]:
    """What Redis knows, by network and day."""
    found = {}
    for network in ("google_ads", "acme"):
        for number in (1, 2):
            day = date(2026, 10, number)
            partition = partition_of(f"{SITE}|{network}", PARTITIONS)
            values = await house.redis.hgetall(spend_key(partition, SITE, network, day))
            found[network, day] = {key.decode(): decode_kept(value).fact for key, value in values.items()}
    return found


async def _is_settled(house: House) -> bool:
    """Nothing waits in logs or outboxes, and looking at the touches once more changes nothing."""
    for partition in range(PARTITIONS):
        if await house.turn(SPEND, partition, 3):
            return False
        worker = house.workers[SPEND, partition]
        before = len(house.writer.tables.get("spend", ()))
        await worker.stage.idle()
        if len(house.writer.tables.get("spend", ())) != before:
            return False
        assert not await house.redis.hlen(outbox_key(partition, SPEND))
    return True


async def _play(
    valkey: str,
    arrivals: list[list[SpendFact]],
    touches: list[TouchLabel],
    seed: int,
    crashes: list[int],
    sets_back: float,
) -> House:
    rng = random.Random(seed)
    redis = Redis.from_url(valkey)
    await redis.flushdb()
    is_volatile = not sets_back and rng.random() < 0.5
    broker = f"{VOLATILE_CLUSTER_PREFIX}1" if is_volatile else "durable"
    house = House(redis, AttributionPolicy(), Faults(crashes), broker, rng)
    house.sets_back_meanwhile = sets_back / 4
    left = [list(batch) for batch in arrivals]
    left += [list(batch) for batch in rng.sample(arrivals, rng.randint(0, len(arrivals)))]
    rng.shuffle(left)
    number = 1
    for turn in range(MOST_TURNS):
        action, partition = rng.random(), rng.randrange(PARTITIONS)
        try:
            await trouble(house, turn, sets_back, SPEND, partition)
            if left and action < 0.3:
                _send(house, left.pop())
            elif touches and action < 0.4:
                house.writer.tables.setdefault("touchpoints", []).append(
                    _touch_row(touches.pop(), len(touches))
                )
            elif action < 0.6 and (SPEND, partition) in house.workers:
                await house.workers[SPEND, partition].stage.idle()
            elif is_volatile and action < 0.62 and number < 4:
                number += 1
                lose_broker(house, number)
            elif action < 0.9:
                await house.turn(SPEND, partition, rng.randint(1, 3))
            else:
                house.workers.pop((SPEND, partition), None)
            if not house.times_set_back:
                await _assert_books(house)
            if not left and not touches and await _is_settled(house):
                break
        except Crash:
            house.all_die()
        except (Fenced, JournalTaken):
            house.workers.clear()
    else:
        raise AssertionError("it never settles")
    await redis.aclose()
    return house


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    arrivals=st.lists(st.lists(_facts(), min_size=1, max_size=5), min_size=1, max_size=6),
    touches=st.lists(_touches, max_size=5),
    seed=st.integers(0, 2**32),
    crashes=st.lists(st.integers(1, 120), max_size=6),
    sets_back=st.sampled_from([0.0, 0.0, 0.05]),
)
def test_rows_sum_up_to_the_newest_figures_under_the_labels_of_their_touches(
    empty_valkey: str,
    arrivals: list[list[SpendFact]],
    touches: list[TouchLabel],
    seed: int,
    crashes: list[int],
    sets_back: float,
) -> None:
    """Whatever the order, repetition, batches and accidents."""
    house = asyncio.run(_play(empty_valkey, arrivals, list(touches), seed, crashes, sets_back))
    known = newest({}, (fact for batch in arrivals for fact in batch))
    expected: list[tuple[Any, ...]] = []
    by_site_and_network = by_network(touches)
    for network, day in {(fact.ad_network, fact.day) for fact in known.values()}:
        facts = {key: fact for key, fact in known.items() if (fact.ad_network, fact.day) == (network, day)}
        labels = labelled(facts, by_site_and_network.get((SITE, network), Touches()))
        expected += [spend_row(SITE, fact, labels[key], 1, "", 0) for key, fact in counted(facts).items()]
    assert _standing(house.writer.tables.get("spend", ())) == _standing(expected)


def _fact(cost: int, hour: int = 0, **given: Any) -> SpendFact:
    told = {"level": Level.campaign, "campaign_id": "A", "campaign": "Autumn"} | given
    read_at = START + timedelta(hours=hour)
    return SpendFact(
        day=date(2026, 10, 1),
        ad_network="google_ads",
        currency="EUR",
        cost=cost,
        as_of=read_at,
        imported_at=read_at,
        **told,
    )


PARTITION = partition_of(f"{SITE}|google_ads", PARTITIONS)
TOUCH = TouchLabel(SITE, "google_ads", "Cross-network", "google", "cpc", "autumn", 1)


def _house(redis: Redis, crashes: list[int]) -> House:
    return House(redis, AttributionPolicy(), Faults(crashes), "durable", random.Random(0))


def _labels(house: House) -> Counter[tuple[str, str]]:
    """Amounts that stand, by channel."""
    sums: Counter[tuple[str, str]] = Counter()
    for row in house.writer.dicts("spend"):
        sums[row["channel"], row["campaign_label"]] += Decimal(row["amount"])
    return Counter({place: amount for place, amount in sums.items() if amount})


async def test_killed_at_every_step_the_sums_are_right(empty_valkey: str) -> None:
    """A figure, a correction at another level, and a touch that comes late: with one crash at each call in turn."""
    died = 0
    for crash_at in range(1, 500):
        async with Redis.from_url(empty_valkey) as redis:
            await redis.flushdb()
            house = _house(redis, [crash_at])
            _send(house, [_fact(1_500_000), _fact(7, campaign_id="B", campaign="Winter")])
            _send(house, [_fact(2_000_000, 1, level=Level.ad_group, ad_group_id="Ax")])
            _send(house, [_fact(1_750_000, 2)])
            is_there = False
            while True:
                try:
                    while await house.turn(SPEND, PARTITION, 1):
                        pass
                    if not is_there:
                        house.writer.tables["touchpoints"] = [_touch_row(TOUCH, 1)]
                        is_there = True
                    before = len(house.writer.dicts("spend"))
                    await house.workers[SPEND, PARTITION].stage.idle()
                    if len(house.writer.dicts("spend")) == before:
                        break
                except Crash:
                    house.all_die()
            assert _labels(house) == {
                ("Cross-network", "autumn"): Decimal("1.75"),
                ("Paid Search", "Winter"): Decimal("0.000007"),
            }, crash_at
            assert set(_standing(house.writer.tables["spend"]).values()) == {1}
            if house.faults.raised == 0:
                break
            died += 1
    assert died > 20


async def test_labels_that_a_set_back_store_has_forgotten_are_not_given_twice(empty_valkey: str) -> None:
    """Such a decision moves no offset: the journal alone knows that it was made."""
    async with Redis.from_url(empty_valkey) as redis:
        house = _house(redis, [])
        _send(house, [_fact(1_500_000)])
        await house.turn(SPEND, PARTITION, 1)
        await house.copy()
        house.writer.tables["touchpoints"] = [_touch_row(TOUCH, 1)]
        owner = house.workers[SPEND, PARTITION].stage
        await owner.idle()
        labelled_rows = house.writer.dicts("spend")
        assert [row["cause"] for row in labelled_rows] == ["report", "match", "match"]
        await house.set_back(house.copies[-1])
        with pytest.raises(Fenced):
            await owner.idle()
        heir = (await house.take_over(SPEND, PARTITION)).stage
        await heir.idle()
        assert house.writer.dicts("spend") == labelled_rows
        _send(house, [_fact(2_000_000, 1)])
        await house.turn(SPEND, PARTITION, 1)
        assert _labels(house) == {("Cross-network", "autumn"): Decimal(2)}
        await house.take_over(SPEND, PARTITION)
        assert _labels(house) == {("Cross-network", "autumn"): Decimal(2)}


@pytest.mark.parametrize("keeps_journals", [True, False])
async def test_the_log_replayed_into_empty_stores_gives_the_same_sums(
    empty_valkey: str, keeps_journals: bool
) -> None:
    async with Redis.from_url(empty_valkey) as redis:
        house = _house(redis, [])
        random_ = random.Random(3)
        for hour in range(12):
            level = random_.choice([Level.campaign, Level.ad_group])
            group = "Ax" if level is Level.ad_group else ""
            _send(house, [_fact(random_.randrange(9) * MICROS, hour % 7, level=level, ad_group_id=group)])
            while await house.turn(SPEND, PARTITION, random_.randint(1, 3)):
                pass
            if hour == 5:
                house.writer.tables["touchpoints"] = [_touch_row(TOUCH, 1)]
            await house.workers[SPEND, PARTITION].stage.idle()
        before = _standing(house.writer.tables["spend"])
        assert len(house.writer.tables["spend"]) > 6
        house.all_die()
        await redis.flushdb()
        house.writer = CrashingWriter()
        house.writer.faults = house.faults
        house.writer.tables["touchpoints"] = [_touch_row(TOUCH, 1)]
        if not keeps_journals:
            house.journals = CrashingJournals(house)
        while await house.turn(SPEND, PARTITION, 4):
            pass
        await house.workers[SPEND, PARTITION].stage.idle()
        assert _standing(house.writer.tables["spend"]) == before
        assert set(before.values()) == {1}
