"""HTTP does not depend on where the network cuts it, and no bytes whatever upset the collector."""

from __future__ import annotations

import asyncio
import re
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from attribution.hit import Hit, decode_envelope
from collector.app import CollectorApp, create_app
from collector.config import CollectorConfig
from collector.connection import Connection
from collector.metrics import Counted
from collector.reception import Reception

_DATE = re.compile(rb"\r\ndate: [^\r]+")
_ANSWER = re.compile(rb"HTTP/1\.1 \d\d\d ")


class Transport:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.written = b""
        self.is_closed = self.is_paused = False

    def get_extra_info(self, name: str) -> Any:
        return ("127.0.0.1", 5)

    def write(self, data: bytes) -> None:
        assert not self.is_closed
        self.written += data

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    def write_eof(self) -> None:
        self.is_closed = True

    close = abort = write_eof


async def talk(pieces: list[bytes]) -> tuple[bytes, list[Hit], CollectorApp]:
    """Answers, kept hits and the app after a client has sent ``pieces``, each as the network may bring it."""
    with tempfile.TemporaryDirectory() as folder:
        config = CollectorConfig(
            sites=frozenset({"shop"}), spool_dir=Path(folder), rate_per_second=0, cookie_secure=False
        )
        app = create_app(config)
        kept: list[bytes] = []

        def append(partition: int, hit: bytes) -> asyncio.Future[None]:
            durable = asyncio.get_running_loop().create_future()
            kept.append(hit)
            asyncio.get_running_loop().call_soon(durable.set_result, None)
            return durable

        def append_all(hits: Any) -> asyncio.Future[None]:
            return [append(*hit) for hit in hits][-1]

        app.spool.append = append  # type: ignore[method-assign]
        app.spool.append_all = append_all  # type: ignore[method-assign]
        connection, transport = Connection(Reception(app, 1)), Transport()
        connection.connection_made(transport)  # type: ignore[arg-type]

        async def is_heard() -> bool:
            """A loop brings neither bytes nor the end of them while reading is paused."""
            while transport.is_paused and not transport.is_closed:
                await asyncio.sleep(0)
            return not transport.is_closed

        for piece in pieces:
            if await is_heard():
                connection.data_received(piece)
        for _ in range(50):
            await asyncio.sleep(0)
        if await is_heard():  # it has read its answers, or it never will
            connection.eof_received()
        for _ in range(50):
            await asyncio.sleep(0)
        connection.connection_lost(None)
        return _DATE.sub(b"", transport.written), decode_envelope(b"[" + b",".join(kept) + b"]"), app


_names = st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,12}", fullmatch=True).filter(
    lambda name: (
        name.lower() not in {"connection", "upgrade", "expect", "host", "x-forwarded-for"}
        and not name.lower().startswith(("content-", "transfer-"))
    )
)
_texts = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0x2FF, exclude_characters="\x7f"), max_size=30
)
_headers = st.lists(st.tuples(_names, _texts), max_size=5)


def _lines(headers: list[tuple[str, str]]) -> bytes:
    return "".join(f"{name}: {text.strip()}\r\n" for name, text in headers).encode()


@st.composite
def pixels(draw: st.DrawFn) -> bytes:
    form = draw(st.sampled_from(["", "http://shop.example"]))
    title = quote(draw(st.text(st.characters(exclude_categories=["Cs"]), max_size=10)))
    target = f"{form}/p.gif?site={draw(st.sampled_from(['shop', 'x']))}&visitor_id=v&event_id=e&title={title}"
    length = draw(st.sampled_from([b"", b"content-length: 0\r\n", b"content-length: 3\r\n"]))
    head = f"GET {target} HTTP/1.1\r\nhost: x\r\n".encode() + length + _lines(draw(_headers)) + b"\r\n"
    return head + (b"abc" if b"3" in length else b"")


@st.composite
def posts(draw: st.DrawFn) -> bytes:
    event = {"site": "shop", "userId": "u" + draw(_texts), "event_id": "e", "event": draw(_texts)}
    body = msgspec.json.encode(event)
    wish = draw(st.sampled_from([b"", b"Connection: Upgrade\r\nUpgrade: h2c\r\n"]))
    head = b"POST /v1/track HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" + wish
    if draw(st.booleans()):
        return head + b"Content-Length: %d\r\n" % len(body) + _lines(draw(_headers)) + b"\r\n" + body
    cuts = sorted(draw(st.lists(st.integers(1, len(body) - 1), max_size=3, unique=True)))
    chunks = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    coded = b"".join(b"%x;a=b\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n"
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + coded + _lines(draw(_headers)) + b"\r\n"


_others = st.sampled_from(
    [
        b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n",
        b"\r\nOPTIONS /v1/track HTTP/1.1\r\nhost: x\r\n\r\n",
        b"HEAD /p.gif HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /nothing HTTP/1.1\r\nhost: x\r\n\r\n",
    ]
)


def _cut(data: bytes, borders: list[int]) -> list[bytes]:
    at = sorted({border % (len(data) + 1) for border in borders} | {0, len(data)})
    return [data[a:b] for a, b in pairwise(at)]


@given(st.lists(pixels() | posts() | _others, min_size=1, max_size=5), st.lists(st.integers(0), max_size=30))
@settings(max_examples=100, deadline=None)
def test_answers_and_hits_do_not_depend_on_where_the_requests_are_cut(
    requests: list[bytes], borders: list[int]
) -> None:
    data = b"".join(requests)
    whole, whole_hits, _ = asyncio.run(talk([data]))
    cut, cut_hits, app = asyncio.run(talk(_cut(data, borders)))
    assert len(_ANSWER.findall(whole)) == len(requests)
    assert cut == whole

    def said(hits: list[Hit]) -> list[tuple[str, ...]]:
        return sorted((hit.event, hit.title, hit.user_id, hit.user_agent, hit.url) for hit in hits)

    assert said(cut_hits) == said(whole_hits)
    assert not [key for key in app.metrics._counts if "incomplete" in key[1] or "bad_http" in key[1]]


@given(
    st.lists(pixels() | posts() | _others, min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(0), st.binary(max_size=5)), min_size=1, max_size=4),
    st.lists(st.integers(0), max_size=10),
)
@settings(max_examples=100, deadline=None)
def test_spoilt_requests_are_answered_or_counted_and_upset_nobody(
    requests: list[bytes], spoilt: list[tuple[int, bytes]], borders: list[int]
) -> None:
    data = b"".join(requests)
    for at, other in spoilt:
        at %= len(data)
        data = data[:at] + other + data[at + len(other) // 2 :]
    written, _, app = asyncio.run(talk(_cut(data, borders)))
    counts = {key[1]: count for key, count in app.metrics._counts.items() if key[0] is Counted.rejected}
    assert not [key for key in counts if "internal" in key]
    refused = sum(count for key, count in counts.items() if "incomplete" not in key)
    assert len(_ANSWER.findall(written)) >= refused


_heads = st.sampled_from(
    [
        b" HTTP/1.1\r\nhost: x\r\n\r\n",
        b" HTTP/1.1\r\nhost: x\r\nUser-Agent: Mozilla/5.0\r\nCookie: hw_vid=abcdefgh\r\nSec-GPC: 1\r\n\r\n",
        b" HTTP/1.1\r\nhost: x\r\nReferer: https://shop.example/a\r\nDNT: 1\r\n\r\n",
        b" HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        b" HTTP/1.1\r\nhost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        b" HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n",
        b" HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\n\r\n\r\n",
        b" HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b" HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n",
        b" HTTP/1.1\r\nhost: x\r\nhost: x\r\n\r\n",
        b" HTTP/1.1\r\nhost: x\n\n",
        b" HTTP/1.1\r\nhost: x\r\nCookie: hw_vid=12345678",
        b" HTTP/1.1\r\n\r\n",
        b" HTTP/1.0\r\nhost: x\r\nconnection: keep-alive\r\n\r\n",
        b" HTTP/1.0\r\n\r\n",
        b"\r\n\r\n",
    ]
)
_queries = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=20).map(str.encode) | (
    st.binary(max_size=4)
)


def _said_and_counted(pieces: list[bytes]) -> tuple[bytes, list[Hit], dict[Any, float]]:
    written, hits, app = asyncio.run(talk(pieces))
    counts = {key: count for key, count in app.metrics._counts.items() if key[0] is Counted.rejected}
    return written, [msgspec.structs.replace(hit, received_at=0, occurred_at=0) for hit in hits], counts


def _cut_in_the_query(requests: list[bytes]) -> list[bytes]:
    return [part for request in requests for part in (request[:20], request[20:])]


def test_what_begins_like_a_known_head_or_only_looks_like_one_is_parsed() -> None:
    start, head = b"GET /p.gif?site=shop&event_id=e&visitor_id=v&title=", b" HTTP/1.1\r\nhost: x\r\n\r\n"
    two, other = start + b"1" + head + start + b"2" + head, start + b"3" + head + start + b"2" + head
    body = start + b"4" + head
    post = b"POST /v1/track HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body)
    for requests in ([two, other], [body, post, body, body], [body, b"\r\n", body, b"GET /p.gif?", body]):
        assert _said_and_counted(requests) == _said_and_counted(_cut_in_the_query(requests))


@given(st.lists(_heads, min_size=1, max_size=2), st.lists(st.tuples(_queries, st.booleans()), max_size=4))
@settings(max_examples=200, deadline=None)
def test_a_head_that_is_known_is_read_as_it_was_the_first_time(
    heads: list[bytes], queries: list[tuple[bytes, bool]]
) -> None:
    """A request that comes in two pieces is parsed; one that comes whole may be recognised."""
    start = b"GET /p.gif?site=shop&event_id=e&visitor_id=v&"
    requests = [start + b"title=1" + heads[0]]
    requests += [start + query + heads[is_other % len(heads)] for query, is_other in queries]
    assert _said_and_counted(requests) == _said_and_counted(_cut_in_the_query(requests))


def test_no_byte_is_taken_for_a_query_because_the_head_is_known() -> None:
    head = b" HTTP/1.1\r\nhost: x\r\n\r\n"
    for byte in range(256):
        start = b"GET /p.gif?site=shop&event_id=e&visitor_id=v&title="
        requests = [start + b"1" + head, start + b"a" + bytes([byte]) + b"b" + head, start + b"3" + head]
        assert _said_and_counted(requests) == _said_and_counted(_cut_in_the_query(requests)), byte


@given(st.lists(st.binary(max_size=200), max_size=5))
@settings(max_examples=100, deadline=None)
def test_any_bytes_upset_nobody(pieces: list[bytes]) -> None:
    written, hits, app = asyncio.run(talk(pieces))
    assert hits == []
    assert not [key for key in app.metrics._counts if "internal" in key[1]]
    assert len(_ANSWER.findall(written)) <= 1
