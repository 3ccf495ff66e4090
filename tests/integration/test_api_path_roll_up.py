"""The roll-up of paths against the rows of ``paths``: every question has the same answer from both."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from api_store import Store
from clickhouse_connect.driver.client import Client
from sinks_rows import DAY, NOON

from api import path_report, path_roll_up
from api.path_report import PathsAnswer, PathsRequest, paths_answer, plan_paths
from sinks.migrate import load_migrations, split_statements

CHANNELS = ("Email", "Direct", "Display", "Paid Search", "Ünï")
MIDNIGHT = NOON - DAY // 2
RANGES: tuple[dict[str, str], ...] = (
    {},
    {"from": "2026-10-02"},
    {"to": "2026-10-01"},
    {"from": "2026-09-30", "to": "2026-10-01"},
    {"from": "2026-10-02", "to": "2026-10-02"},
    {"from": "1970-01-01", "to": "2105-12-31"},
)


class Shop:
    """Conversions whose paths change: each change takes back the row that stood."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self.standing: dict[str, dict[str, Any]] = {}

    def changes(self, conversions: int) -> list[dict[str, Any]]:
        """Signed rows of ``paths``."""
        rows = []
        for number in self._rng.sample(range(conversions), conversions * 2 // 3):
            name = f"c{number}"
            was = self.standing.pop(name, None)
            if was is not None:
                rows.append({**was, "sign": -1})
                if self._rng.random() < 0.2:
                    continue
            self.standing[name] = self._row(name, was)
            rows.append(self.standing[name])
        return rows

    def all_taken_back(self) -> list[dict[str, Any]]:
        """The rows after which nothing stands."""
        rows = [{**row, "sign": -1} for row in self.standing.values()]
        self.standing.clear()
        return rows

    def _row(self, name: str, was: dict[str, Any] | None) -> dict[str, Any]:
        rng = self._rng
        if was is not None and rng.random() < 0.4:
            # The value alone changed.
            return {**was, "value": str(Decimal(rng.randint(0, 99_999)) / 100)}
        many = rng.choice([0, 1, 1, 1, 2, 2, 3, 4, 120])
        at = rng.choice(
            # To the millisecond on both sides of midnight; days that a plain Date does not know.
            [*(MIDNIGHT - day * DAY - rng.randint(0, 1) for day in range(4)), NOON, -DAY - 1, 180 * 365 * DAY]
        )
        first = at - rng.choice([0, 1, DAY - 1, DAY, 3 * DAY, 500 * DAY])
        return {
            "conversion_id": name,
            "site": rng.choice(["s1", "s2"]),
            "conversion_type": rng.choice(["purchase", "lead"]),
            "currency": rng.choice(["USD", "EUR"]),
            "value": str(Decimal(rng.randint(0, 99_999)) / 100),
            "channels": [rng.choice(CHANNELS) for _ in range(many)],
            "converted_at": at,
            "first_touch_at": first,
            "last_touch_at": at if rng.random() < 0.5 else first,
        }


@pytest.fixture
def store(clean: tuple[Client, str]) -> Store:
    return Store(*clean)


def from_rows(client: Client, database: str, request: PathsRequest) -> PathsAnswer:
    """The answer that no roll-up is read for."""

    def ask(sql: str, parameters: Mapping[str, Any], settings: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        rows: Sequence[Sequence[Any]] = client.query(sql, dict(parameters), dict(settings)).result_rows
        return rows

    plan = plan_paths(request, database, "USD")._replace(roll_up=None)
    return paths_answer(plan, request, plan.read(request.limit, ask), 0.0)


def told(answer: PathsAnswer) -> Any:
    """Everything that it says, orders included."""
    said = msgspec.to_builtins(answer)
    del said["meta"]["elapsed_ms"]
    return said


def compare(store: Store, place: tuple[Client, str], seed: int) -> int:
    """Ask both ways under every combination of filters; how many paths were listed."""
    rng = random.Random(seed)
    listed = 0
    choices = itertools.product(
        RANGES, ({}, {"site": ["s2", "nowhere"]}), ({}, {"conversion_type": ["lead"]}), (True, False)
    )
    for days, sites, types, collapse in choices:
        request = PathsRequest(
            **days,
            **sites,
            **types,
            collapse=collapse,
            currency=rng.choice(["USD", "EUR", "JPY"]),
            limit=rng.choice([1, 2, 5, 20, 1000]),
        )
        assert plan_paths(request, "any", "USD").roll_up is not None
        answer = store.paths(request)
        assert told(answer) == told(from_rows(*place, request)), request
        listed += len(answer.paths)
    return listed


@pytest.mark.parametrize(
    ("seed", "likely", "most"),
    [(1, 512, 1000), (2, 3, 1000), (3, 24, 1000), (4, 3, 7)],
    ids=["all buckets", "few buckets", "some buckets", "ties at the end"],
)
def test_the_roll_up_answers_what_the_rows_do(
    store: Store,
    clean: tuple[Client, str],
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
    likely: int,
    most: int,
) -> None:
    """Paths are credited, changed and withdrawn in several inserts; before the roll-up is merged, and after."""
    monkeypatch.setattr(path_roll_up, "LIKELY_BUCKETS", likely)
    monkeypatch.setattr(path_roll_up, "MAX_PATHS", most)
    monkeypatch.setattr(path_report, "MAX_PATHS", most)
    client, database = clean
    shop = Shop(seed)
    for _ in range(3):
        store.put("paths", *shop.changes(400))
    assert compare(store, clean, seed) > 100
    client.command(f"OPTIMIZE TABLE {database}.path_metrics FINAL")
    compare(store, clean, seed + 100)
    store.put("paths", *shop.all_taken_back())
    answer = store.paths(PathsRequest())
    assert told(answer) == told(from_rows(*clean, PathsRequest()))
    assert answer.totals.conversions == 0
    assert answer.paths == answer.lengths == answer.channels == answer.days_from_first == []
    client.command(f"OPTIMIZE TABLE {database}.path_metrics FINAL")
    assert client.query(f"SELECT count() FROM {database}.path_metrics").result_rows == [(0,)]


def test_more_paths_than_the_first_of_a_full_list_do_not_add_up(store: Store) -> None:
    """1,001 paths, 1,000 of them listed; by the roll-up and by the rows."""
    rows = [{"conversion_id": f"c{n}", "value": "1", "channels": [f"ch{n}"]} for n in range(1001)]
    store.put("paths", *rows)
    for given in ({}, {"as_of": "2100-01-01"}):
        answer = store.paths(PathsRequest(limit=1000, **given))
        assert len(answer.paths) == 1000
        assert not answer.meta.adds_up["paths"]


@pytest.mark.parametrize("given", [{"as_of": "2100-01-01"}, {"channel": ["Email"]}])
def test_what_the_roll_up_cannot_tell_is_read_from_the_rows(
    store: Store, clean: tuple[Client, str], given: dict[str, Any]
) -> None:
    store.put("paths", *Shop(5).changes(60))
    whole = told(store.paths(PathsRequest()))
    client, database = clean
    client.command(f"TRUNCATE TABLE {database}.path_metrics")
    assert store.paths(PathsRequest()).totals.conversions == 0
    answer = told(store.paths(PathsRequest(**given)))
    assert answer["totals"]["conversions"] > 0
    if "as_of" in given:
        assert {**answer, "meta": 0} == {**whole, "meta": 0}


def test_a_repeated_insert_counts_once_in_the_roll_up(store: Store, clean: tuple[Client, str]) -> None:
    rows = Shop(6).changes(60)
    for _ in range(2):
        store.put("paths", *rows, token="again")
    assert store.paths(PathsRequest()).totals.conversions == 40
    compare(store, clean, 6)


def test_the_migration_takes_in_what_is_there_and_nothing_twice(
    store: Store, clean: tuple[Client, str]
) -> None:
    """Rows from before it, a run that was cut short after the view was made, rows that came meanwhile, more runs."""
    client, database = clean
    (migration,) = [found for found in load_migrations() if found.name == "0010_path_metrics"]
    statements = [text.replace("{database}", database) for text in split_statements(migration.sql)]
    for name in ("paths_to_path_metrics", "path_metrics"):
        client.command(f"DROP TABLE {database}.{name}")
    shop = Shop(7)
    store.put("paths", *shop.changes(200))
    for statement in statements[:-1]:
        client.command(statement)
    store.put("paths", *shop.changes(200))
    for _ in range(3):
        for statement in statements:
            client.command(statement)
        compare(store, clean, 7)
    store.put("paths", *shop.changes(200))
    compare(store, clean, 8)
