"""One connection without a network: room for what waits, and time for who is slow."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from collector import limits
from collector.app import CollectorApp, create_app
from collector.config import CollectorConfig
from collector.connection import SLICE_BYTES, Connection
from collector.metrics import Counted
from collector.reception import Reception
from collector.requests import BODY_BUFFER

PIXEL = b"GET /p.gif?site=shop&visitor_id=v HTTP/1.1\r\nhost: x\r\n\r\n"
HEALTH = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"


class Line:
    """A transport that keeps what is written; ``app`` keeps hits waiting until ``commit`` is called."""

    def __init__(self, directory: Path) -> None:
        config = CollectorConfig(sites=frozenset({"shop"}), spool_dir=directory, rate_per_second=0)
        self.app: CollectorApp = create_app(config)
        self.reception = Reception(self.app, 10)
        self.commits: list[asyncio.Future[None]] = []
        # Durable when the test says so.
        self.app.spool.append = self._append  # type: ignore[method-assign]
        self.app.spool.append_all = lambda hits: [self._append(*hit) for hit in hits][-1]  # type: ignore[method-assign]
        self.written = b""
        self.is_reading = True
        self.calls: list[str] = []
        self.connection = Connection(self.reception)
        self.connection.connection_made(self)  # type: ignore[arg-type]  # all of a transport that is used

    def _append(self, partition: int, hit: bytes) -> asyncio.Future[None]:
        self.commits.append(asyncio.get_running_loop().create_future())
        return self.commits[-1]

    async def commit(self) -> None:
        for waiting in self.commits:
            if not waiting.done():
                waiting.set_result(None)
        await settle()

    @property
    def answers(self) -> int:
        return self.written.count(b"HTTP/1.1 ")

    def refused(self) -> dict[tuple[str, ...], float]:
        counts = self.app.metrics._counts
        return {key[1]: count for key, count in counts.items() if key[0] is Counted.rejected}

    def at(self, seconds: float) -> None:
        """Let the clock stand ``seconds`` after the last tick."""
        self.reception.now += seconds
        self.connection.check_time(self.reception.now)

    def get_extra_info(self, name: str) -> Any:
        return ("127.0.0.1", 5) if name == "peername" else None

    def write(self, data: bytes) -> None:
        assert not {"close", "write_eof", "abort"} & set(self.calls)
        self.written += data

    def pause_reading(self) -> None:
        assert self.is_reading
        self.is_reading = False

    def resume_reading(self) -> None:
        assert not self.is_reading
        self.is_reading = True

    def close(self) -> None:
        self.calls.append("close")

    def write_eof(self) -> None:
        self.calls.append("write_eof")

    def abort(self) -> None:
        self.calls.append("abort")


class Counting:
    """A parser, and how many pieces it was given."""

    def __init__(self, parser: Any) -> None:
        self._parser = parser
        self.pieces = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parser, name)

    def feed_data(self, data: bytes) -> None:
        self.pieces += 1
        self._parser.feed_data(data)


async def settle() -> None:
    """Let every task that can go on go on."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_flood_of_pipelined_requests_waits_outside(tmp_path: Path) -> None:
    line = Line(tmp_path)
    line.connection.data_received(PIXEL * 10_000)
    taken = len(line.commits)
    assert limits.MAX_PIPELINED <= taken <= limits.MAX_PIPELINED + SLICE_BYTES // len(PIXEL) + 1
    assert (line.answers, line.is_reading) == (0, False)
    await line.commit()
    assert line.answers == taken
    while line.answers < 10_000:
        assert len(line.commits) - line.answers <= limits.MAX_PIPELINED + SLICE_BYTES // len(PIXEL) + 1
        await line.commit()
    assert (line.answers, line.is_reading) == (10_000, True)


async def test_answers_wait_for_those_before_them(tmp_path: Path) -> None:
    line = Line(tmp_path)
    line.connection.data_received(PIXEL + HEALTH + PIXEL)
    await settle()
    assert line.written == b""
    line.commits[1].set_result(None)
    await settle()
    assert line.written == b""
    line.commits[0].set_result(None)
    await settle()
    kinds = [part.split(b"\r\n")[1] for part in line.written.split(b"HTTP/1.1 ")[1:]]
    assert kinds == [
        b"content-type: image/gif",
        b"content-type: application/json",
        b"content-type: image/gif",
    ]


async def test_a_client_that_does_not_read_is_not_heard_and_in_the_end_cut(tmp_path: Path) -> None:
    line = Line(tmp_path)
    line.connection.data_received(PIXEL)
    line.connection.pause_writing()
    assert not line.is_reading
    line.connection.data_received(PIXEL * 1000)  # what the loop had read already
    assert len(line.commits) == 1
    line.connection.resume_writing()
    assert len(line.commits) > 1
    await line.commit()
    line.connection.pause_writing()
    line.at(limits.WRITE_SECONDS)
    assert line.calls == []
    line.at(1)
    assert line.calls == ["abort"]


async def test_a_body_that_nobody_reads_yet_waits_outside(tmp_path: Path) -> None:
    line = Line(tmp_path)
    head = b"POST /v1/track HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 900000\r\n\r\n"
    line.connection.data_received(head)
    for _ in range(40):
        if line.is_reading:
            line.connection.data_received(bytes(SLICE_BYTES))
    body = line.connection._body
    assert body is not None
    assert BODY_BUFFER < body.waiting_bytes <= BODY_BUFFER + SLICE_BYTES
    await settle()
    assert (line.is_reading, body.waiting_bytes) == (True, 0)


async def test_requests_behind_one_that_is_at_work_wait_outside(tmp_path: Path) -> None:
    """Else one connection could bring many bodies at once."""
    line = Line(tmp_path)
    event = b'{"site":"shop"}'
    post = (
        b"POST /v1/track HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 15\r\n\r\n"
        + event
    )
    line.connection.data_received(post)
    await settle()
    assert not line.is_reading
    line.connection.data_received(post)
    await settle()
    assert len(line.commits) == 1
    await line.commit()
    assert line.answers == 1
    await line.commit()
    assert (line.answers, line.is_reading) == (2, True)


async def test_slow_heads_slow_bodies_and_idle_clients_have_their_time_and_no_more(tmp_path: Path) -> None:
    slow_head, slow_body, idle = Line(tmp_path), Line(tmp_path), Line(tmp_path)
    slow_head.connection.data_received(PIXEL[:-4])
    slow_head.at(limits.HEAD_SECONDS)
    slow_head.connection.data_received(b"\r\nx: y")  # a drop now and then buys no time
    assert slow_head.written == b""
    slow_head.at(0.1)
    assert slow_head.refused() == {("p.gif", "slow_request"): 1}
    assert slow_head.calls == ["write_eof"]
    slow_head.at(limits.LINGER_SECONDS + 0.1)
    assert slow_head.calls == ["write_eof", "abort"]

    slow_body.connection.data_received(PIXEL[:-2] + b"content-length: 9\r\n\r\n")
    slow_body.at(limits.HEAD_SECONDS + limits.BODY_SECONDS)
    assert slow_body.refused() == {}
    slow_body.at(0.1)
    assert slow_body.refused() == {("p.gif", "slow_body"): 1}

    idle.connection.data_received(PIXEL)
    idle.at(1000)  # the disk may take its time
    await idle.commit()
    assert (idle.answers, idle.calls) == (1, [])
    idle.at(limits.IDLE_SECONDS)
    assert idle.calls == []
    idle.at(0.1)
    assert (idle.calls, idle.refused()) == (["close"], {})


async def test_an_answer_that_comes_after_the_client_has_gone_is_dropped(tmp_path: Path) -> None:
    line = Line(tmp_path)
    line.connection.data_received(PIXEL + HEALTH)
    line.connection.connection_lost(None)
    await line.commit()
    assert (line.written, line.calls) == (b"", [])
    assert line.app.metrics.accepted["p.gif"] == 1
    assert not line.reception.connections


async def test_what_a_client_repeats_is_parsed_once(tmp_path: Path) -> None:
    line = Line(tmp_path)
    parser = line.connection._parser = Counting(line.connection._parser)
    head = b" HTTP/1.1\r\nhost: x\r\nuser-agent: %b\r\n\r\n"
    sent = [
        b"GET /p.gif?site=shop&visitor_id=" + visitor + head % agent
        for visitor, agent in [
            (b"1", b"a"),
            (b"2", b"a"),
            (b"3", b"b"),
            (b"4", b"b"),
            (b"5", b"b"),
            (b"6", b"a"),
        ]
    ]
    for request in sent:
        line.connection.data_received(request)
    assert len(line.commits) == 6
    assert parser.pieces == 3
    large = b"GET /p.gif?site=shop&visitor_id=v" + head % (b"x" * 3000)
    line.connection.data_received(large)
    line.connection.data_received(large)
    assert parser.pieces == 5, "what is kept for each connection is small"
    for number in [*range(20), 19]:
        line.connection.data_received(b"GET /p.gif?site=shop&visitor_id=v" + head % (b"%d" % number))
    assert parser.pieces == 26, "a proxy's connection is not searched for what never comes again"
