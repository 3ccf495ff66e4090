"""What clicks cost, through both stages under crashes, sleeping owners and stores that are set back: in whatever order,
repetition and batches hits and reports come, spend is what a plain definition says."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from datetime import UTC, date, datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis
from stream_crashes import Crash, Faults
from stream_house import MOST_TURNS, PARTITIONS, House
from stream_trouble import lose_broker, trouble

from attribution.enrich import enrich
from attribution.hit import Hit, encode_envelope
from attribution.policy import AttributionPolicy
from attribution.spend.click_costs import ClickCostRules, LiveFigure, click_cost, live_fact
from attribution.spend.fact import MICROS, Level, SpendFact
from attribution.spend.labels import Touches, by_network, labelled
from attribution.spend.merging import counted, newest
from attribution.spend.report import SpendReport, encode_reports
from sinks.tables import SPEND_COLUMNS
from streams.fence import Fenced
from streams.journal import JournalTaken
from streams.spend_batch import spend_row
from streams.topics import HITS, SPEND, VOLATILE_CLUSTER_PREFIX, outbox_key, partition_of

START = datetime(2026, 10, 1, 23, tzinfo=UTC)
SITE = "s"
NO_FIGURES = frozenset(("sign", "cause", "as_of", "imported_at", "recorded_at"))
VISITORS = tuple(
    next(name for name in (f"v{number}" for number in range(99)) if partition_of(name, PARTITIONS) == one)
    for one in range(PARTITIONS)
)

_hits = st.builds(
    lambda visitor, hours, network, campaign, click, cost, agent: (
        visitor,
        hours,
        network,
        campaign,
        click,
        cost,
        agent,
    ),
    st.sampled_from(VISITORS),
    st.sampled_from([0, 1, 2, 24, 30 * 24, 31 * 24, 40 * 24]),
    st.sampled_from(["utm_source=acme&utm_medium=cpc", "gclid={click}"]),
    st.sampled_from(["", "&utm_campaign=A", "&utm_campaign=autumn&utm_id=B"]),
    st.sampled_from(["p", "q"]),
    st.sampled_from(["1.25", "0.000001", "0.5&hw_currency=EUR", "{cost}"]),
    st.sampled_from(["", "", "", "Googlebot/2.1"]),
)


def _hit(number: int, told: tuple[str, int, str, str, str, str, str]) -> Hit:
    visitor, hours, network, campaign, click, cost, agent = told
    at = round((START + timedelta(hours=hours, seconds=number % 3)).timestamp() * 1000)
    query = f"{network.format(click=click)}{campaign}&x={click}&hw_cost={cost}"
    return Hit(
        event_id=f"e{number}",
        site=SITE,
        visitor_id=visitor,
        occurred_at=at,
        received_at=at + number,
        url=f"https://shop.example/?{query}",
        user_agent=agent,
    )


@st.composite
def _reports(draw: st.DrawFn) -> SpendFact:
    """Of the campaigns and days that clicks name, by campaign, ad or account."""
    level = draw(st.sampled_from([Level.account, Level.campaign, Level.ad]))
    name = draw(st.sampled_from(["Autumn", "B", "Other"]))
    read_at = START + timedelta(hours=draw(st.integers(0, 3)))
    return SpendFact(
        day=date(2026, 10, draw(st.integers(1, 3))),
        ad_network=draw(st.sampled_from(["google_ads", "acme"])),
        level=level,
        account_id="1",
        campaign_id="" if level is Level.account else {"Autumn": "7"}.get(name, name),
        campaign="" if level is Level.account else name,
        ad_id="9" if level is Level.ad else "",
        currency="USD",
        cost=draw(st.integers(0, 9)) * MICROS,
        as_of=read_at,
        imported_at=read_at,
    )


def _expected(
    hits: list[Hit], reports: list[SpendFact], touches: dict[tuple[str, str], Touches]
) -> Counter[Any]:
    """The plain definition: look at every click alone."""
    of_click: defaultdict[tuple[str, str], list[tuple[Any, ...]]] = defaultdict(list)
    for hit in hits:
        cost = None if hit.user_agent else click_cost(hit, enrich(hit), ClickCostRules(), "USD")
        if cost is not None and not cost.reason:
            said = cost.currency, cost.micros, cost.campaign_id, cost.campaign
            of_click[cost.ad_network, cost.click].append(
                (hit.occurred_at, hit.event_id, hit.received_at, cost.day, *said)
            )
    sums: defaultdict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0, 0, 0])
    for (network, _), heard in of_click.items():
        for day in {one[3] for one in heard}:
            if any(timedelta(0) < day - other[3] <= timedelta(days=30) for other in heard):
                continue
            _, _, received_at, _, currency, micros, campaign_id, campaign = min(
                one for one in heard if one[3] == day
            )
            total = sums[network, day, campaign_id, campaign, currency]
            total[0] += micros
            total[1] += 1
            total[2] = max(total[2], received_at)
    known = newest({}, reports)
    for (network, day, campaign_id, campaign, currency), total in sums.items():
        fact = live_fact(network, day, LiveFigure(campaign_id, campaign, currency, *total))
        known[fact.key] = fact
    standing: Counter[Any] = Counter()
    for network, day in {(fact.ad_network, fact.day) for fact in known.values()}:
        facts = {key: one for key, one in known.items() if (one.ad_network, one.day) == (network, day)}
        labels = labelled(facts, touches.get((SITE, network), Touches()))
        for key, fact in counted(facts).items():
            standing[_figures(spend_row(SITE, fact, labels[key], 1, "", 0))] += 1
    return standing


def _figures(row: tuple[Any, ...]) -> tuple[Any, ...]:
    sign = row[SPEND_COLUMNS.index("sign")]
    return tuple(
        str(value).lstrip("-") if sign < 0 and name in ("amount", "clicks") else str(value)
        for name, value in zip(SPEND_COLUMNS, row, strict=True)
        if name not in NO_FIGURES
    )


async def _is_settled(house: House) -> bool:
    for topic in (HITS, SPEND):
        for partition in range(PARTITIONS):
            if await house.turn(topic, partition, 3):
                return False
    for partition in range(PARTITIONS):
        before = len(house.writer.tables.get("spend", ()))
        await house.workers[SPEND, partition].stage.idle()
        if len(house.writer.tables.get("spend", ())) != before:
            return False
        if await house.redis.hlen(outbox_key(partition, SPEND)):
            return False
    return True


async def _play(
    valkey: str, hits: list[Hit], reports: list[SpendFact], seed: int, crashes: list[int], back: float
) -> House:
    rng = random.Random(seed)
    redis = Redis.from_url(valkey)
    await redis.flushdb()
    is_volatile = not back and rng.random() < 0.5
    house = House(
        redis,
        AttributionPolicy(),
        Faults(crashes),
        f"{VOLATILE_CLUSTER_PREFIX}1" if is_volatile else "durable",
        rng,
    )
    arriving: list[Hit | SpendFact] = [*hits, *reports, *rng.sample(hits, rng.randint(0, len(hits)))]
    rng.shuffle(arriving)
    forgotten = 1
    for turn in range(MOST_TURNS):
        action, topic, partition = rng.random(), rng.choice((HITS, SPEND)), rng.randrange(PARTITIONS)
        try:
            await trouble(house, turn, back, topic, partition)
            if arriving and action < 0.4:
                one = arriving.pop()
                if isinstance(one, Hit):
                    house.append(HITS, one.visitor_id.encode(), encode_envelope([one]))
                else:
                    report = SpendReport(site=SITE, fact=one, received_at=1_790_000_000_000)
                    house.append(SPEND, report.partition_key.encode(), encode_reports([report]))
            elif action < 0.5 and (SPEND, partition) in house.workers:
                await house.workers[SPEND, partition].stage.idle()
            elif is_volatile and action < 0.52 and forgotten < 4:
                forgotten += 1
                lose_broker(house, forgotten)
            elif action < 0.9:
                await house.turn(topic, partition, rng.randint(1, 3))
            else:
                house.workers.pop((topic, partition), None)
            if not arriving and await _is_settled(house):
                break
        except Crash:
            house.all_die()
        except (Fenced, JournalTaken):
            house.workers.clear()
    else:
        raise AssertionError("it never settles")
    await redis.aclose()
    return house


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    told=st.lists(_hits, min_size=1, max_size=10),
    reports=st.lists(_reports(), max_size=4),
    seed=st.integers(0, 2**32),
    crashes=st.lists(st.integers(1, 150), max_size=5),
    back=st.sampled_from([0.0, 0.0, 0.05]),
)
def test_spend_is_what_each_click_said_once_until_a_report_tells(
    empty_valkey: str,
    told: list[tuple[str, int, str, str, str, str, str]],
    reports: list[SpendFact],
    seed: int,
    crashes: list[int],
    back: float,
) -> None:
    """Reloads, copies, clicks that come again weeks later, robots, unfilled macros, reports of any level."""
    hits = [_hit(number, one) for number, one in enumerate(told)]
    house = asyncio.run(_play(empty_valkey, hits, reports, seed, crashes, back))
    standing: Counter[Any] = Counter()
    for row in house.writer.tables.get("spend", ()):
        standing[_figures(row)] += row[SPEND_COLUMNS.index("sign")]
    touches = by_network(house.writer.touch_labels())
    assert Counter({key: n for key, n in standing.items() if n}) == _expected(hits, reports, touches)
    # Every cost that was heard ended in one place, robots' too.
    reasons = {row["event_id"]: row["reason"] for row in house.writer.dicts("click_costs")}
    assert reasons.keys() == {hit.event_id for hit in hits}
    assert {e for e, reason in reasons.items() if reason == "bot"} == {
        h.event_id for h in hits if h.user_agent
    }
