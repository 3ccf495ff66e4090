"""The writer against a real engine: exact values, one block, one effect per token, errors by kind."""

from __future__ import annotations

import socket
import threading
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from urllib.request import Request, urlopen

import pytest
from clickhouse_connect.driver.client import Client
from sinks_rows import HOUR, NOON, row

from attribution.errors import Misconfigured, Rejected, Transient
from sinks.client import connect
from sinks.tables import CREDITS_COLUMNS, HITS_COLUMNS, SESSIONS_COLUMNS, WRITTEN
from sinks.writer import MAX_ROWS, RowWriter


def scalar(client: Client, sql: str) -> Any:
    return client.query(sql).result_rows[0][0]


@pytest.mark.parametrize("table", sorted(WRITTEN))
def test_column_tuples_equal_the_tables(migrated: tuple[Client, str], table: str) -> None:
    """Names and order, so that a row tuple lands where it should; but for what the engine works out itself."""
    client, database = migrated
    rows = client.query(
        "SELECT name FROM system.columns WHERE database = {d:String} AND table = {t:String}"
        " AND default_kind NOT IN ('ALIAS', 'MATERIALIZED') ORDER BY position",
        parameters={"d": database, "t": table},
    ).result_rows
    assert tuple(name for (name,) in rows) == WRITTEN[table]


def test_every_value_arrives_exactly(clean: tuple[Client, str]) -> None:
    """Milliseconds, decimals to the last digit, nulls, quotes, control characters and other alphabets."""
    client, database = clean
    ugly = "a'b\"c\\d\te\nf\0g — 日本 <script>\u2028"
    RowWriter(client, database).insert(
        "hits",
        HITS_COLUMNS,
        [
            row("hits", event_id="e1", title=ugly, value="99999999999999.9999", occurred_at=NOON + 123),
            row("hits", event_id="e2", value=None, clock_skew_ms=-5, src_offset=2**63),
            row("hits", event_id="e3", value=Decimal("-0.0001"), gpc=1),
        ],
        "t1",
    )
    got = client.query(
        f"SELECT event_id, title, value, toUnixTimestamp64Milli(occurred_at), clock_skew_ms, src_offset, gpc"
        f" FROM {database}.hits ORDER BY event_id"
    ).result_rows
    assert got == [
        ("e1", ugly, Decimal("99999999999999.9999"), NOON + 123, 0, 0, 0),
        ("e2", "", None, NOON, -5, 2**63, 0),
        ("e3", "", Decimal("-0.0001"), NOON, 0, 0, 1),
    ]


def test_the_same_token_counts_once_in_tables_and_roll_up(clean: tuple[Client, str]) -> None:
    """A repeated insert changes nothing, in the table and behind each of the three views."""
    client, database = clean
    writer = RowWriter(client, database)
    for _ in range(3):
        writer.insert("hits", HITS_COLUMNS, [row("hits", event="impression")], "h:0-0")
        writer.insert(
            "sessions",
            SESSIONS_COLUMNS,
            [
                row(
                    "sessions",
                    hours=[NOON // 1000, NOON // 1000 + 3600],
                    hour_hits=[2, 1],
                    hour_page_views=[1, 1],
                )
            ],
            "s:0-0",
        )
        writer.insert("credits", CREDITS_COLUMNS, [row("credits", model="linear", amount="9.99")], "c:0")
    totals = client.query(
        "SELECT sum(hits), sum(page_views), sum(impressions), sum(sessions), sum(conversions), sum(revenue)"
        f" FROM {database}.channel_metrics"
    ).result_rows
    # One credit stands on both bases.
    assert totals == [(4, 2, 1, 1, Decimal(2), Decimal("19.98"))]
    assert [
        scalar(client, f"SELECT count() FROM {database}.{t}") for t in ("hits", "sessions", "credits")
    ] == [1] * 3


def test_equal_rows_under_another_token_are_kept(clean: tuple[Client, str]) -> None:
    """Two legal batches may hold the same rows."""
    client, database = clean
    writer = RowWriter(client, database)
    for token in ("a", "b"):
        writer.insert("credits", CREDITS_COLUMNS, [row("credits", amount="1")], token)
    assert scalar(client, f"SELECT sum(amount) FROM {database}.credits") == 2


def test_a_view_that_failed_is_made_up_for_by_the_repetition(clean: tuple[Client, str]) -> None:
    """The first attempt reaches the table but not the view; the same token again completes the roll-up."""
    client, database = clean
    client.command(f"CREATE TABLE {database}.trap (n UInt64) ENGINE = MergeTree ORDER BY n")
    client.command(
        f"CREATE MATERIALIZED VIEW {database}.a_trap TO {database}.trap AS"
        f" SELECT throwIf(count() > 0)::UInt64 AS n FROM {database}.hits"
    )
    writer = RowWriter(client, database, deadline=0.0)
    try:
        with pytest.raises(Transient):
            writer.insert("hits", HITS_COLUMNS, [row("hits")], "h1")
    finally:
        client.command(f"DROP TABLE {database}.a_trap")
        client.command(f"DROP TABLE {database}.trap")
    for _ in range(2):
        writer.insert("hits", HITS_COLUMNS, [row("hits")], "h1")
    assert scalar(client, f"SELECT count() FROM {database}.hits") == 1
    assert scalar(client, f"SELECT sum(hits) FROM {database}.channel_metrics") == 1


def test_a_hundred_thousand_wide_rows_are_one_part(clean: tuple[Client, str]) -> None:
    """One insert is one block, hence one part: visible as a whole or not at all."""
    client, database = clean
    wide = "x" * 200
    rows = [row("hits", event_id=f"e{n}", url=wide, src_offset=n) for n in range(100_000)]
    writer = RowWriter(client, database)
    client.command(f"SYSTEM STOP MERGES {database}.hits")
    try:
        writer.insert("hits", HITS_COLUMNS, rows, "big")
        writer.insert("hits", HITS_COLUMNS, rows, "big")
        parts = client.query(
            "SELECT rows FROM system.parts WHERE database = {d:String} AND table = 'hits' AND active",
            parameters={"d": database},
        ).result_rows
    finally:
        client.command(f"SYSTEM START MERGES {database}.hits")
    assert parts == [(100_000,)]
    assert writer.count_rows("hits", "", 0, 10, 19) == 10


def test_a_reader_never_sees_half_of_an_insert(clean: tuple[Client, str]) -> None:
    """Each insert adds +x and -x; a reader beside the writer always finds the sum zero."""
    client, database = clean
    writer = RowWriter(client, database)
    stop = threading.Event()
    seen: set[Decimal] = set()

    def read() -> None:
        while not stop.is_set():
            seen.add(scalar(client, f"SELECT sum(amount) FROM {database}.credits"))

    reader = threading.Thread(target=read)
    reader.start()
    for batch in range(15):
        rows = [row("credits", conversion_id=f"c{n}", amount="1" if n < 2000 else "-1") for n in range(4000)]
        writer.insert("credits", CREDITS_COLUMNS, rows, f"b{batch}")
    stop.set()
    reader.join()
    assert seen == {Decimal(0)}


@pytest.mark.parametrize(
    "wrong",
    [
        {"value": "twelve"},
        {"value": "1e30"},
        {"value": "123456789012345.0"},
        {"occurred_at": "yesterday"},
        {"occurred_at": None},
        {"site": None},
        {"site": ["a"]},
        {"gpc": "yes"},
        {"title": "\ud800"},
        {"title": object()},
    ],
)
def test_rows_that_do_not_fit_are_rejected_whole(clean: tuple[Client, str], wrong: dict[str, Any]) -> None:
    """One wrong value refuses the insert at once; the good row beside it is not stored."""
    client, database = clean
    with pytest.raises(Rejected):
        RowWriter(client, database).insert("hits", HITS_COLUMNS, [row("hits"), row("hits", **wrong)], "bad")
    assert scalar(client, f"SELECT count() FROM {database}.hits") == 0


def test_a_refused_insert_does_not_burn_its_token(clean: tuple[Client, str]) -> None:
    """After a rejection the corrected rows may use the same token."""
    client, database = clean
    writer = RowWriter(client, database)
    with pytest.raises(Rejected):
        writer.insert("hits", HITS_COLUMNS, [row("hits", value="x")], "same")
    writer.insert("hits", HITS_COLUMNS, [row("hits", value="1")], "same")
    assert scalar(client, f"SELECT count() FROM {database}.hits") == 1


def test_limits_and_names_are_checked_before_anything_is_sent(clean: tuple[Client, str]) -> None:
    client, database = clean
    writer = RowWriter(client, database)
    with pytest.raises(Rejected, match="1000000"):
        writer.insert("hits", HITS_COLUMNS, [()] * (MAX_ROWS + 1), "t")
    with pytest.raises(Rejected, match="token"):
        writer.insert("hits", HITS_COLUMNS, [row("hits")], "")
    with pytest.raises(Misconfigured):
        writer.insert("hits; DROP TABLE hits", HITS_COLUMNS, [row("hits")], "t")
    with pytest.raises(Misconfigured):
        RowWriter(client, "no`pe")
    with pytest.raises(Rejected):
        writer.count_rows("credits", "", 0, 0, 1)
    writer.insert("hits", HITS_COLUMNS, [], "nothing")


def test_a_missing_table_names_the_command_to_run(clean: tuple[Client, str]) -> None:
    client, database = clean
    with pytest.raises(Misconfigured, match="headwater migrate"):
        RowWriter(client, database).insert("no_such_table", ("a",), [(1,)], "t")


class _Relay(BaseHTTPRequestHandler):
    """Passes inserts on to the engine, but loses or spoils the first answers."""

    protocol_version = "HTTP/1.1"
    upstream = ""
    faults: list[str] = []
    inserts: list[tuple[str, bytes]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        is_insert = b"JSONCompactEachRow" in body[:2000]
        fault = self.faults.pop(0) if is_insert and self.faults else ""
        if is_insert:
            settings = dict(parse_qsl(urlsplit(self.path).query))
            settings.pop("query_id", "")
            self.inserts.append((str(sorted(settings.items())), body))
        if fault == "before":
            self.close_connection = True
            return
        account = {"Authorization": self.headers["Authorization"]}
        with urlopen(Request(self.upstream + self.path, data=body, headers=account)) as response:
            answer, headers = response.read(), response.headers
        if fault == "after":
            self.close_connection = True
            return
        self.send_response(503 if fault == "503" else 200)
        for name, value in headers.items():
            if name.lower() not in ("connection", "transfer-encoding", "content-length", "date", "server"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: Any) -> None:
        pass


def test_lost_answers_are_repeated_with_the_same_bytes_and_count_once(
    engine: str, clean: tuple[Client, str]
) -> None:
    """The insert works but its answer is lost, twice; then 503; then nobody hears it: still one row."""
    _, database = clean
    account, _, address = engine.rpartition("@")
    _Relay.upstream, _Relay.inserts = f"http://{address}", []
    _Relay.faults = ["after", "after", "503", "before"]
    relay = ThreadingHTTPServer(("127.0.0.1", 0), _Relay)
    threading.Thread(target=relay.serve_forever, daemon=True).start()
    try:
        client = connect(f"{account}@127.0.0.1:{relay.server_address[1]}", database)
        RowWriter(client, database).insert("hits", HITS_COLUMNS, [row("hits")], "lost")
        assert scalar(client, f"SELECT count() FROM {database}.hits") == 1
        assert scalar(client, f"SELECT sum(hits) FROM {database}.channel_metrics") == 1
        client.close()
    finally:
        relay.shutdown()
        relay.server_close()
    assert len(_Relay.inserts) >= 5
    assert len(set(_Relay.inserts)) == 1
    assert "('insert_deduplication_token', 'lost')" in _Relay.inserts[0][0]
    assert "('async_insert', '0')" in _Relay.inserts[0][0]


def test_nobody_there_is_transient_within_the_deadline(engine: str) -> None:
    """A closed port: connecting gives up in time and says that it may work later."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(Transient):
        connect(f"http://127.0.0.1:{port}", "x", wait=0.2)


def test_a_server_that_goes_away_makes_the_writer_give_up_as_transient(
    engine: str, clean: tuple[Client, str]
) -> None:
    _, database = clean
    waited: list[float] = []
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        waited.append(seconds)
        now += seconds

    other = connect(engine, database)
    other._backend._base_url = "http://127.0.0.1:9/"
    with pytest.raises(Transient):
        RowWriter(other, database, deadline=5.0, sleep=sleep, clock=lambda: now).insert(
            "hits", HITS_COLUMNS, [row("hits", occurred_at=NOON + HOUR)], "t"
        )
    assert waited[:4] == [0.05, 0.1, 0.2, 0.4]
    assert sum(waited) < 5.0


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:8123", "tcp://h:9000", "http://h:port", "http://h/db", "http://"]
)
def test_a_url_that_is_none_is_misconfigured(url: str) -> None:
    with pytest.raises(Misconfigured, match="HEADWATER_CLICKHOUSE"):
        connect(url, "x", wait=0)


def test_a_password_never_reaches_the_message() -> None:
    with pytest.raises(Misconfigured) as caught:
        connect("http://me:s3cret@h:port", "x", wait=0)
    assert "s3cret" not in str(caught.value)
