"""The spool: real files, torn tails, limits."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attribution.errors import Misconfigured, Transient
from collector import spool as spool_module
from collector.metrics import CollectorMetrics, Counted
from collector.producer import build_envelopes
from collector.segments import (
    BLOCK_BYTES,
    MAGIC,
    MAX_FRAME_BYTES,
    MAX_FRAME_HITS,
    Damaged,
    SegmentWriter,
    build_frames,
    find_segments,
    read_frames,
    segment_path,
)
from collector.spool import Spool
from streams.topics import HITS


def spool_in(directory: Path, max_bytes: int = 1 << 20) -> Spool:
    return Spool(directory, max_bytes, CollectorMetrics().of(HITS))


def hits_of(spool: Spool) -> list[bytes]:
    found: list[bytes] = []
    for segment in spool.segments:
        at = len(MAGIC)
        while at < segment.durable:
            frames, at = read_frames(segment.path, at, segment.durable, 1 << 20)
            found.extend(hit for frame in frames for hit in frame.payload.split(b","))
    return found


def write_segment(path: Path, *groups: dict[int, list[bytes]]) -> None:
    writer = SegmentWriter(path)
    for group in groups:
        writer.write(b"".join(build_frames(group)))
    writer.close()


async def test_hits_are_durable_when_the_answer_comes_and_share_an_fsync(tmp_path: Path) -> None:
    metrics = CollectorMetrics()
    spool = Spool(tmp_path, 1 << 20, metrics.of(HITS))
    await spool.open()
    await asyncio.gather(*(spool.append(n % 4, b"%d" % n) for n in range(100)))
    assert sorted(hits_of(spool), key=int) == [b"%d" % n for n in range(100)]
    assert metrics.value(Counted.committed) == 100
    assert metrics.value(Counted.commits) < 10
    await spool.close()
    again = spool_in(tmp_path)
    await again.open()
    assert len(hits_of(again)) == 100
    assert again.stored_bytes == sum(path.stat().st_size for path in tmp_path.glob("*.spool"))
    await again.close()


async def test_a_full_spool_refuses_and_takes_again_after_a_release(tmp_path: Path) -> None:
    spool = spool_in(tmp_path, max_bytes=500)
    await spool.open()
    await spool.append(0, b"x" * 400)
    assert not spool.is_full
    with pytest.raises(Transient):
        spool.append(0, b"x" * 100)
    with pytest.raises(Transient):
        spool.append_all([(0, b"y"), (1, b"x" * 100)])
    assert spool.is_full, "what was refused would be refused again, though something smaller would not"
    assert hits_of(spool) == [b"x" * 400]
    spool.close_active()
    spool.release(spool.segments[0])
    assert not spool.is_full
    await spool.append(0, b"x" * 100)
    assert list(tmp_path.glob("*.spool")) == [spool.segments[0].path]
    await spool.close()


async def test_two_collectors_cannot_share_a_spool(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    await spool.open()
    with pytest.raises(Misconfigured):
        await spool_in(tmp_path).open()
    await spool.close()
    again = spool_in(tmp_path)
    await again.open()
    await again.close()


async def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Misconfigured):
        await spool_in(tmp_path / "file" / "spool").open()


async def test_a_spool_whose_folder_vanishes_refuses_until_it_is_back(tmp_path: Path) -> None:
    directory = tmp_path / "spool"
    spool = spool_in(directory)
    await spool.open()
    (directory / "lock").unlink()
    directory.rmdir()
    with pytest.raises(Transient):
        await spool.append(0, b"lost")
    assert spool.error
    directory.mkdir()
    spool.probe()
    await asyncio.wait_for(spool.grown(), 5)
    await asyncio.wait_for(spool.grown(), 5)
    assert not spool.error
    await spool.append(0, b"kept")
    assert hits_of(spool) == [b"kept"]
    await spool.close()


async def test_a_cancelled_request_does_not_stop_the_others(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    await spool.open()

    async def request(hit: bytes) -> None:
        await spool.append(0, hit)

    tasks = [asyncio.create_task(request(b"%d" % n)) for n in range(3)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await spool.append(0, b"later")
    assert hits_of(spool) == [b"0", b"1", b"2", b"later"]
    await spool.close()


async def test_segments_roll_by_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "SEGMENT_BYTES", 1000)
    spool = spool_in(tmp_path)
    await spool.open()
    for n in range(6):
        await spool.append(0, b"%d" % n * 600)
    assert len(spool.segments) == 3
    assert [hit[:1] for hit in hits_of(spool)] == [b"0", b"1", b"2", b"3", b"4", b"5"]
    await spool.close()


@given(cut=st.integers(min_value=0))
def test_a_torn_tail_costs_only_the_frame_that_was_torn(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    path = segment_path(tmp_path_factory.mktemp("spool"), 1)
    write_segment(path, {0: [b"a", b"b"]}, {1: [b"c"]}, {0: [b"d"]})
    whole = path.read_bytes()
    cut %= len(whole) + 1
    path.write_bytes(whole[:cut])
    (segment,), ignored = find_segments(path.parent)
    assert ignored == cut - segment.durable
    if segment.durable > len(MAGIC):
        frames, end = read_frames(path, len(MAGIC), segment.durable, 1 << 20)
        assert end == segment.durable
        assert [frame.payload for frame in frames] == [b"a,b", b"c", b"d"][: len(frames)]
    assert segment.durable in (0, 8, 8 + 15, 8 + 15 + 13, len(whole))


@given(data=st.binary(max_size=200))
def test_garbage_after_the_last_frame_is_ignored(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = segment_path(tmp_path_factory.mktemp("spool"), 1)
    write_segment(path, {0: [b"a"]})
    good = path.stat().st_size
    path.write_bytes(path.read_bytes() + data)
    (segment,), _ = find_segments(path.parent)
    assert segment.durable == good


@given(
    sizes=st.lists(st.integers(1, 300_000), max_size=5),
    torn=st.binary(max_size=20),
    zeros=st.integers(0, 9),
)
@settings(deadline=None)
def test_what_was_laid_out_says_nothing_after_a_crash(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], torn: bytes, zeros: int
) -> None:
    path = segment_path(tmp_path_factory.mktemp("spool"), 1)
    writer = SegmentWriter(path)
    for size in sizes:
        writer.write(b"".join(build_frames({0: [b"x" * size]})))
    written = path.read_bytes()
    assert len(written) % BLOCK_BYTES == 0
    assert len(written) > writer.durable
    (segment,), ignored = find_segments(path.parent)
    assert (segment.durable, segment.is_damaged, ignored) == (writer.durable, False, 0)
    tail = bytes(zeros) + torn
    path.write_bytes(written[: writer.durable] + tail)
    (segment,), ignored = find_segments(path.parent)
    is_torn = bool(torn.strip(b"\0"))
    assert (segment.durable, segment.is_damaged) == (writer.durable, is_torn)
    assert ignored == (len(tail) if is_torn else 0)
    writer.close()
    assert path.stat().st_size == writer.durable


def test_a_disk_with_room_for_the_hits_alone_takes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, room = os.pwrite, 100

    def pwrite(file: int, data: bytes, offset: int) -> int:
        if offset >= room:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(file, data[: room - offset], offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    path = segment_path(tmp_path, 1)
    writer = SegmentWriter(path)
    writer.write(b"".join(build_frames({0: [b"a" * 20]})))
    durable = writer.durable
    with pytest.raises(OSError, match="No space"):
        writer.write(b"".join(build_frames({0: [b"b" * 80]})))
    assert path.stat().st_size == writer.durable == durable
    (segment,), ignored = find_segments(tmp_path)
    assert (segment.durable, ignored) == (durable, 0)
    writer.close()


def test_damage_in_the_middle_is_an_error_of_its_own(tmp_path: Path) -> None:
    path = segment_path(tmp_path, 1)
    write_segment(path, {0: [b"aaaa"]}, {0: [b"bbbb"]})
    data = bytearray(path.read_bytes())
    data[len(MAGIC) + 13] ^= 1
    path.write_bytes(data)
    with pytest.raises(Damaged, match="damaged"):
        read_frames(path, 0, len(data), 1 << 20)


@given(
    st.dictionaries(
        st.integers(0, 3),
        st.lists(st.integers(1, 90_000).map(lambda size: b"x" * size), min_size=1, max_size=700),
        max_size=2,
    )
)
def test_frames_and_envelopes_keep_every_hit_within_their_limits(hits: dict[int, list[bytes]]) -> None:
    from collector.segments import _HEAD, Frame

    frames = []
    for data in build_frames(hits):
        length, _, partition, count = _HEAD.unpack_from(data)
        assert count == 1 or (count <= MAX_FRAME_HITS and length <= MAX_FRAME_BYTES)
        frames.append(Frame(partition, count, data[_HEAD.size :]))
    for partition, payloads in hits.items():
        assert b",".join(f.payload for f in frames if f.partition == partition) == b",".join(payloads)
        assert sum(f.hits for f in frames if f.partition == partition) == len(payloads)
    envelopes = build_envelopes(frames)
    for partition, payloads in hits.items():
        mine = [e for e in envelopes if e.partition == partition]
        assert b",".join(e.value[1:-1] for e in mine) == b",".join(payloads)
        assert all(e.hits == 1 or e.hits <= MAX_FRAME_HITS for e in mine)
        assert all(e.hits == 1 or len(e.value) <= MAX_FRAME_BYTES + MAX_FRAME_HITS for e in mine)
