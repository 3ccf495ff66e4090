"""Answers against a real engine: numbers computed by hand, and random questions against a slow, plain recount."""

from __future__ import annotations

import datetime as dt
import json
import random
from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from sinks_rows import DAY, HOUR, NOON, migrated_database, row

from api.answers import QueryAnswer
from api.requests import parse_query
from api.service import QueryService
from attribution.policy import AttributionPolicy
from sinks.tables import TABLES, WRITTEN
from sinks.writer import RowWriter

POLICY = AttributionPolicy()
NASTY = [
    "' OR 1=1 --",
    "'; DROP TABLE hits; --",
    "\\'; SELECT 1",
    "{database:String}",
    "${database}",
    "f0",
    "%' OR '%'='",
    "\u0000",
    "`channel`",
    "'] OR [1] = ['1",
    "\\",
    "\n--\n",
    "日本",
]


class Store:
    """The tables of one database, filled by hand."""

    def __init__(self, client: Client, database: str) -> None:
        self._client, self._database = client, database
        self._writer = RowWriter(client, database)
        self._service = QueryService(client, database, POLICY)

    def put(self, table: str, *rows: dict[str, Any], token: str = "") -> None:
        """Insert rows; a repeated token is a repeated insert."""
        tuples = [row(table, **given) for given in rows]
        self._writer.insert(table, WRITTEN[table], tuples, token or f"{random.random()}")

    def merge(self) -> None:
        """Let the roll-up forget which rows cancelled each other."""
        self._client.command(f"OPTIMIZE TABLE {self._database}.channel_metrics FINAL")

    def clear(self) -> None:
        for table in TABLES:
            self._client.command(f"TRUNCATE TABLE {self._database}.{table}")

    def ask(self, metrics: str, by: str = "", **given: Any) -> QueryAnswer:
        body = {"metrics": metrics.split(), "dimensions": by.split(), **given}
        return self._service.query(parse_query(json.dumps(body).encode()))

    def rows(self, metrics: str, by: str = "", **given: Any) -> list[list[Any]]:
        return self.ask(metrics, by, **given).rows


@pytest.fixture(scope="module")
def module_store(engine: str) -> Iterator[Store]:
    with migrated_database(engine) as (client, database):
        yield Store(client, database)


@pytest.fixture
def store(module_store: Store) -> Store:
    module_store.clear()
    return module_store


def session(session_id: str, **given: Any) -> dict[str, Any]:
    return {
        "session_id": session_id,
        "visitor_id": f"visitor of {session_id}",
        "started_at": NOON,
        "ended_at": NOON,
        **given,
    }


def credit(channel: str, amount: str, weight: str = "1", **given: Any) -> dict[str, Any]:
    return {
        "model": "linear",
        "channel": channel,
        "amount": amount,
        "weight": weight,
        "currency": "USD",
        **given,
    }


def test_both_sides_stay_where_the_other_is_missing(store: Store) -> None:
    """Sessions without revenue, revenue without sessions, and the unattributed share: totals equal all revenue."""
    store.put("sessions", session("1", channel="Email"), session("2", channel="Direct"))
    store.put(
        "credits",
        credit("Email", "7.50", "0.5"),
        credit("Affiliates", "2.50", "0.5"),
        credit("(unattributed)", "3"),
    )
    assert store.rows("sessions conversions revenue cr aov", "channel", order_by=[["channel", "asc"]]) == [
        ["(unattributed)", 0, 1, "3.00", None, "3.00"],
        ["Affiliates", 0, Decimal("0.5"), "2.50", None, "5.00"],
        ["Direct", 1, 0, "0.00", 0, None],
        ["Email", 1, Decimal("0.5"), "7.50", Decimal("0.5"), "15.00"],
    ]
    assert store.rows("revenue sessions") == [["13.00", 2]]


def test_a_side_that_is_not_asked_for_adds_no_rows(store: Store) -> None:
    store.put("sessions", session("1", channel="Email"))
    store.put("credits", credit("Affiliates", "1"))
    assert store.rows("sessions", "channel") == [["Email", 1]]
    assert store.rows("revenue", "channel") == [["Affiliates", "1.00"]]


def test_ratios_divide_sums_and_never_average_ratios(store: Store) -> None:
    """One session with 1 conversion and nine with none: 1 / 10, not the mean of 1 and 0."""
    store.put("sessions", *(session(str(n), campaign="a" if n else "b") for n in range(10)))
    store.put("credits", credit("Direct", "10", campaign="b"))
    assert store.rows("cr") == [[Decimal("0.1")]]
    assert store.rows("cr", "campaign", order_by=[["cr", "desc"]]) == [["b", 1], ["a", 0]]


def test_other_currencies_are_listed_and_never_added(store: Store) -> None:
    store.put(
        "credits",
        credit("Email", "10"),
        credit("Email", "5", currency="EUR"),
        credit("Email", "300", currency="JPY"),
    )
    answer = store.ask("revenue conversions aov", "channel")
    assert answer.rows == [["Email", "10.00", 3, "10.00"]]
    others = [
        (other.currency, other.revenue, other.conversions) for other in answer.meta.coverage.other_currencies
    ]
    assert others == [("EUR", "5.00", 1), ("JPY", "300", 1)]
    assert store.rows("revenue aov", currency="jpy") == [["300", "300"]]
    assert store.ask("revenue", currency="CHF").meta.coverage.revenue == "0.00"


def test_coverage_is_all_revenue_of_the_dates_whatever_the_rows_show(store: Store) -> None:
    """Filters on the touchpoint and limits narrow the rows only; site, type and dates narrow both."""
    store.put(
        "credits", credit("Email", "8"), credit("Direct", "1", site="other"), credit("(unattributed)", "1")
    )
    store.put("credits", credit("Email", "100", converted_at=NOON + DAY))
    asked = {"date_range": ["2026-10-02", "2026-10-02"]}
    answer = store.ask("revenue", "channel", filters=[["channel", "is", ["Email"]]], **asked)
    coverage = answer.meta.coverage
    assert answer.rows == [["Email", "8.00"]]
    assert (coverage.revenue, coverage.attributed_revenue, coverage.unattributed_revenue) == (
        "10.00",
        "9.00",
        "1.00",
    )
    assert (coverage.conversions, coverage.attributed_share) == (3, Decimal("0.9"))
    assert store.ask("revenue", filters=[["site", "is", ["other"]]], **asked).meta.coverage.revenue == "1.00"
    assert store.ask("revenue", "channel", limit=1, **asked).meta.coverage.revenue == "10.00"


def test_basis_decides_the_day_of_credit(store: Store) -> None:
    store.put("credits", credit("Email", "5", touched_at=NOON - 3 * DAY, converted_at=NOON))
    assert store.rows("revenue", "day", basis="conversion") == [["2026-10-02", "5.00"]]
    assert store.rows("revenue", "day", basis="touch") == [["2026-09-29", "5.00"]]
    last_days = {"date_range": ["2026-10-01", None]}
    for by in ("channel", "landing_page"):
        assert store.rows("revenue", by, basis="touch", **last_days) == []


def test_days_are_utc_and_both_ends_are_included(store: Store) -> None:
    """The last millisecond of the first day and the first of the next."""
    midnight = NOON + 12 * HOUR
    for name, instant in (("before", midnight - 1), ("after", midnight)):
        hour = instant // HOUR * HOUR // 1000
        store.put("sessions", session(name, channel=name, started_at=instant, ended_at=instant, hours=[hour]))
        store.put("credits", credit(name, "1", converted_at=instant))
        store.put("hits", {"in_session": 0, "channel": name, "occurred_at": instant, "event_id": name})
    for metrics in ("hits sessions revenue", "hits sessions visitors revenue"):
        more = [1] if "visitors" in metrics else []
        first = store.rows(metrics, "channel day", date_range=["2026-10-02", "2026-10-02"])
        assert first == [["before", "2026-10-02", 2, 1, *more, "1.00"]]
        second = store.rows(metrics, "channel day", date_range=["2026-10-03", "2026-10-03"])
        assert second == [["after", "2026-10-03", 2, 1, *more, "1.00"]]


def test_hours_weeks_and_months_have_readable_names(store: Store) -> None:
    store.put("sessions", session("1"))
    assert store.rows("sessions", "hour day week month") == [
        ["2026-10-02T12:00:00Z", "2026-10-02", "2026-09-28", "2026-10", 1]
    ]
    assert store.rows("sessions", filters=[["week", "is", ["2026-09-28"]]]) == [[1]]
    assert store.rows("sessions", filters=[["hour", "is_not", ["2026-10-02T12:00:00Z"]]]) == [[0]]


def test_a_session_over_midnight_counts_its_hits_in_their_own_hours(store: Store) -> None:
    """The session where it began, its visitor on both days, each once in the total."""
    start = NOON + 11 * HOUR
    hours = [start // 1000, start // 1000 + 3600]
    given = {
        "hours": hours,
        "hour_hits": [3, 2],
        "hour_page_views": [3, 1],
        "started_at": start,
        "ended_at": start + HOUR,
    }
    store.put("sessions", session("1", **given))
    assert store.rows("hits page_views sessions visitors", "day") == [
        ["2026-10-02", 3, 3, 1, 1],
        ["2026-10-03", 2, 1, 0, 1],
    ]
    assert store.rows("hits visitors") == [[5, 1]]


def test_visitors_are_counted_once_and_only_for_sessions_that_stand(store: Store) -> None:
    """Two sessions of one visitor; one taken back; the same id on another site is somebody else."""
    mine = {"visitor_id": "v"}
    gone = session("2", channel="Email", **mine)
    store.put("sessions", session("1", **mine), gone, session("3", site="other", **mine))
    assert store.rows("visitors") == [[2]]
    assert store.rows("visitors", "channel") == [["Direct", 2], ["Email", 1]]
    store.put("sessions", {**gone, "sign": -1}, {**gone, "channel": "Display"})
    assert store.rows("visitors", "channel") == [["Direct", 2], ["Display", 1]]
    store.put("hits", {"in_session": 0, "event": "impression", "visitor_id": "only saw an advertisement"})
    assert store.rows("hits visitors impressions") == [[4, 2, 1]]


def test_what_was_taken_back_leaves_no_row_before_or_after_a_merge(store: Store) -> None:
    given = session("1", channel="Email")
    store.put("sessions", given)
    store.put("credits", credit("Email", "5"))
    store.put("sessions", {**given, "sign": -1}, {**given, "channel": "Display"})
    store.put("credits", credit("Email", "-5", "-1"), credit("Display", "5"))
    for _ in range(2):
        assert store.rows("hits sessions revenue conversions", "channel") == [["Display", 1, 1, "5.00", 1]]
        assert store.rows("hits sessions visitors revenue", "channel") == [["Display", 1, 1, 1, "5.00"]]
        store.merge()


def test_repeated_inserts_change_no_answer(store: Store) -> None:
    for _ in range(3):
        store.put("sessions", session("1"), token="s")
        store.put("credits", credit("Direct", "9.99"), token="c")
        store.put("hits", {"in_session": 0}, token="h")
    assert store.rows("hits sessions visitors conversions revenue") == [[2, 1, 1, 1, "9.99"]]


def test_a_conversion_type_is_a_property_of_credit_only(store: Store) -> None:
    """A filter on it leaves the sessions alone; each type's rate divides by all sessions of the channel."""
    store.put("sessions", *(session(str(n)) for n in range(4)))
    store.put(
        "credits",
        credit("Direct", "10"),
        credit("Direct", "0", conversion_type="lead"),
        credit("Direct", "0", conversion_type="lead"),
    )
    assert store.rows("sessions conversions cr", filters=[["conversion_type", "is", ["lead"]]]) == [
        [4, 2, Decimal("0.5")]
    ]
    assert store.rows("cr", "channel conversion_type") == [
        ["Direct", "lead", Decimal("0.5")],
        ["Direct", "purchase", Decimal("0.25")],
    ]
    assert store.rows("sessions cr", "conversion_type", order_by=[["conversion_type", "asc"]]) == [
        ["", 4, 0],
        ["lead", 0, Decimal("0.5")],
        ["purchase", 0, Decimal("0.25")],
    ]


def test_models_are_kept_apart(store: Store) -> None:
    store.put("credits", credit("Email", "1"), credit("Direct", "1", model="last_touch"))
    assert store.rows("revenue", "channel", model="last_touch") == [["Direct", "1.00"]]
    assert store.rows("revenue", "channel", model="first_touch") == []


def test_pages_neither_overlap_nor_miss_a_row(store: Store) -> None:
    store.put("sessions", *(session(str(n), campaign=f"c{n:02}") for n in range(25)))
    seen: list[str] = []
    offset: int | None = 0
    while offset is not None:
        answer = store.ask("sessions", "campaign", limit=10, offset=offset)
        seen += [str(cells[0]) for cells in answer.rows]
        offset = answer.meta.next_offset
    assert seen == [f"c{n:02}" for n in range(25)]
    assert store.ask("sessions", "campaign", limit=25).meta.next_offset is None
    assert store.rows("sessions", "campaign", offset=25) == []


def test_nulls_come_last_whichever_way_is_sorted(store: Store) -> None:
    store.put("sessions", session("1", channel="Email"), session("2", channel="Direct"))
    store.put("credits", credit("Email", "1"), credit("Organic Search", "1"))
    for way, first in (("asc", "Direct"), ("desc", "Email")):
        rows = store.rows("cr", "channel", order_by=[["cr", way]])
        assert rows[0][0] == first
        assert rows[-1] == ["Organic Search", None]


def test_an_empty_store_answers_zero_or_nothing(store: Store) -> None:
    assert store.rows("hits visitors conversions revenue cr aov") == [[0, 0, 0, "0.00", None, None]]
    assert store.rows("hits", "channel") == []
    assert store.ask("hits").meta.coverage.attributed_share is None


@pytest.mark.parametrize("by", ["channel", "landing_page"])
def test_hostile_values_are_only_values(store: Store, by: str) -> None:
    """As stored names, and as filters in every operator."""
    store.put(
        "sessions", *(session(str(number), **{by: value}) for number, value in enumerate([*NASTY, "plain"]))
    )
    for value in NASTY:
        assert store.rows("sessions", by, filters=[[by, "is", [value]]]) == [[value, 1]]
        others = store.rows("sessions", by, filters=[[by, "is_not", [value]]])
        assert sorted(str(cells[0]) for cells in others) == sorted({*NASTY, "plain"} - {value})
        if value != "\u0000":
            found = {
                str(cells[0]) for cells in store.rows("sessions", by, filters=[[by, "contains", [value]]])
            }
            assert found == {name for name in NASTY if value in name}


@pytest.mark.parametrize("name", ["source", "site", "conversion_type", "hour", "day", "week", "month"])
def test_hostile_values_do_no_harm_in_any_dimension(store: Store, name: str) -> None:
    """A filter on the conversion type leaves traffic alone; every other one finds nothing."""
    store.put("sessions", session("1"))
    found = store.rows("sessions", filters=[[name, "is", NASTY], [name, "contains", ["'"]]])
    assert found == [[1 if name == "conversion_type" else 0]]


def test_contains_ignores_case_and_takes_wildcards_as_text(store: Store) -> None:
    store.put("sessions", session("1", campaign="Straße 100%"), session("2", campaign="100 STRASSEN"))
    assert store.rows("sessions", "campaign", filters=[["campaign", "contains", ["straße", "nothing"]]]) == [
        ["Straße 100%", 1]
    ]
    assert store.rows("sessions", "campaign", filters=[["campaign", "contains", ["100%"]]]) == [
        ["Straße 100%", 1]
    ]


class World:
    """Random facts, kept twice: in the store, and as plain lists for a recount."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.sessions: list[dict[str, Any]] = []
        """Those that stand."""
        self.hits: list[dict[str, Any]] = []
        """Those outside sessions."""
        self.credits: list[dict[str, Any]] = []

    def fill(self, store: Store) -> None:
        """Sessions of which some moved or vanished, hits outside sessions, credit in two models and currencies."""
        rows = [version for n in range(120) for version in self._session(n)]
        # In two inserts, so that a session and its withdrawal are often in different parts.
        store.put("sessions", *rows[::2])
        store.put("sessions", *rows[1::2])
        self.hits = [
            {**self._place(), "in_session": 0, "occurred_at": self._instant(), "event": event}
            for event in ("impression", "email_open", "page_view")
            for _ in range(20)
        ]
        store.put("hits", *self.hits, *({**self._place(), "in_session": 1} for _ in range(20)))
        self.credits = [self._credit() for _ in range(150)]
        store.put("credits", *self.credits)

    def _instant(self) -> int:
        return NOON + self.random.randint(0, 5 * DAY)

    def _place(self) -> dict[str, Any]:
        pick = self.random.choice
        return {
            "site": pick(["s1", "s2"]),
            "channel": pick(["Email", "Direct", "Display"]),
            "source": pick(["a", "b"]),
            "medium": pick(["m", "n"]),
            "campaign": pick(["", "x", "X y"]),
        }

    def _session(self, number: int) -> list[dict[str, Any]]:
        start = self._instant()
        hits = [self.random.randint(1, 3) for _ in range(self.random.randint(1, 3))]
        first = {
            **session(f"s{number}", started_at=start, ended_at=start + HOUR * (len(hits) - 1)),
            **self._place(),
            "visitor_id": f"v{self.random.randint(0, 40)}",
            "landing_page": self.random.choice(["/", "/p"]),
            "hours": [start // HOUR * 3600 + 3600 * k for k in range(len(hits))],
            "hour_hits": hits,
            "hour_page_views": [self.random.randint(0, count) for count in hits],
        }
        fate = self.random.randint(0, 5)
        if fate == 0:
            return [first, {**first, "sign": -1}]
        if fate == 1:
            moved = {**first, **self._place()}
            self.sessions.append(moved)
            return [first, {**first, "sign": -1}, moved]
        self.sessions.append(first)
        return [first]

    def _credit(self) -> dict[str, Any]:
        at = self._instant()
        return {
            **self._place(),
            "channel": self.random.choice(["Email", "Direct", "(unattributed)"]),
            "landing_page": self.random.choice(["/", "/p", ""]),
            "model": self.random.choice(["linear", "last_touch"]),
            "conversion_type": self.random.choice(["purchase", "lead"]),
            "currency": self.random.choice(["USD", "EUR"]),
            "weight": f"{Decimal(self.random.randint(-3, 9)) / 8}",
            "amount": f"{Decimal(self.random.randint(-500, 5000)) / 100}",
            "converted_at": at,
            "touched_at": at - self.random.randint(0, 3 * DAY),
        }

    def question(self) -> dict[str, Any]:
        """A question that the recount understands."""
        pick, sample = self.random.choice, self.random.sample
        dimensions = [
            "channel",
            "source",
            "medium",
            "campaign",
            "site",
            "landing_page",
            "conversion_type",
            "hour",
            "day",
        ]
        by = sample(dimensions, self.random.randint(0, 3))
        first, last = sorted(pick(range(7)) for _ in range(2))
        filters = [
            ["channel", "is_not", ["Display"]],
            ["campaign", "contains", ["x"]],
            ["site", "is", ["s1"]],
        ]
        filters += [
            ["conversion_type", "is", ["lead"]],
            ["landing_page", "is", ["/"]],
            ["day", "is_not", ["2026-10-04"]],
        ]
        return {
            "metrics": sample(
                ["hits", "page_views", "impressions", "sessions", "visitors", "conversions", "revenue"], 3
            ),
            "dimensions": by,
            "filters": sample(filters, self.random.randint(0, 2)),
            "date_range": pick([None, [f"2026-10-0{1 + first}", f"2026-10-0{1 + last}"]]),
            "model": pick(["linear", "last_touch"]),
            "basis": pick(["conversion", "touch"]),
            "currency": pick(["USD", "EUR"]),
            "limit": 10_000,
        }

    def recount(self, question: dict[str, Any]) -> dict[tuple[str, ...], list[Decimal]]:
        """The answer the slow way: one fact after the other. Groups whose measures are all zero are left out."""
        metrics = question["metrics"]
        credit_metrics = ("conversions", "revenue")
        want = (
            any(name not in credit_metrics for name in metrics),
            any(name in credit_metrics for name in metrics),
        )
        sums: dict[tuple[str, ...], dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
        visitors: dict[tuple[str, ...], set[tuple[str, str]]] = defaultdict(set)
        for fact in [*(self._traffic() if want[0] else ()), *(self._credited(question) if want[1] else ())]:
            if self._fits(fact, question):
                key = tuple(_text(fact, name) for name in question["dimensions"])
                for name, amount in fact["measures"].items():
                    sums[key][name] += amount
                if "visitors" in metrics and fact.get("visitor_id"):
                    visitors[key].add((fact["site"], fact["visitor_id"]))
        for key, found in visitors.items():
            sums[key]["visitors"] = Decimal(len(found))
        answer = {
            key: [found[name] for name in metrics] for key, found in sums.items() if any(found.values())
        }
        return answer if answer or question["dimensions"] else {(): [Decimal(0)] * len(metrics)}

    def _traffic(self) -> Iterator[dict[str, Any]]:
        for one in self.sessions:
            for place, hour in enumerate(one["hours"]):
                measures = {"hits": one["hour_hits"][place], "page_views": one["hour_page_views"][place]}
                yield {**one, "at": hour, "measures": {**measures, "sessions": int(place == 0)}}
        for hit in self.hits:
            kinds = {"page_views": hit["event"] == "page_view", "impressions": hit["event"] == "impression"}
            yield {
                **hit,
                "landing_page": "",
                "at": hit["occurred_at"] // 1000,
                "measures": {"hits": 1, **kinds},
            }

    def _credited(self, question: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for one in self.credits:
            if one["model"] == question["model"]:
                amount = Decimal(one["amount"]) if one["currency"] == question["currency"] else Decimal(0)
                at = one["converted_at" if question["basis"] == "conversion" else "touched_at"] // 1000
                yield {
                    **one,
                    "at": at,
                    "measures": {"conversions": Decimal(one["weight"]), "revenue": amount},
                }

    def _fits(self, fact: dict[str, Any], question: dict[str, Any]) -> bool:
        first, last = question["date_range"] or ["", "9999"]
        if not first <= _text(fact, "day") <= last:
            return False
        for name, operator, values in question["filters"]:
            text = _text(fact, name)
            if name == "conversion_type" and not text:
                continue
            if operator == "contains":
                found = any(value.lower() in text.lower() for value in values)
            else:
                found = (text in values) == (operator == "is")
            if not found:
                return False
        return True


def _text(fact: dict[str, Any], name: str) -> str:
    if name in ("hour", "day"):
        moment = dt.datetime.fromtimestamp(fact["at"], dt.UTC)
        return moment.strftime("%Y-%m-%dT%H:00:00Z" if name == "hour" else "%Y-%m-%d")
    return str(fact.get(name, ""))


def test_random_questions_equal_a_plain_recount(store: Store) -> None:
    """Every combination of metrics, dimensions, filters, dates, model, basis and currency, before and after a merge."""
    world = World(20261122)
    world.fill(store)
    for number in range(36):
        if number == 18:
            store.merge()
        question = world.question()
        expected = world.recount(question)
        width = len(question["dimensions"])
        got = {
            tuple(str(cell) for cell in cells[:width]): [Decimal(str(cell)) for cell in cells[width:]]
            for cells in store.ask(
                " ".join(question["metrics"]),
                " ".join(question["dimensions"]),
                **{key: value for key, value in question.items() if key not in ("metrics", "dimensions")},
            ).rows
        }
        assert got == expected, question
