"""The engine behind ClickHouse's HTTP interface, used through clickhouse-connect's ordinary HTTP client."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode, urlsplit
from urllib.request import Request, urlopen

import clickhouse_connect
import lz4.frame
import pyarrow
import pytest
from backports import zstd
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError
from clickhouse_connect.driver.external import ExternalData
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.embedded.engine_tuning import MERGE_TREE, STATEMENT

EXACTLY_ONCE = {"async_insert": 0, "deduplicate_blocks_in_dependent_materialized_views": 1}
WINDOW = "SETTINGS non_replicated_deduplication_window = 100"


@pytest.fixture
def client(engine: str, fresh_database: str) -> Iterator[Client]:
    """A client whose database has a table ``t`` and a roll-up ``g`` fed by a materialized view."""
    client = clickhouse_connect.get_client(dsn=engine, autogenerate_session_id=False)
    client.command(f"CREATE DATABASE {fresh_database}")
    client.database = fresh_database
    client.command(
        f"CREATE TABLE t (a UInt64, s LowCardinality(String)) ENGINE = MergeTree ORDER BY a {WINDOW}"
    )
    client.command(f"CREATE TABLE g (s String, n Int64) ENGINE = SummingMergeTree(n) ORDER BY s {WINDOW}")
    client.command("CREATE MATERIALIZED VIEW mv TO g AS SELECT s, toInt64(count()) AS n FROM t GROUP BY s")
    yield client
    client.close()


def counts(client: Client) -> tuple[int, int]:
    """Rows of the table, and what the roll-up says of them."""
    rows, rolled_up = client.query("SELECT count(), (SELECT sum(n) FROM g) FROM t").result_rows[0]
    return rows, rolled_up


def http(engine: str, body: bytes = b"", *, method: str = "POST", headers: Any = None, **query: str) -> Any:
    """A plain request with the password; the answer, errors included."""
    place = urlsplit(engine)
    url = f"http://127.0.0.1:{place.port}/?{urlencode(query)}"
    given_headers = {"X-ClickHouse-User": "default", "X-ClickHouse-Key": place.password or ""} | (
        headers or {}
    )
    try:
        return urlopen(Request(url, data=body or None, headers=given_headers, method=method), timeout=30)
    except HTTPError as error:
        return error


# --- who may ask


@pytest.mark.parametrize("key", ["", "wrong"])
def test_without_the_password_nothing_is_answered(engine: str, key: str) -> None:
    answer = http(engine, b"SELECT 1", headers={"X-ClickHouse-Key": key})
    assert (answer.status, answer.headers["X-ClickHouse-Exception-Code"]) == (403, "516")


def test_another_user_is_refused(engine: str) -> None:
    assert http(engine, b"SELECT 1", headers={"X-ClickHouse-User": "root"}).status == 403


def test_ping_needs_no_password(engine: str) -> None:
    with urlopen(f"http://127.0.0.1:{urlsplit(engine).port}/ping", timeout=10) as answer:
        assert answer.read() == b"Ok.\n"


def test_get_changes_nothing(engine: str, fresh_database: str) -> None:
    answer = http(engine, method="GET", query=f"CREATE DATABASE {fresh_database}")
    assert answer.headers["X-ClickHouse-Exception-Code"] == "164"
    assert http(engine, method="GET", query="SELECT 1").read() == b"1\n"


def test_read_only_queries_cannot_read_files(engine: str) -> None:
    answer = http(engine, b"SELECT * FROM file('/etc/passwd', 'LineAsString')", readonly="1")
    assert answer.headers["X-ClickHouse-Exception-Code"] == "164"


# --- questions


def test_parameters_of_every_shape_come_back(client: Client) -> None:
    given_values = {"s": "it's\\ \t\n{x:Int8} ; DROP", "l": [1, 2], "d": datetime(2026, 1, 1, 12), "n": None}
    sql = "SELECT {s:String}, {l:Array(Int32)}, {d:DateTime64(3)}, {n:Nullable(String)}"
    assert client.query(sql, parameters=given_values).result_rows == [tuple(given_values.values())]


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=50))
def test_any_text_is_safe_as_a_parameter(client: Client, text: str) -> None:
    assert client.query("SELECT {x:String}", parameters={"x": text}).result_rows == [(text,)]


def test_very_long_parameters_go_as_a_form(client: Client) -> None:
    names = [f"name {i}" for i in range(2000)]
    assert client.query("SELECT length({x:Array(String)})", parameters={"x": names}).result_rows == [(2000,)]


def test_parameters_as_identifiers(client: Client) -> None:
    assert client.query("SELECT count() FROM {t:Identifier}", parameters={"t": "t"}).result_rows == [(0,)]


def test_headers_say_format_summary_and_query_id(engine: str) -> None:
    answer = http(engine, b"SELECT number FROM numbers(3) FORMAT JSONEachRow", query_id="mine")
    assert answer.read() == b'{"number":0}\n{"number":1}\n{"number":2}\n'
    assert answer.headers["X-ClickHouse-Format"] == "JSONEachRow"
    assert answer.headers["X-ClickHouse-Query-Id"] == "mine"
    assert json.loads(answer.headers["X-ClickHouse-Summary"])["result_rows"] == "3"


def test_default_format_is_used_when_the_statement_names_none(engine: str) -> None:
    assert http(engine, b"SELECT 1 AS a", default_format="JSONEachRow").read() == b'{"a":1}\n'
    assert http(engine, b"SELECT 1 AS a").read() == b"1\n"


@pytest.mark.parametrize("encoding", ["gzip", "zstd", "lz4", "deflate"])
def test_answers_are_compressed_when_asked(engine: str, encoding: str) -> None:
    body = b"SELECT repeat('x', 100000)"
    answer = http(engine, body, headers={"Accept-Encoding": encoding}, enable_http_compression="1")
    assert answer.headers["Content-Encoding"] == encoding
    assert len(answer.read()) < 5000
    assert http(engine, body, headers={"Accept-Encoding": encoding}).headers["Content-Encoding"] is None


def test_settings_hold_for_one_statement(engine: str) -> None:
    assert http(engine, b"SELECT getSetting('max_threads')", max_threads="1").read() == b"1\n"
    http(engine, b"SET max_threads = 1")
    assert http(engine, b"SELECT getSetting('max_threads')").read() != b"1\n"


def test_an_inserts_settings_come_from_the_request_and_its_own_ones_win(client: Client) -> None:
    refuse_nulls = {"input_format_null_as_default": 0}
    with pytest.raises(DatabaseError, match="Cannot parse"):
        client.raw_insert("t", ["a", "s"], b"[1,null]", fmt="JSONCompactEachRow", settings=refuse_nulls)
    client.command(
        "INSERT INTO t (a, s) SETTINGS input_format_null_as_default = 1 FORMAT JSONCompactEachRow [2,null]",
        settings=refuse_nulls,
    )
    assert client.query("SELECT a, s FROM t").result_rows == [(2, "")]


@pytest.mark.parametrize(
    ("setting", "code"), [("nosuch", "115"), ("a b", "115"), ("x = 1, y", "115"), ("readonly", "164")]
)
def test_an_insert_with_a_bad_setting_stores_nothing(
    client: Client, engine: str, setting: str, code: str
) -> None:
    sql = f"INSERT INTO {client.database}.t FORMAT JSONCompactEachRow"
    answer = http(engine, b'[1,"x"]', query=sql, **{setting: "1"})
    assert answer.headers["X-ClickHouse-Exception-Code"] == code
    assert counts(client) == (0, 0)


def test_the_engine_opens_with_its_own_defaults(client: Client, engine: str) -> None:
    """A configuration that it cannot read is passed over in silence, and merges would not be synced."""
    names = {"names": list(MERGE_TREE)}
    sql = "SELECT name, value FROM system.merge_tree_settings WHERE name IN {names:Array(String)}"
    assert dict(client.query(sql, parameters=names).result_rows) == MERGE_TREE
    sql = "SELECT name, value FROM system.settings WHERE name IN {names:Array(String)}"
    assert dict(client.query(sql, parameters={"names": list(STATEMENT)}).result_rows) == STATEMENT


def test_a_part_of_a_small_insert_has_few_files(client: Client) -> None:
    """Each is created, synced and deleted again: most of what a small insert costs."""
    client.command("ALTER TABLE t ADD INDEX i s TYPE minmax")
    client.insert("t", [[1, "x"], [2, ""]], column_names=["a", "s"], settings=EXACTLY_ONCE)
    sql = "SELECT path FROM system.parts WHERE database = {d:String} AND table = 't' AND active"
    ((path,),) = client.query(sql, parameters={"d": client.database}).result_rows
    assert {file.name for file in Path(path).iterdir()} == {
        *("checksums.txt", "columns.txt", "count.txt", "data.bin", "data.cmrk3"),
        *("default_compression_codec.txt", "metadata_version.txt", "primary.cidx"),
    }


def test_arrow_comes_back(client: Client) -> None:
    table = client.query_arrow("SELECT toUInt8(number) AS n FROM numbers(3)")
    assert table.to_pydict() == {"n": [0, 1, 2]}


def test_a_slow_question_holds_up_nobody(client: Client) -> None:
    """Both the event loop and the engine stay free: others are answered while it runs."""
    with ThreadPoolExecutor(2) as pool:
        slow = [pool.submit(client.command, "SELECT sleep(3)") for _ in range(2)]
        client.insert("t", [[1, "x"]], column_names=["a", "s"], settings=EXACTLY_ONCE)
        assert client.command("SELECT count() FROM t") == 1
        assert not any(one.done() for one in slow)
        for future in slow:
            assert future.result() == 0


async def test_the_asynchronous_client_works(engine: str, client: Client) -> None:
    async with await clickhouse_connect.get_async_client(dsn=engine, database=client.database) as other:
        await other.insert("t", [[1, "x"]], column_names=["a", "s"])
        answers = await asyncio.gather(*(other.query("SELECT count() FROM t") for _ in range(8)))
    assert [a.result_rows for a in answers] == [[(1,)]] * 8


# --- errors


@pytest.mark.parametrize(
    ("sql", "code", "status"),
    [
        (b"SELECT * FROM nosuch", 60, 404),
        (b"SELECT nosuch", 47, 404),
        (b"selec", 62, 400),
        (b"SELECT 1; SELECT 2", 62, 400),
        (b"", 62, 400),
        (b"SELECT throwIf(1)", 395, 500),
        (b"SELECT 1 FORMAT Nosuch", 73, 404),
        (b"SELECT toUInt8('x')", 6, 400),
        (b"\xff\xfe", 62, 400),
        (b"SELECT 1 \xff", 62, 400),
        (b"exit", 62, 400),
    ],
)
def test_errors_have_the_code_and_status_of_clickhouse(
    engine: str, sql: bytes, code: int, status: int
) -> None:
    answer = http(engine, sql)
    assert (answer.headers["X-ClickHouse-Exception-Code"], answer.status) == (str(code), status)
    assert answer.read().startswith(b"Code: %d. DB::Exception: " % code)


def test_errors_reach_the_client_with_code_and_name(client: Client) -> None:
    with pytest.raises(DatabaseError) as caught:
        client.query("SELECT * FROM nosuch")
    assert (caught.value.code, caught.value.name) == (60, "UNKNOWN_TABLE")


@pytest.mark.parametrize("name", ["nosuch", "a b", "x = 1, y", "max_threads;"])
def test_an_unknown_setting_is_error_115(engine: str, name: str) -> None:
    assert http(engine, b"SELECT 1", **{name: "1"}).headers["X-ClickHouse-Exception-Code"] == "115"


def test_a_missing_database_is_error_81(engine: str) -> None:
    assert http(engine, b"SELECT 1", database="no`such").headers["X-ClickHouse-Exception-Code"] == "81"


def test_what_is_not_offered_is_refused_clearly(client: Client, engine: str) -> None:
    external = ExternalData(file_name="x.csv", data=b"1\n", fmt="CSV", structure="a UInt8")
    with pytest.raises(DatabaseError, match="External tables are not supported"):
        client.query("SELECT * FROM x", external_data=external)
    assert http(engine, b"SELECT 1", compress="1").status == 501
    assert http(engine, b"SELECT 1", method="PUT").status == 501


def test_a_synchronous_drop_comes_back(client: Client) -> None:
    """The engine itself would wait for ever."""
    client.command("CREATE TABLE doomed (a UInt8) ENGINE = MergeTree ORDER BY a")
    waiting = {"database_atomic_wait_for_drop_and_detach_synchronously": 1}
    client.command("DROP TABLE doomed SYNC", settings=waiting)
    assert client.command("EXISTS TABLE doomed") == 0


# --- inserts


def test_native_insert_counts_once_in_table_and_roll_up(client: Client) -> None:
    rows = [[i, f"s{i % 3}"] for i in range(1000)]
    for _ in range(3):
        options = {**EXACTLY_ONCE, "insert_deduplication_token": "one"}
        summary = client.insert("t", rows, column_names=["a", "s"], settings=options)
        assert summary.written_rows == 1000
    assert counts(client) == (1000, 1000)


@pytest.mark.parametrize("compression", [None, "gzip", "zstd", "lz4"])
def test_raw_insert_compressed_or_not(client: Client, compression: str | None) -> None:
    pack = {None: bytes, "gzip": gzip.compress, "zstd": zstd.compress, "lz4": lz4.frame.compress}[compression]
    data = pack(b'[1,"x"]\n[2,"y"]\n')
    options = {**EXACTLY_ONCE, "insert_deduplication_token": "one"}
    for _ in range(2):
        client.raw_insert(
            "t", ["a", "s"], data, fmt="JSONCompactEachRow", compression=compression, settings=options
        )
    assert counts(client) == (2, 2)


@pytest.mark.parametrize(
    ("fmt", "data"),
    [
        ("JSONEachRow", b'{"a": 1, "s": "x"}\n{"a": 2, "s": "y"}'),
        ("CSV", b'1,"x"\n2,"y"\n'),
        ("TabSeparated", b"1\tx\n2\ty\n"),
        ("RowBinary", b"\x01" + 7 * b"\0" + b"\x01x" + b"\x02" + 7 * b"\0" + b"\x01y"),
        ("Values", b"(1, 'x'), (2, 'y')"),
    ],
)
def test_raw_insert_in_each_format(client: Client, fmt: str, data: bytes) -> None:
    client.raw_insert("t", ["a", "s"], data, fmt=fmt, settings=EXACTLY_ONCE)
    assert client.query("SELECT a, s FROM t ORDER BY a").result_rows == [(1, "x"), (2, "y")]


def test_arrow_insert(client: Client) -> None:
    table = pyarrow.table({"a": pyarrow.array([1, 2], pyarrow.uint64()), "s": ["x", "y"]})
    client.insert_arrow("t", table, settings=EXACTLY_ONCE)
    assert counts(client) == (2, 2)


def test_money_and_instants_survive(client: Client) -> None:
    client.command("CREATE TABLE m (v Nullable(Decimal(18, 4)), d DateTime64(3, 'UTC')) ENGINE = Memory")
    rows = [(Decimal("12.3456"), datetime(2026, 1, 1, 1, 2, 3, 456000)), (None, datetime(1970, 1, 1))]
    client.insert("m", rows, column_names=["v", "d"])
    assert client.query("SELECT * FROM m").result_rows == rows


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.lists(st.binary(max_size=40), min_size=1, max_size=5))
def test_any_bytes_survive_an_insert(client: Client, data: list[bytes]) -> None:
    """Zeros, quotes, line ends, invalid UTF-8: binary data is never part of the SQL text."""
    client.command("TRUNCATE TABLE t")
    rows = b"".join(i.to_bytes(8, "little") + bytes([len(d)]) + d for i, d in enumerate(data))
    client.raw_insert("t", ["a", "s"], rows, fmt="RowBinary", settings=EXACTLY_ONCE)
    stored = client.raw_query("SELECT hex(s) FROM t ORDER BY a").decode().split("\n")[:-1]
    assert stored == [d.hex().upper() for d in data]


def test_a_bad_row_stores_nothing_of_its_insert(client: Client) -> None:
    with pytest.raises(DatabaseError) as caught:
        client.raw_insert(
            "t", ["a", "s"], b'[1,"x"]\n[2,"y"\n', fmt="JSONCompactEachRow", settings=EXACTLY_ONCE
        )
    assert caught.value.code == 27
    assert counts(client) == (0, 0)


def test_a_large_insert_is_one_part(client: Client) -> None:
    """60,000 rows, 20 MB of JSON: read in parallel pieces, written as one block."""
    data = b"".join(b'[%d,"%s"]\n' % (i, b"x" * 300 + b"%d" % (i % 5)) for i in range(60_000))
    client.raw_insert("t", ["a", "s"], data, fmt="JSONCompactEachRow", settings=EXACTLY_ONCE)
    sql = "SELECT count(), sum(rows) FROM system.parts WHERE database = {d:String} AND table = 't' AND active"
    assert client.query(sql, parameters={"d": client.database}).result_rows == [(1, 60_000)]
    assert counts(client) == (60_000, 60_000)


@pytest.mark.parametrize("encoding", ["gzip", "zstd", "lz4", "deflate", "br"])
def test_a_body_that_is_not_what_it_says_is_refused(engine: str, encoding: str) -> None:
    answer = http(engine, b"SELECT 1 but not compressed", headers={"Content-Encoding": encoding})
    assert answer.status in (400, 500)
    assert answer.headers["X-ClickHouse-Exception-Code"] in ("89", "354")


def test_a_compressed_body_that_ends_in_the_middle_stores_nothing(client: Client, engine: str) -> None:
    data = gzip.compress(b'[1,"x"]\n' * 1000)[:-20]
    sql = f"INSERT INTO {client.database}.t FORMAT JSONCompactEachRow"
    assert http(engine, data, headers={"Content-Encoding": "gzip"}, query=sql).status == 500
    assert counts(client) == (0, 0)
