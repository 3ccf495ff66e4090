"""Where a statement ends and its data begins."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.embedded.engine_sql import Refused, split_request


def test_insert_is_cut_before_its_settings_and_its_data_kept_to_the_byte() -> None:
    statement = split_request(
        b"", b"INSERT INTO d.t (a, `b c`) SETTINGS x='FORMAT' FORMAT Native\n\x00\n\xff;"
    )
    assert statement.head == b"INSERT INTO d.t (a, `b c`) "
    assert statement.settings == b"SETTINGS x='FORMAT' "
    assert (statement.format, statement.data) == ("Native", b"\x00\n\xff;")
    assert statement.insert_from("/f", b"y = '1', x = '2'").split() == (
        b"INSERT INTO d.t (a, `b c`) FROM INFILE '/f' SETTINGS y = '1', x = '2', x='FORMAT' FORMAT Native".split()
    )


def test_an_insert_that_says_nothing_of_settings_gets_those_of_the_request() -> None:
    statement = split_request(b"", b"INSERT INTO t FORMAT CSV\n1")
    assert statement.insert_from("/f", b"y = '1'").split() == (
        b"INSERT INTO t FROM INFILE '/f' SETTINGS y = '1' FORMAT CSV".split()
    )


@given(data=st.binary(max_size=200))
def test_data_beside_a_statement_in_the_url_is_never_touched(data: bytes) -> None:
    statement = split_request(b"INSERT INTO t FORMAT RowBinary", data)
    assert (statement.format, statement.data) == ("RowBinary", data)


@given(data=st.binary(max_size=200))
def test_data_after_the_line_end_is_never_touched(data: bytes) -> None:
    assert split_request(b"", b"insert into t format RowBinary\n" + data).data == data


@given(text=st.binary(max_size=100))
def test_any_bytes_are_a_statement_or_refused(text: bytes) -> None:
    with suppress(Refused):
        assert split_request(b"", text).head


@given(text=st.text("ab;'`\"\\$-/*# \n", max_size=30))
def test_a_quoted_semicolon_is_no_second_statement(text: str) -> None:
    """However the text inside is written, quoting it as ClickHouse does keeps it one statement."""
    quoted = "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
    assert split_request(b"", f"SELECT {quoted}".encode()).head == f"SELECT {quoted}".encode()


@pytest.mark.parametrize(
    "text",
    [
        b"SELECT 1; SELECT 2",
        b"SELECT 1; DROP TABLE t",
        b"INSERT INTO t SELECT 1; DROP TABLE t",
        b"SELECT 'a\\'; -- '; DROP TABLE t",
        b"SELECT 1 /* ; */ ; DROP TABLE t",
    ],
)
def test_a_second_statement_is_refused(text: bytes) -> None:
    with pytest.raises(Refused, match="Multi-statements"):
        split_request(b"", text)


@pytest.mark.parametrize(
    "text", [b"exit", b"Quit;", b"q", b"\\q", b":q", b"\xff SELECT 1", b"\xd0\xb9", b"'a'", b"1"]
)
def test_what_begins_with_no_statement_is_no_silent_success(text: bytes) -> None:
    with pytest.raises(Refused, match="Syntax error"):
        split_request(b"", text)


@pytest.mark.parametrize(
    "text", [b"SELECT 1;", b"SELECT 1 ; ;\n -- end", b"SELECT $$;$$", b"SELECT $x$;$$;$x$", b"SELECT '; --'"]
)
def test_one_statement_may_end_in_a_semicolon(text: bytes) -> None:
    assert split_request(b"", text).verb == "SELECT"


@pytest.mark.parametrize("text", [b"", b"  \n", b"-- nothing", b"/* nothing"])
def test_an_empty_request_is_refused(text: bytes) -> None:
    with pytest.raises(Refused, match="Empty query"):
        split_request(b"", text)


@pytest.mark.parametrize(
    "text", [b"INSERT INTO t FROM INFILE '/etc/passwd' FORMAT CSV", b"SELECT 1 INTO OUTFILE '/tmp/x'"]
)
def test_files_of_the_server_are_refused(text: bytes) -> None:
    with pytest.raises(Refused, match="disk"):
        split_request(b"", text)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (b"SELECT 1 FORMAT JSON", "JSON"),
        (b"SELECT 1 format Native;", "Native"),
        (b"SELECT 1 FORMAT JSON SETTINGS max_threads = 1", "JSON"),
        (b"SELECT format FROM t", ""),
        (b"SELECT (SELECT 1 FORMAT x)", ""),
        (b"SELECT ' FORMAT JSON'", ""),
        (b"SHOW TABLES", ""),
    ],
)
def test_the_named_format_is_found(text: bytes, named: str) -> None:
    assert split_request(b"", text).format == named


@pytest.mark.parametrize(
    ("text", "data"),
    [
        (b"INSERT INTO t VALUES (1, ';')", b" (1, ';')"),
        (b"insert into db.values values(1)", b"(1)"),
        (b"INSERT INTO TABLE FUNCTION f('x') (a) FORMAT CSV 1\n2", b"1\n2"),
        (b"INSERT INTO t FORMAT CSV\r\n1", b"1"),
        (b"INSERT INTO t FORMAT CSV\n\n1", b"\n1"),
        (b"INSERT INTO t SELECT 1 FORMAT CSV", None),
        (b"INSERT INTO t WITH 1 AS x SELECT x", None),
    ],
)
def test_the_data_of_an_insert(text: bytes, data: bytes | None) -> None:
    assert split_request(b"", text).data == data


def test_a_statement_may_begin_in_the_url_and_end_in_the_body() -> None:
    assert split_request(b"SELECT", b"1").head == b"SELECT\n1"
    assert split_request(b"INSERT INTO t (a)", b"VALUES (1)").data == b" (1)"


@pytest.mark.parametrize(
    ("text", "head"),
    [
        (b"DROP TABLE t SYNC", b"DROP TABLE t "),
        (b"drop database d no delay;", b"drop database d "),
        (b"DROP TABLE `SYNC`", b"DROP TABLE `SYNC`"),
        (b"SYSTEM SYNC REPLICA t", b"SYSTEM SYNC REPLICA t"),
    ],
)
def test_a_drop_does_not_wait_for_files_that_are_deleted_later(text: bytes, head: bytes) -> None:
    assert split_request(b"", text).head == head
