"""One suite for the writer and its in-memory twin: what the stages rely on, on both."""

from __future__ import annotations

from collections.abc import Iterator

import clickhouse_connect
import msgspec
import pytest

from attribution.learnt.tables import ChannelEffect, LearntTable, SiteEffects
from sinks.client import connect
from sinks.learnt import write_table
from sinks.memory import MemoryWriter
from sinks.migrate import migrate
from sinks.tables import WRITTEN
from sinks.writer import RowWriter

COLUMNS = WRITTEN["drops"]


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
