"""One suite for the writer and its in-memory twin: what the stages rely on, on both."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

import clickhouse_connect
import msgspec
import pytest

from attribution.learnt.tables import ChannelEffect, LearntTable, SiteEffects
from attribution.spend.click_costs import LiveFigure
from sinks.client import connect
from sinks.deliveries import BEGINNING
from sinks.learnt import write_table
from sinks.memory import MemoryWriter
from sinks.migrate import migrate
from sinks.tables import WRITTEN
from sinks.visitors import HIT_FIELDS, NOWHERE, Place
from sinks.writer import RowWriter

COLUMNS = WRITTEN["drops"]
T0 = 1_760_000_000_000


def drop(count: int, offset: int, partition: int = 1, broker: str = "b") -> tuple[object, ...]:
    return (1_760_000_400, "site", "bot", count, broker, partition, offset)


@pytest.fixture(params=["twin", "clickhouse"])
def writer(request: pytest.FixtureRequest) -> Iterator[RowWriter | MemoryWriter]:
    """The writer under test, over empty tables."""
    if request.param == "twin":
        yield MemoryWriter()
        return
    url, database = request.getfixturevalue("engine"), request.getfixturevalue("fresh_database")
    clickhouse_connect.get_client(dsn=url).command(f"CREATE DATABASE IF NOT EXISTS {database}")
    client = connect(url, database)
    migrate(client, database)
    yield RowWriter(client, database)
    client.close()


def count(writer: RowWriter | MemoryWriter, first: int = 0, last: int = 1_000) -> int:
    return writer.count_rows("drops", "b", 1, first, last)


def test_rows_are_there_when_insert_returns(writer: RowWriter | MemoryWriter) -> None:
    """Read-your-writes: recovery counts right after inserting."""
    writer.insert("drops", COLUMNS, [drop(1, 3), drop(2, 4)], "t1")
    assert count(writer) == 2


def test_a_row_may_be_written_out_already(writer: RowWriter | MemoryWriter) -> None:
    """The stitch step writes the rows of hits while it has them at hand."""
    written = msgspec.Raw(msgspec.json.encode(drop(2, 4)))
    writer.insert("drops", COLUMNS, [drop(1, 3), written], "t1")
    assert count(writer) == 2
    assert writer.count_rows("drops", "b", 1, 4, 4) == 1


def test_a_token_counts_once_even_with_other_rows(writer: RowWriter | MemoryWriter) -> None:
    """Why a token must name its content."""
    writer.insert("drops", COLUMNS, [drop(1, 3)], "t1")
    writer.insert("drops", COLUMNS, [drop(1, 3)], "t1")
    writer.insert("drops", COLUMNS, [drop(9, 5), drop(9, 6)], "t1")
    assert count(writer) == 1


def test_equal_rows_under_another_token_are_other_rows(writer: RowWriter | MemoryWriter) -> None:
    """Two batches may legally hold the same counts."""
    writer.insert("drops", COLUMNS, [drop(1, 3)], "t1")
    writer.insert("drops", COLUMNS, [drop(1, 3)], "t2")
    assert count(writer) == 2


def test_no_rows_use_up_no_token(writer: RowWriter | MemoryWriter) -> None:
    """An empty insert is nothing at all."""
    writer.insert("drops", COLUMNS, [], "t1")
    writer.insert("drops", COLUMNS, [drop(1, 3)], "t1")
    assert count(writer) == 1


def test_count_rows_is_by_broker_partition_and_both_ends(writer: RowWriter | MemoryWriter) -> None:
    """The recovered range and nothing else."""
    rows = [drop(1, offset) for offset in (9, 10, 11, 12, 13)]
    writer.insert("drops", COLUMNS, [*rows, drop(1, 10, partition=2), drop(1, 11, broker="other")], "t1")
    assert count(writer, 10, 12) == 3


def test_a_policy_is_found_by_its_version(writer: RowWriter | MemoryWriter) -> None:
    """For a Redis that has lost it."""
    writer.insert("policies", WRITTEN["policies"], [("v1", '{"a":1}', 1_760_000_000_000)], "p1")
    assert writer.find_policy("v1") == '{"a":1}'
    assert writer.find_policy("v2") is None


def test_a_learnt_table_is_put_together_again_from_its_rows(writer: RowWriter | MemoryWriter) -> None:
    """To the last billionth, signs and options included: its version is a digest of all that."""
    effects = (ChannelEffect("Email", -7, 0, 0, 5), ChannelEffect("Söcial", 10**9, 10**9, 999_999_999, 10**9))
    table = LearntTable(
        model="shapley",
        worth="conversion_rate",
        from_ms=1_760_000_000_001,
        to_ms=1_768_000_000_999,
        types=("lead", "purchase"),
        seed=7,
        rounds=200,
        sites=(SiteEffects("", 300, 40, effects, 12), SiteEffects("shop", 200, 30, effects[:1])),
        learnt_at=1_768_000_001_000,
    )
    other = msgspec.structs.replace(table, model="markov", worth="", order=2)
    for each in (table, other):
        write_table(writer, each)
        write_table(writer, each)
    found = writer.find_learnt_table(table.version)
    assert found == table
    assert found.version == table.version
    assert writer.find_learnt_table(other.version) == other
    assert writer.find_learnt_table("0123456789") is None


def test_click_visitors_are_those_who_landed_first(writer: RowWriter | MemoryWriter) -> None:
    def landed(visitor: str, at: int, click: str, param: str = "gclid") -> tuple[object, ...]:
        given = {
            "site": "s",
            "visitor_id": visitor,
            "occurred_at": at,
            "received_at": at + 7,
            "click_id_param": param,
            "click_id": click,
        }
        numbers = ("clock_skew_ms", "in_session", "gpc", "dnt", "src_partition", "src_offset")
        return tuple(
            given.get(name, 0 if name in numbers else None if name == "value" else "")
            for name in WRITTEN["hits"]
        )

    t0 = 1_760_000_000_000
    rows = [
        landed("late", t0 + 5, "a"),
        landed("early", t0, "a"),
        landed("z", t0, "a"),
        landed("other", t0, "b"),
    ]
    writer.insert("hits", WRITTEN["hits"], [*rows, landed("nobody", t0, "", "")], "t1")
    assert sorted(writer.click_visitors(["a", "c"])) == [("s", "gclid", "a", "early", t0 + 7)]
    assert writer.click_visitors([]) == []


def test_hits_of_visitors_are_those_of_their_site_before_a_place(writer: RowWriter | MemoryWriter) -> None:
    def heard(event_id: str, site: str, visitor: str, offset: int, broker: str = "b") -> tuple[object, ...]:
        given = {
            "event_id": event_id,
            "site": site,
            "visitor_id": visitor,
            "occurred_at": T0,
            "value": "12.5",
        }
        given |= {"received_at": T0 + 7, "props": '{"a":1}', "src_broker": broker, "src_partition": 1}
        numbers = ("clock_skew_ms", "in_session", "gpc", "dnt")
        return tuple(
            {**given, "src_offset": offset}.get(name, 0 if name in numbers else "")
            for name in WRITTEN["hits"]
        )

    rows = [
        heard("e1", "s", "v", 3),
        heard("e2", "s", "v", 4),
        heard("e3", "s", "v", 9, "other"),
        heard("e4", "s", "w", 1),
        heard("e5", "t", "v", 1),
        heard("e6", "t", "w", 1),
    ]
    writer.insert("hits", WRITTEN["hits"], rows, "t1")

    def found(visitors: list[tuple[str, str]], place: Place = NOWHERE) -> list[str]:
        return sorted(row[0] for row in writer.hits_of_visitors(visitors, place))

    assert found([("s", "v"), ("t", "w"), ("t", "nobody")]) == ["e1", "e2", "e3", "e6"]
    assert found([("s", "v")], Place("b", 1, 4)) == ["e1", "e3"]
    assert found([("s", "v")], Place("b", 2, 0)) == ["e1", "e2", "e3"]
    assert found([]) == []
    (row,) = writer.hits_of_visitors([("s", "w")])
    one = dict(zip(HIT_FIELDS, row, strict=True))
    assert (one["occurred_at"], one["received_at"], one["props"]) == (T0, T0 + 7, '{"a":1}')


def test_rows_that_stand_are_those_that_no_sign_cancels(writer: RowWriter | MemoryWriter) -> None:
    def touched(one: str, at: int, channel: str, sign: int = 1, offset: int = 1) -> tuple[object, ...]:
        given = {"site": "s", "visitor_id": "v", "touchpoint_id": one, "touched_at": at, "channel": channel}
        given |= {"kind": "click", "sign": sign, "src_broker": "b", "src_partition": 1, "src_offset": offset}
        return tuple(given.get(name, "") for name in WRITTEN["touchpoints"])

    def had(one: str, offset: int) -> tuple[object, ...]:
        given = {"site": "s", "visitor_id": "v", "session_id": one, "started_at": T0, "ended_at": T0 + 5}
        given |= {"hits": 2, "page_views": 1, "hours": (T0 // 3_600_000 * 3600,), "hour_hits": (2,)}
        given |= {
            "hour_page_views": (1,),
            "sign": 1,
            "src_broker": "b",
            "src_partition": 1,
            "src_offset": offset,
        }
        return tuple(given.get(name, "") for name in WRITTEN["sessions"])

    rows = [
        touched("a", T0, "Email"),
        touched("a", T0, "Email", -1),
        touched("a", T0, "Direct"),
        touched("b", T0 + 7_200_000, "Email"),
        touched("c", T0, "Email"),
        touched("c", T0, "Email", -1, 8),
    ]
    writer.insert("touchpoints", WRITTEN["touchpoints"], rows, "t1")
    writer.insert("sessions", WRITTEN["sessions"], [had("a", 1), had("b", 8)], "t2")
    starts = [(T0, "a"), (T0 + 7_200_000, "b"), (T0, "c"), (T0, "none")]
    place = Place("b", 1, 8)
    assert sorted(writer.rows_that_stand("touchpoints", starts, place)) == [
        touched("a", T0, "Direct")[:-4],
        touched("b", T0 + 7_200_000, "Email")[:-4],
        touched("c", T0, "Email")[:-4],
    ]
    assert writer.rows_that_stand("touchpoints", starts[2:], NOWHERE) == []
    assert writer.rows_that_stand("sessions", starts, place) == [had("a", 1)[:-4]]


def test_deliveries_come_page_by_page_as_they_arrived(writer: RowWriter | MemoryWriter) -> None:
    def came(site: str, source: str, at: int, offset: int, position: int = 0) -> tuple[object, ...]:
        given = {"site": site, "source": source, "scheme": "x", "keys": ["k1", "k2"], "received_at": at}
        given |= {"outcome": "read", "reasons": ["unreadable_body"] if offset == 7 else [], "headers": "{}"}
        given |= {"body_base64": "e30=", "src_broker": "b", "src_offset": offset, "position": position}
        numbers = ("events", "facts", "adapter_version", "src_partition")
        lists = ("problems", "ignored")
        return tuple(
            given.get(name, 0 if name in numbers else [] if name in lists else "")
            for name in WRITTEN["deliveries"]
        )

    rows = [
        came("s", "stripe", T0 + 5, 1),
        came("s", "hubspot", T0, 7),
        came("s", "hubspot", T0, 6, 1),
        came("s", "hubspot", T0, 6),
        came("t", "hubspot", T0, 2),
    ]
    writer.insert("deliveries", WRITTEN["deliveries"], rows, "t1")

    def found(
        source: str, place: tuple[int, str, int, int], limit: int, but_from: Place = NOWHERE
    ) -> list[object]:
        page = writer.deliveries_after(("s", source), place, limit, but_from)
        return [(one.offset, one.position, one.is_body_foreign) for one in page]

    first = writer.deliveries_after(("s", ""), BEGINNING, 2)
    assert (first[0].keys, first[0].received_at, first[0].body_base64) == (("k1", "k2"), T0, "e30=")
    assert found("", BEGINNING, 2) == [(6, 0, False), (6, 1, False)]
    assert found("", first[-1].place, 9) == [(7, 0, True), (1, 0, False)]
    assert found("stripe", BEGINNING, 9) == [(1, 0, False)]
    assert found("", BEGINNING, 9, Place("b", 0, 7)) == [(6, 0, False), (6, 1, False), (1, 0, False)]


def test_touches_are_counted_by_their_labels(writer: RowWriter | MemoryWriter) -> None:
    """What spend is joined to: touches that stand and name a campaign."""
    columns = WRITTEN["touchpoints"]

    def touch(number: int, sign: int = 1, **given: object) -> tuple[object, ...]:
        facts = {
            "site": "s",
            "touchpoint_id": str(number),
            "touched_at": 1_790_000_000_000,
            "sign": sign,
        } | given
        numbers = {"src_partition": 0, "src_offset": 0}
        return tuple(facts.get(name, numbers.get(name, "")) for name in columns)

    paid = {"channel": "Paid Search", "source": "google", "medium": "cpc", "ad_network": "google_ads"}
    rows = [touch(1, campaign="a", **paid), touch(2, campaign="a", **paid), touch(3, campaign="b"), touch(4)]
    writer.insert("touchpoints", columns, rows, "t1")
    writer.insert("touchpoints", columns, [touch(3, -1, campaign="b")], "t2")
    assert writer.touch_labels() == [("s", "google_ads", "Paid Search", "google", "cpc", "a", 2)]


def test_clicks_cost_what_their_first_hits_say(writer: RowWriter | MemoryWriter) -> None:
    """Once within thirty days, on the day of the first; by campaign and currency; what does not count is no click."""
    t0, day_ms = 1_790_812_800_000, 86_400_000  # 2026-10-01

    def said(
        click: str, day: int, amount: str, event: str = "e", second: int = 0, **given: object
    ) -> tuple[object, ...]:
        at = t0 + day * day_ms + second * 1_000
        told = {
            "site": "s",
            "ad_network": "acme",
            "day": (date(2026, 10, 1) + timedelta(days=day)).isoformat(),
            "click": click,
            "campaign": "A",
            "currency": "USD",
            "amount": amount,
            "event_id": event,
            "occurred_at": at,
            "recorded_at": at + 7,
        } | given
        numbers = {"src_partition": 0, "src_offset": 0}
        return tuple(told.get(name, numbers.get(name, "")) for name in WRITTEN["click_costs"])

    rows = [
        said("a", 0, "0.250001", second=9),
        said("a", 0, "0.9", "later", second=10),
        said("a", 30, "7"),
        said("a", 61, "0.5"),
        said("b", 0, "0.000002", second=3),
        said("b", 0, "9", "f", second=3),
        said("c", 0, "1", campaign="", campaign_id="17", currency="EUR"),
        said("d", 0, "1", reason="bot"),
        said("d", 0, "1", ad_network="other"),
    ]
    writer.insert("click_costs", WRITTEN["click_costs"], rows, "t1")
    days = {(network, day.isoformat()): hits for _, network, day, hits in writer.click_cost_days()}
    assert days == {
        ("acme", "2026-10-01"): 5,
        ("other", "2026-10-01"): 1,
        ("acme", "2026-10-31"): 1,
        ("acme", "2026-12-01"): 1,
    }
    figures, later = writer.click_costs("s", "acme", date(2026, 10, 1))
    assert figures == [
        LiveFigure("", "A", "USD", 250_003, 2, t0 + 9_007),
        LiveFigure("17", "", "EUR", 1_000_000, 1, t0 + 7),
    ]
    assert later == [date(2026, 10, 31)]
    assert writer.click_costs("s", "acme", date(2026, 10, 31)) == ([], [])
    assert writer.click_costs("s", "acme", date(2026, 12, 1))[0][0].micros == 500_000
    assert writer.click_costs("s", "nobody", date(2026, 10, 1)) == ([], [])
