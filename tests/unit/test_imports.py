"""Bulk readers: what becomes of each line, how errors read, and that an import can be repeated."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from attribution.errors import Misconfigured
from runtime.imports.access_log import guess_base_url, read_access_log, visitor_of
from runtime.imports.lines import MAX_LINE_BYTES, Dropped, LineIds, LineReader, Outcome, Parsed, Refused
from runtime.imports.readers import parse_instant, read_hits
from runtime.imports.run import import_files

SHARED_LOG = Path(__file__).parents[2] / ".." / "shared" / "data" / "access_log" / "combined.log.gz"
GOOD_LINE = (
    '203.0.113.9 - - [17/May/2015:10:05:03 +0200] "GET /a/b.html?utm_source=x HTTP/1.1" 200 512 '
    '"https://www.google.com/" "Mozilla/5.0 (X11)"'
)


def _file(tmp_path: Path, name: str, text: str | bytes) -> LineReader:
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return LineReader(path)


def _log(tmp_path: Path, *lines: str) -> list[Outcome]:
    reader = _file(tmp_path, "access.log", "\n".join(lines))
    return list(read_access_log(reader, "https://www.example.com", "salt"))


def _fields(outcome: Outcome) -> dict[str, Any]:
    assert isinstance(outcome, Parsed), outcome
    return outcome.fields


def _request(request: str, status: int = 200) -> str:
    return GOOD_LINE.replace("GET /a/b.html?utm_source=x HTTP/1.1", request).replace('" 200 ', f'" {status} ')


# --- access logs


def test_log_line_becomes_a_page_view(tmp_path: Path) -> None:
    """All that the line says, with its own zone."""
    (outcome,) = _log(tmp_path, GOOD_LINE)
    fields = _fields(outcome)
    assert fields["event"] == "page_view"
    assert fields["occurred_at"] == 1_431_849_903_000
    assert fields["url"] == "https://www.example.com/a/b.html?utm_source=x"
    assert fields["referrer"] == "https://www.google.com/"
    assert fields["user_agent"] == "Mozilla/5.0 (X11)"
    assert "203.0.113.9" not in json.dumps(fields)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (_request("POST /form HTTP/1.1"), "not_get"),
        (_request("HEAD / HTTP/1.1"), "not_get"),
        (_request("GET /gone HTTP/1.1", 404), "error_status"),
        (_request("GET /gone.png HTTP/1.1", 500), "error_status"),
        (_request("GET /old HTTP/1.1", 301), "redirect"),
        (_request("GET /style.css?v=3 HTTP/1.1"), "asset"),
        (_request("GET /a.b/LOGO.PNG HTTP/1.1"), "asset"),
        (_request("GET /robots.txt HTTP/1.1"), "asset"),
        (_request("GET /favicon.ico HTTP/1.1"), "asset"),
        (_request("GET /index.rss HTTP/1.1"), "feed"),
        (_request("GET /blog/feed/ HTTP/1.1"), "feed"),
        (_request("GET /?flav=rss20 HTTP/1.1"), "feed"),
        (_request("GET /paper.pdf HTTP/1.1"), "download"),
        (_request("GET /v1.2.tar.gz HTTP/1.1"), "download"),
        (GOOD_LINE.replace("Mozilla/5.0 (X11)", "curl/8.5.0"), "http_library"),
    ],
)
def test_log_line_that_is_no_page_view_is_dropped_by_name(tmp_path: Path, line: str, reason: str) -> None:
    """One test per reason; the first that fits counts."""
    assert _log(tmp_path, line) == [Dropped(1, reason)]


@pytest.mark.parametrize(
    "request_line",
    [
        "GET / HTTP/1.1",
        "GET /logstash-1.4.0 HTTP/1.1",
        "GET /page.html HTTP/1.0",
        "GET /feeding HTTP/1.1",
        "GET /a b",
    ],
)
def test_log_line_that_is_a_page_view_is_kept(tmp_path: Path, request_line: str) -> None:
    """A dot in a name is no file ending, a raw space in a target no reason to lose it."""
    (outcome,) = _log(tmp_path, _request(request_line))
    assert (
        _fields(outcome)["url"] == "https://www.example.com" + request_line.split(" ", 1)[1].split(" HTTP")[0]
    )


def test_not_modified_is_a_page_view(tmp_path: Path) -> None:
    """304: the page was looked at again."""
    assert isinstance(_log(tmp_path, _request("GET /a HTTP/1.1", 304))[0], Parsed)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "garbage",
        GOOD_LINE[:-1],
        GOOD_LINE.replace("17/May/2015", "41/May/2015"),
        GOOD_LINE.replace("17/May/2015", "17/Foo/2015"),
        GOOD_LINE.replace("+0200", "+9999"),
        GOOD_LINE.replace('"GET /a/b.html?utm_source=x HTTP/1.1"', '"-"'),
        GOOD_LINE.replace('"GET /a/b.html?utm_source=x HTTP/1.1"', r'"\x16\x03\x01\x02"'),
        GOOD_LINE.replace(" 200 ", " xyz "),
        "\x00" * 100,
    ],
)
def test_malformed_log_line_is_refused_with_a_remedy(tmp_path: Path, line: str) -> None:
    """And the lines around it are kept."""
    before, refused, after = _log(tmp_path, GOOD_LINE, line, GOOD_LINE.replace(":03 ", ":04 "))
    assert isinstance(before, Parsed)
    assert isinstance(after, Parsed)
    assert isinstance(refused, Refused)
    assert refused.number == 2
    assert refused.reason == "malformed_line"
    assert len(refused.remedy) > 20


def test_escapes_of_the_servers_are_undone(tmp_path: Path) -> None:
    r"""``\"`` in a user agent, ``\xhh`` in a referrer."""
    line = GOOD_LINE.replace("Mozilla/5.0 (X11)", r"Evil \"quoted\" \\ agent").replace(
        "https://www.google.com/", r"https://b\xc3\xbccher.example/\xff"
    )
    fields = _fields(_log(tmp_path, line)[0])
    assert fields["user_agent"] == 'Evil "quoted" \\ agent'
    assert fields["referrer"] == "https://bücher.example/\ufffd"


def test_referrer_that_is_no_web_address_is_left_out(tmp_path: Path) -> None:
    """``-`` means none; a script is no referrer."""
    for referrer in ("-", "javascript:alert(1)", "android-app://com.x", "http://[::1"):
        fields = _fields(_log(tmp_path, GOOD_LINE.replace("https://www.google.com/", referrer))[0])
        assert "referrer" not in fields


def test_identical_lines_are_two_hits_and_the_same_two_again(tmp_path: Path) -> None:
    """Safe to repeat: a second import of the file makes no new id."""
    first = [_fields(o)["event_id"] for o in _log(tmp_path, GOOD_LINE, GOOD_LINE, GOOD_LINE)]
    assert len(set(first)) == 3
    assert first == [_fields(o)["event_id"] for o in _log(tmp_path, GOOD_LINE, GOOD_LINE, GOOD_LINE)]
    assert first[:1] == [_fields(o)["event_id"] for o in _log(tmp_path, "other line", GOOD_LINE)[1:]]


def test_visitor_is_address_and_browser_unlinkable_between_sites() -> None:
    """Another address, browser or site: another visitor."""
    ids = {
        visitor_of("a", "b", "s"),
        visitor_of("x", "b", "s"),
        visitor_of("a", "x", "s"),
        visitor_of("a", "b", "x"),
    }
    assert len(ids) == 4
    assert visitor_of("a", "b", "s") == visitor_of("a", "b", "s")


def test_site_is_guessed_from_the_referrers_whose_pages_the_log_served(tmp_path: Path) -> None:
    """Not from the most frequent referrer, which may be a search engine."""
    own = GOOD_LINE.replace("https://www.google.com/", "http://shop.example/a/b.html?utm_source=x")
    page = GOOD_LINE.replace("?utm_source=x", "")
    reader = _file(tmp_path, "a.log", "\n".join([GOOD_LINE] * 5 + [page, own, own]))
    assert guess_base_url(reader) == "http://shop.example"
    with pytest.raises(Misconfigured, match="--base-url"):
        guess_base_url(_file(tmp_path, "b.log", GOOD_LINE))


def test_ten_thousand_real_lines_each_end_in_one_place() -> None:
    """Apache's combined log of a real website: the counts add up and are the known ones."""
    if not SHARED_LOG.exists():
        pytest.skip("../shared/data/access_log/combined.log.gz is not here")
    reader = LineReader(SHARED_LOG)
    base_url = guess_base_url(reader)
    assert base_url == "http://www.semicomplete.com"
    outcomes = list(read_access_log(reader, base_url, "salt"))
    assert [outcome.number for outcome in outcomes] == list(range(1, 10_001))
    counts = Counter(getattr(outcome, "reason", "page_view") for outcome in outcomes)
    assert counts["malformed_line"] == 1
    assert counts["not_get"] == 48
    assert sum(counts.values()) == 10_000
    kept = [outcome.fields for outcome in outcomes if isinstance(outcome, Parsed)]
    assert len({fields["event_id"] for fields in kept}) == len(kept) == counts["page_view"]
    assert 2_000 < len(kept) < 4_000
    assert reader.tell() == reader.size


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_parsed_dropped_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """No line raises: one outcome for each line."""
    line = GOOD_LINE.replace("/a/b.html?utm_source=x", text)
    reader = _file(tmp_path_factory.mktemp("log"), "a.log", line.encode("utf-8", "surrogatepass"))
    outcomes = list(read_access_log(reader, "https://www.example.com", "salt"))
    assert len(outcomes) == len(list(reader))


# --- lines


def test_gzip_is_known_by_its_bytes_and_progress_reaches_the_end(tmp_path: Path) -> None:
    """Whatever the file is called."""
    reader = _file(tmp_path, "plain-name.log", gzip.compress(b"a\r\nb\nc"))
    assert list(reader) == [(1, b"a"), (2, b"b"), (3, b"c")]
    assert reader.tell() == reader.size


@pytest.mark.parametrize("cut", [12, -4])
def test_damaged_gzip_says_how_far_it_was_read(tmp_path: Path, cut: int) -> None:
    """And that a repeat is safe."""
    reader = _file(tmp_path, "a.log.gz", gzip.compress(b"line\n" * 5_000)[:cut])
    with pytest.raises(Misconfigured, match="nothing counts twice"):
        list(reader)


def test_missing_file_is_a_wrong_use(tmp_path: Path) -> None:
    """Before anything is sent."""
    with pytest.raises(Misconfigured, match="Cannot read"):
        LineReader(tmp_path / "none.csv")


def test_endless_line_is_refused_without_being_read_into_memory(tmp_path: Path) -> None:
    """The next line is whole again."""
    reader = _file(tmp_path, "a.jsonl", b"x" * (3 * MAX_LINE_BYTES) + b"\n" + b"y\n")
    assert [(n, len(line)) for n, line in reader] == [(1, MAX_LINE_BYTES + 1), (2, 1)]
    refused, _ = read_hits(reader)
    assert isinstance(refused, Refused)
    assert refused.reason == "too_long"


def test_line_ids_number_identical_lines() -> None:
    """First without a number, so that an id does not depend on what follows."""
    ids = LineIds("csv")
    first, second = ids.next_id(b"a"), ids.next_id(b"a")
    assert second == first + "-2"
    assert ids.next_id(b"b") != first


# --- CSV and JSONL


def test_csv_row_becomes_a_hit(tmp_path: Path) -> None:
    """Empty cells are absent; props.* are properties; money stays text; a quoted line break stays."""
    text = (
        "visitor_id,occurred_at,event,value,currency,order_id,title,props.plan\r\n"
        'v1,2026-10-01T12:00:00+02:00,purchase,19.90,EUR,A-1,"two\nlines",pro\r\n'
        "v2,1790000000000,,,,,,\r\n"
    )
    first, second = read_hits(_file(tmp_path, "hits.csv", text))
    assert _fields(first) == {
        "visitor_id": "v1",
        "occurred_at": 1_790_848_800_000,
        "event": "purchase",
        "value": "19.90",
        "currency": "EUR",
        "order_id": "A-1",
        "title": "two\nlines",
        "props": {"plan": "pro"},
        "event_id": _fields(first)["event_id"],
    }
    assert set(_fields(second)) == {"visitor_id", "occurred_at", "event_id"}
    assert second.number == 4


def test_wrong_csv_line_names_line_field_and_remedy_and_the_rest_is_kept(tmp_path: Path) -> None:
    """Each kind of wrong among good lines."""
    lines = [
        "visitor_id,occurred_at,url",
        "v1,2026-10-01,https://a.example/",
        ",2026-10-01,https://a.example/",
        "v1,yesterday,https://a.example/",
        "v1,2026-10-01,https://a.example/,one too many",
        'v1,2026-10-01,"never closed',
        "v2,2026-10-01,https://a.example/",
    ]
    outcomes = list(read_hits(_file(tmp_path, "hits.csv", "\n".join(lines))))
    kinds = [(o.number, getattr(o, "field", None), getattr(o, "reason", None)) for o in outcomes]
    assert kinds == [
        (2, None, None),
        (3, "visitor_id", "missing_field"),
        (4, "occurred_at", "bad_time"),
        (5, "", "malformed_line"),
        (6, "", "malformed_line"),
        (7, None, None),
    ]
    assert all(o.remedy for o in outcomes if isinstance(o, Refused))


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("visitor_id,occurred_at,utm_source", "props.utm_source"),
        ("visitor_id", "occurred_at"),
        ("occurred_at,url", "visitor_id"),
        ("visitor_id,occurred_at,url,url", "twice"),
    ],
)
def test_header_that_cannot_be_used_is_a_wrong_use(tmp_path: Path, header: str, message: str) -> None:
    """Said once, with the remedy, not once per line."""
    with pytest.raises(Misconfigured, match=message):
        list(read_hits(_file(tmp_path, "hits.csv", header + "\nx,y\n")))


def test_csv_with_byte_order_mark_is_read(tmp_path: Path) -> None:
    """As spreadsheets save it."""
    text = b"\xef\xbb\xbfvisitor_id,occurred_at\nv1,2026-10-01\n"
    assert len(list(read_hits(_file(tmp_path, "hits.csv", text)))) == 1


def test_sent_at_of_an_import_is_left_out(tmp_path: Path) -> None:
    """The collector would take the years since then for a wrong clock."""
    row = '{"visitor_id": "v", "occurred_at": 1790000000000, "sent_at": 1790000000100}'
    (outcome,) = read_hits(_file(tmp_path, "hits.jsonl", row))
    assert "sent_at" not in _fields(outcome)


def test_jsonl_row_becomes_a_hit(tmp_path: Path) -> None:
    """Numbers of money keep their digits; own event ids are kept; empty lines are nothing."""
    row = (
        '{"visitor_id": "v", "occurred_at": 1790000000000, "value": 10.10, "event_id": "mine",'
        ' "props": {"a": [1, 1.50, null, true, "\\ud83d\\ude00"], "b": 1e999}}'
    )
    (outcome,) = read_hits(_file(tmp_path, "hits.jsonl", f"\n{row}\n\n"))
    fields = _fields(outcome)
    assert fields["value"] == "10.10"
    assert fields["event_id"] == "mine"
    assert fields["props"] == {"a": [1, 1.5, None, True, "😀"], "b": "1E+999"}
    json.dumps(fields)


@pytest.mark.parametrize(
    ("line", "reason", "field"),
    [
        ("{", "malformed_line", ""),
        ("[1]", "malformed_line", ""),
        ('"text"', "malformed_line", ""),
        ("[" * 5_000, "malformed_line", ""),
        ('{"visitor_id": "v", "occurred_at": 1}', "bad_time", "occurred_at"),
        ('{"visitor_id": "v", "occurred_at": NaN}', "bad_time", "occurred_at"),
        ('{"visitor_id": "v", "occurred_at": 1e999}', "bad_time", "occurred_at"),
        ('{"visitor_id": {"a": 1}, "occurred_at": 1790000000000}', "wrong_type", "visitor_id"),
        ('{"visitor_id": "\\ud800", "occurred_at": 1790000000000}', "not_utf8", ""),
        ('{"visitor_id": "v", "occurred_at": 1790000000000, "props": 3}', "bad_props", "props"),
        ('{"visitor_id": "v", "occurred_at": 1790000000000, "colour": "red"}', "unknown_field", "colour"),
    ],
)
def test_wrong_jsonl_line_is_refused(tmp_path: Path, line: str, reason: str, field: str) -> None:
    """By reason and field, and the next line is kept."""
    good = '{"visitor_id": "v", "occurred_at": 1790000000000}'
    refused, kept = read_hits(_file(tmp_path, "hits.jsonl", f"{line}\n{good}\n"))
    assert isinstance(refused, Refused)
    assert (refused.reason, refused.field) == (reason, field)
    assert isinstance(kept, Parsed)


def test_invalid_utf8_is_refused_by_line(tmp_path: Path) -> None:
    """The bytes are kept, escaped."""
    good = b'{"visitor_id": "v", "occurred_at": 1790000000000}'
    refused, kept = read_hits(_file(tmp_path, "hits.jsonl", b'{"title": "\xff"}\n' + good))
    assert isinstance(refused, Refused)
    assert refused.reason == "not_utf8"
    assert "\\xff" in refused.raw
    assert isinstance(kept, Parsed)


def test_parquet_is_read_where_pyarrow_is(tmp_path: Path) -> None:
    """Instants with their unit, decimals with their digits, nulls absent."""
    pa = pytest.importorskip("pyarrow", reason="Parquet needs pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    from datetime import UTC, datetime
    from decimal import Decimal

    moment = datetime(2026, 10, 1, 12, tzinfo=UTC)
    table = pa.table(
        {
            "visitor_id": ["v", None],
            "occurred_at": [moment, moment],
            "value": [Decimal("19.90"), None],
            "url": ["", "u"],
        }
    )
    path = tmp_path / "hits.parquet"
    parquet.write_table(table, path)
    first, second = read_hits(LineReader(path))
    assert _fields(first)["occurred_at"] == int(moment.timestamp() * 1000)
    assert _fields(first)["value"] == "19.90"
    assert isinstance(second, Refused)
    assert second.field == "visitor_id"


def test_unknown_format_is_a_wrong_use(tmp_path: Path) -> None:
    """With the names that are understood."""
    with pytest.raises(Misconfigured, match="jsonl"):
        list(read_hits(_file(tmp_path, "hits.xlsx", "x")))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-10-01T00:00:00Z", 1_790_812_800_000),
        ("2026-10-01T00:00:00", 1_790_812_800_000),
        ("2026-10-01T02:00:00.5+02:00", 1_790_812_800_500),
        ("1790812800000", 1_790_812_800_000),
        (1_790_812_800_000, 1_790_812_800_000),
        ("1790812800", None),
        (1_790_812_800_000_000, None),
        ("", None),
        ("12:00", None),
        (None, None),
        (float("nan"), None),
        (-1, None),
    ],
)
def test_instants(value: object, expected: int | None) -> None:
    """Seconds and microseconds are refused rather than taken for milliseconds."""
    assert parse_instant(value) == expected


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.sampled_from(["hits.csv", "hits.jsonl"]))
def test_any_bytes_are_judged_line_by_line(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, name: str
) -> None:
    """Noise between good lines never raises and never costs the first good line."""
    good = {
        "hits.csv": b"visitor_id,occurred_at\nv,2026-10-01\n",
        "hits.jsonl": b'{"visitor_id": "v", "occurred_at": 1790000000000}\n',
    }[name]
    reader = _file(tmp_path_factory.mktemp("noise"), name, good + noise)
    if noise[:2] != b"\x1f\x8b":
        outcomes = list(read_hits(reader))
        assert isinstance(outcomes[0], Parsed)


@pytest.mark.parametrize(
    ("kind", "bad_file", "base_url", "message"),
    [
        ("hits", ("b.csv", "visitor_id,when\nv,1\n"), None, "unknown column 'when'"),
        ("hits", ("b.txt", "x"), None, "Cannot tell the format"),
        ("hits", ("b.parquet", "no Parquet"), None, "[Pp]arquet"),
        ("log", ("b.log", GOOD_LINE), "foo", "foo is no address of a website"),
        ("log", ("b.log", GOOD_LINE), "https://", "https:// is no address of a website"),
    ],
)
async def test_what_is_wrong_with_any_file_is_told_before_anything_is_sent(
    tmp_path: Path, kind: str, bad_file: tuple[str, str], base_url: str | None, message: str
) -> None:
    """Nothing listens at the addresses: an attempt to send would fail otherwise."""
    good = _file(
        tmp_path, "a.csv" if kind == "hits" else "a.log", "visitor_id,occurred_at\nv,2026-10-01\n"
    ).path
    bad = _file(tmp_path, *bad_file).path
    nowhere = {"collector": "http://127.0.0.1:1", "clickhouse": "http://127.0.0.1:1", "site_key": "s"}
    with pytest.raises(Misconfigured, match=message):
        await import_files(
            kind, [good, bad], nowhere, data_dir=tmp_path, console=Console(quiet=True), base_url=base_url
        )
