"""Answers against a real engine: numbers computed by hand."""

from __future__ import annotations

from decimal import Decimal

import pytest
from api_store import Store, credit, session
from clickhouse_connect.driver.client import Client
from sinks_rows import DAY, HOUR, NOON


@pytest.fixture
def store(clean: tuple[Client, str]) -> Store:
    return Store(*clean)


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
