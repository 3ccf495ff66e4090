"""Paths before conversions against a real engine: a small example by hand, random ledgers against a plain recount."""

from __future__ import annotations

import datetime as dt
import random
from collections import Counter, defaultdict
from decimal import Decimal
from itertools import groupby
from typing import Any

import pytest
from api_store import Store, credit
from clickhouse_connect.driver.client import Client
from sinks_rows import DAY, HOUR, NOON

from api.path_report import PathsAnswer, PathsRequest
from attribution.errors import Rejected
from attribution.policy import AttributionPolicy
from sinks.migrate import load_migrations, split_statements
from sinks.tables import WRITTEN


@pytest.fixture
def store(clean: tuple[Client, str]) -> Store:
    return Store(*clean)


def ask(store: Store, **given: Any) -> PathsAnswer:
    return store.paths(PathsRequest(**given))


def entries(
    name: str, path: list[tuple[str, int]], value: str, sign: int = 1, **given: Any
) -> list[dict[str, Any]]:
    """The ledger rows of one conversion: (channel, hours before), value shared as it comes."""
    at = given.setdefault("converted_at", NOON)
    if not path:
        return [
            credit(
                "(unattributed)",
                str(sign * Decimal(value)),
                str(sign),
                conversion_id=name,
                touched_at=at,
                **given,
            )
        ]
    part = (Decimal(1) / len(path)).quantize(Decimal("1e-9"))
    weights = [1 - part * (len(path) - 1), *[part] * (len(path) - 1)]
    amounts = [Decimal(value), *[Decimal(0)] * (len(path) - 1)]
    return [
        credit(
            channel,
            str(sign * amount),
            str(sign * weight),
            conversion_id=name,
            touchpoint_id=f"{name} {hours}",
            touched_at=at - hours * HOUR,
            **given,
        )
        for (channel, hours), weight, amount in zip(path, weights, amounts, strict=True)
    ]


def path_row(
    name: str, path: list[tuple[str, int]], value: str, sign: int = 1, **given: Any
) -> dict[str, Any]:
    """The row of ``paths`` that the credit stage writes beside ``entries``."""
    at = given.setdefault("converted_at", NOON)
    given.pop("cause", None)
    return {
        **{"conversion_id": name, "value": value, "sign": sign, "currency": "USD"},
        **{"channels": [channel for channel, _ in path]},
        **{"first_touch_at": at - path[0][1] * HOUR if path else at},
        **{"last_touch_at": at - path[-1][1] * HOUR if path else at},
        **given,
    }


STANDING = ", ".join(name for name in WRITTEN["paths"] if name != "sign")


def read_paths(client: Client, database: str) -> list[Any]:
    """What table ``paths`` comes to, as of any instant."""
    query = f"SELECT {STANDING}, sum(sign) AS n FROM {database}.paths GROUP BY {STANDING} HAVING n != 0 ORDER BY ALL"
    return list(client.query(query).result_rows)


def from_ledger(client: Client, database: str, times: int = 1) -> list[Any]:
    """The same as a migration reads it from the ledger."""
    (migration,) = [found for found in load_migrations() if found.name == "0007_paths"]
    client.command(f"DROP TABLE {database}.paths")
    for statement in [*split_statements(migration.sql)] * times:
        client.command(statement.replace("{database}", database))
    return read_paths(client, database)


def test_a_small_example(store: Store) -> None:
    """Three ways: twice the same once repeats are collapsed, one of one touchpoint, one that nobody saw."""
    for name, path, value in (
        ("a", [("Display", 73), ("Email", 25), ("Email", 1)], "10"),
        ("b", [("Display", 30), ("Email", 2)], "5.50"),
        ("c", [("Email", 24)], "0"),
        ("d", [], "7"),
    ):
        store.put("paths", path_row(name, path, value))
        store.put("credits", *entries(name, path, value))
        store.put("credits", *(dict(row, model="last_touch") for row in entries(name, path[-1:], value)))
    answer = ask(store)
    assert [(line.channels, line.conversions, line.revenue) for line in answer.paths] == [
        (("Display", "Email"), 2, "15.50"),
        (("Email",), 1, "0.00"),
    ]
    assert answer.paths[0].share == Decimal("0.666667")
    totals = answer.totals
    assert (totals.conversions, totals.revenue) == (4, "22.50")
    assert (totals.unattributed_conversions, totals.unattributed_revenue) == (1, "7.00")
    assert [(line.touchpoints, line.conversions) for line in answer.lengths] == [(1, 1), (2, 1), (3, 1)]
    assert [(line.days, line.conversions) for line in answer.days_from_first] == [(1, 2), (3, 1)]
    assert [(line.days, line.conversions) for line in answer.days_from_last] == [(0, 2), (1, 1)]
    email, display = answer.channels
    assert (email.participation_conversions, email.last_conversions, email.assisted_conversions) == (3, 3, 0)
    assert (display.participation_conversions, display.last_conversions, display.assisted_conversions) == (
        2,
        0,
        2,
    )
    assert (display.participation_revenue, display.assisted_revenue) == ("15.50", "15.50")
    assert (email.assist_ratio, display.assist_ratio) == (0, None)
    assert not answer.meta.adds_up["participation"]
    spelt_out = ask(store, collapse=False).paths
    assert [line.channels for line in spelt_out] == [
        ("Display", "Email"),
        ("Display", "Email", "Email"),
        ("Email",),
    ]


@pytest.mark.parametrize("given", [{}, {"as_of": "2100-01-01"}])
def test_an_open_deal_is_no_revenue_unless_it_is_asked_for(store: Store, given: dict[str, str]) -> None:
    """A deal that is won is there once, as in every other answer; from the roll-up and from the rows."""
    way = [("Email", 24)]
    store.put("paths", path_row("opened", way, "500", conversion_type="opportunity"))
    store.put("paths", path_row("won", way, "450", conversion_type="deal_won"))
    answer = ask(store, **given)
    assert (answer.totals.conversions, answer.totals.revenue) == (2, "450.00")
    assert [(line.conversions, line.revenue) for line in answer.paths] == [(2, "450.00")]
    assert [line.participation_revenue for line in answer.channels] == ["450.00"]
    assert ask(store, conversion_type=["opportunity"], **given).totals.revenue == "500.00"
    assert ask(store, conversion_type=["opportunity", "deal_won"], **given).totals.revenue == "950.00"


def test_a_path_that_was_corrected_is_counted_as_it_stands(store: Store) -> None:
    """A late touchpoint, another value, another instant, and a conversion that is gone; as of before, as it was."""

    def tell(*args: Any, **given: Any) -> None:
        store.put("credits", *entries(*args, **given))
        store.put("paths", path_row(*args, **given))

    tell("a", [("Email", 1)], "10", recorded_at=NOON)
    later = {"recorded_at": NOON + HOUR, "cause": "late_touch"}
    tell("a", [("Email", 1)], "10", -1, **later)
    tell("a", [("Display", 2), ("Email", 1)], "10", **later)
    tell("b", [("Email", 1)], "4", recorded_at=NOON)
    moved = {"recorded_at": NOON + HOUR, "cause": "earlier_fact"}
    tell("b", [("Email", 1)], "4", -1, **moved)
    tell("b", [("Email", 1)], "3", converted_at=NOON - DAY, **moved)
    tell("c", [("Email", 1)], "1", recorded_at=NOON)
    tell("c", [("Email", 1)], "1", -1, **later)
    now = ask(store)
    assert [(line.channels, line.conversions, line.revenue) for line in now.paths] == [
        (("Display", "Email"), 1, "10.00"),
        (("Email",), 1, "3.00"),
    ]
    assert now.totals.conversions == 2
    then = ask(store, as_of="2026-10-02T12:30:00Z")
    assert [(line.channels, line.conversions, line.revenue) for line in then.paths] == [
        (("Email",), 3, "15.00")
    ]
    assert ask(store, **{"from": "2026-10-02"}).totals.conversions == 1


def test_random_ledgers_equal_a_plain_recount(store: Store, clean: tuple[Client, str]) -> None:
    """Conversions that are credited, corrected once or twice, moved or withdrawn; every filter; as of every step.

    And what a migration reads of it in the ledger is what the credit stage wrote, row for row.
    """
    rng = random.Random(4)
    history: list[tuple[int, str, dict[str, Any], list[tuple[str, int]], str]] = []
    standing: dict[str, tuple[dict[str, Any], list[tuple[str, int]], str]] = {}
    rows: list[dict[str, Any]] = []
    ways: list[dict[str, Any]] = []

    def path() -> list[tuple[str, int]]:
        hours = sorted(rng.sample(range(90), rng.choice([0, 1, 1, 2, 3, 6])), reverse=True)
        return [(rng.choice(["Email", "Direct", "Display"]), hour) for hour in hours]

    for step in range(5):
        at = NOON + step * HOUR
        for number in range(60):
            name = f"c{number}"
            if name in standing and rng.random() < 0.8:
                continue
            cause = "late_touch" if name in standing else "conversion"
            given = {"cause": cause, "recorded_at": at}
            if name in standing:
                facts, was, value = standing.pop(name)
                rows += entries(name, was, value, -1, **facts, **given)
                ways.append(path_row(name, was, value, -1, **facts, **given))
                if rng.random() < 0.2:
                    history.append((at, name, {}, [], ""))
                    continue
            facts = {
                "site": rng.choice(["s1", "s2"]),
                "conversion_type": rng.choice(["purchase", "lead"]),
                "currency": rng.choice(["USD", "EUR"]),
                "converted_at": NOON - rng.randint(0, 4 * DAY),
            }
            standing[name] = facts, path(), str(Decimal(rng.randint(0, 9999)) / 100)
            rows += entries(name, standing[name][1], standing[name][2], **facts, **given)
            ways.append(path_row(name, standing[name][1], standing[name][2], **facts, **given))
            history.append((at, name, *standing[name]))
        store.put("credits", *rows)
        store.put("paths", *ways)
        rows, ways = [], []
    for number in range(30):
        then = NOON + rng.randint(0, 4) * HOUR
        question: dict[str, Any] = {
            "currency": rng.choice(["USD", "EUR"]),
            "collapse": rng.random() < 0.5,
            "limit": 1000,
        }
        if number % 2:
            question["as_of"] = dt.datetime.fromtimestamp(then / 1000, dt.UTC).isoformat()
        if rng.random() < 0.4:
            question["conversion_type"] = ["lead"]
        if rng.random() < 0.4:
            question["site"] = ["s2", "nowhere"]
        if rng.random() < 0.4:
            question["channel"] = ["Email"]
        if rng.random() < 0.4:
            question |= {"from": "2026-09-30", "to": "2026-10-01"}
        known: dict[str, tuple[dict[str, Any], list[tuple[str, int]], str]] = {}
        for at, name, facts, way, value in history:
            if at <= then or not number % 2:
                known[name] = facts, way, value
        check(ask(store, **question), question, [one for one in known.values() if one[0]])
    written = read_paths(*clean)
    assert len(written) > 60
    assert from_ledger(*clean) == written
    assert from_ledger(*clean, times=2) == written


def check(
    answer: PathsAnswer,
    question: dict[str, Any],
    known: list[tuple[dict[str, Any], list[tuple[str, int]], str]],
) -> None:
    """``answer`` is what one conversion after the other comes to."""
    paths: Counter[tuple[str, ...]] = Counter()
    worth: dict[Any, Decimal] = defaultdict(Decimal)
    lengths: Counter[int] = Counter()
    first: Counter[int] = Counter()
    last: Counter[int] = Counter()
    has: Counter[str] = Counter()
    closes: Counter[str] = Counter()
    total = nobody = 0
    for facts, way, value in known:
        day = dt.datetime.fromtimestamp(facts["converted_at"] / 1000, dt.UTC).strftime("%Y-%m-%d")
        channels = [channel for channel, _ in way]
        if (
            facts["conversion_type"] not in question.get("conversion_type", [facts["conversion_type"]])
            or facts["site"] not in question.get("site", [facts["site"]])
            or not question.get("from", "") <= day <= question.get("to", "9")
            or ("channel" in question and not {*channels} & {*question["channel"]})
        ):
            continue
        amount = Decimal(value) if facts["currency"] == question["currency"] else Decimal(0)
        total += 1
        worth["total"] += amount
        if not way:
            nobody += 1
            continue
        shown = tuple(name for name, _ in groupby(channels)) if question["collapse"] else tuple(channels)
        paths[shown] += 1
        worth[shown] += amount
        lengths[len(way)] += 1
        first[way[0][1] // 24] += 1
        last[way[-1][1] // 24] += 1
        closes[channels[-1]] += 1
        for channel in {*channels}:
            has[channel] += 1
            worth["has", channel] += amount
    assert (answer.totals.conversions, answer.totals.unattributed_conversions) == (total, nobody)
    assert Decimal(answer.totals.revenue) == worth["total"]
    assert {line.channels: (line.conversions, Decimal(line.revenue)) for line in answer.paths} == {
        shown: (count, worth[shown]) for shown, count in paths.items()
    }
    assert {line.touchpoints: line.conversions for line in answer.lengths} == lengths
    assert {line.days: line.conversions for line in answer.days_from_first} == first
    assert {line.days: line.conversions for line in answer.days_from_last} == last
    assert {
        line.channel: (
            line.participation_conversions,
            Decimal(line.participation_revenue),
            line.last_conversions,
        )
        for line in answer.channels
    } == {channel: (count, worth["has", channel], closes[channel]) for channel, count in has.items()}


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"from": "tomorrow"}, "from"),
        ({"to": "2026-13-01"}, "to"),
        ({"from": "2026-02-02", "to": "2026-02-01"}, "from, to"),
        ({"currency": "XXZ"}, "currency"),
        ({"as_of": "now"}, "as_of"),
    ],
)
def test_what_makes_no_sense_is_refused_by_parameter(store: Store, given: dict[str, str], field: str) -> None:
    with pytest.raises(Rejected) as caught:
        ask(store, **given)
    assert caught.value.field == field


def test_paths_are_told_whatever_the_models_are(clean: tuple[Client, str]) -> None:
    store = Store(*clean, AttributionPolicy(models=("last_touch",)))
    store.put("paths", path_row("a", [("Display", 2), ("Email", 1)], "10"))
    assert ask(store).paths[0].channels == ("Display", "Email")


def test_many_conversions_in_the_ledger_are_read_in_order(clean: tuple[Client, str]) -> None:
    """More than one block of them: a second run of the migration still puts nothing in twice."""
    client, database = clean
    client.command(
        f"INSERT INTO {database}.credits (model, conversion_id, touchpoint_id, channel, weight, recorded_at)"
        " SELECT 'linear', toString(intDiv(number, 2)), toString(number % 2), 'Email', 0.5, 1 FROM numbers(300000)"
    )
    assert len(from_ledger(client, database, times=2)) == 150_000


def test_an_empty_store_has_no_paths(store: Store) -> None:
    answer = ask(store)
    assert answer.totals.conversions == 0
    assert answer.paths == answer.lengths == answer.channels == []
