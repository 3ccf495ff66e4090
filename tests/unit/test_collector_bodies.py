"""Request bodies within limits."""

from __future__ import annotations

import gzip
import os
from collections.abc import AsyncIterator

import pytest

from attribution.errors import Rejected
from collector.bodies import BodyRoom, check_declared, read_body
from collector.limits import MAX_BODY


async def chunks(data: bytes, size: int = 16_384) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def anything(size: int) -> None:
    """There is room."""


async def refusal_of(data: bytes, is_gzip: bool) -> str:
    with pytest.raises(Rejected) as refused:
        await read_body(chunks(data), is_gzip, anything)
    return refused.value.reason


async def test_plain_and_gzip_bodies_arrive_whole() -> None:
    data = os.urandom(300_000)
    assert await read_body(chunks(data), False, anything) == data
    assert await read_body(chunks(gzip.compress(data)), True, anything) == data
    assert await read_body(chunks(b""), False, anything) == b""


async def test_a_gzip_bomb_is_stopped_long_before_it_is_large() -> None:
    assert await refusal_of(gzip.compress(bytes(50_000_000)), True) == "gzip_bomb"


async def test_a_body_of_five_megabytes_passes_and_one_byte_more_does_not() -> None:
    half = b"".join(os.urandom(1000) + bytes(9000) for _ in range(500))
    assert len(await read_body(chunks(gzip.compress(half, 1)), True, anything)) == 5_000_000
    assert await refusal_of(gzip.compress(half + b"x", 1), True) == "body_too_large"


async def test_an_undeclared_large_body_is_refused_while_it_arrives() -> None:
    assert await refusal_of(bytes(MAX_BODY + 1), False) == "body_too_large"


@pytest.mark.parametrize(
    "data",
    [b"", b"no gzip", gzip.compress(b"{}")[:-3], gzip.compress(b"{}") + b"x", gzip.compress(b"{}") * 2],
)
async def test_broken_gzip_is_refused(data: bytes) -> None:
    assert await refusal_of(data, True) == "bad_encoding"


def test_headers_alone_decide_what_can_be_read() -> None:
    assert check_declared("application/json; charset=utf-8", "", "12") is False
    assert check_declared("text/plain", "GZIP", "") is True


@pytest.mark.parametrize(
    ("media_type", "encoding", "length", "reason"),
    [
        ("", "", "1", "unsupported_media_type"),
        ("text/html", "", "1", "unsupported_media_type"),
        ("application/x-www-form-urlencoded", "", "1", "unsupported_media_type"),
        ("application/json", "br", "1", "unsupported_media_type"),
        ("application/json", "gzip, gzip", "1", "unsupported_media_type"),
        ("application/json", "", str(MAX_BODY + 1), "body_too_large"),
        ("application/json", "", "9" * 400, "body_too_large"),
    ],
)
def test_headers_alone_refuse(media_type: str, encoding: str, length: str, reason: str) -> None:
    with pytest.raises(Rejected) as refused:
        check_declared(media_type, encoding, length)
    assert refused.value.reason == reason


async def test_bodies_take_room_as_they_arrive_unpacked_and_give_it_back_whatever_happens() -> None:
    room = BodyRoom(10_000)
    data = gzip.compress(bytes(6_000))
    assert len(data) < 100
    with room.claim() as hold:
        await read_body(chunks(data), True, hold)
        assert room.taken == 6_000
        with pytest.raises(Rejected) as refused, room.claim() as second:
            await read_body(chunks(bytes(4_500), 1_000), False, second)
        assert refused.value.reason == "too_busy"
        assert room.taken == 6_000
        with room.claim() as third:
            await read_body(chunks(bytes(4_000), 1_000), False, third)
            assert room.taken == 10_000
    assert room.taken == 0
