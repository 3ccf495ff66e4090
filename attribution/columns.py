"""The stored form of a visitor's in-session hits: columns that grow by what is appended.

Nearly every hit is later than all before. Then only that hit needs to be worked out, and nothing of the earlier ones
has to be at hand but these columns: a tenth of the memory that the hits would take.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate, islice, pairwise, repeat
from struct import unpack

import msgspec

from attribution.acquisition import Acquisition
from attribution.packing import Packed, pack_acquisition, unpack_acquisition
from attribution.scenes import scene_names
from attribution.sessions import PlacedHit


class Columns(msgspec.Struct, gc=False, eq=False):
    """One entry per hit, in order."""

    began_at: int = 0
    """Instant of the first hit, epoch milliseconds, UTC."""
    ended_at: int = 0
    """Instant of the last hit."""
    last_hash: int = 0
    """Event hash of the last hit."""
    pauses: list[int] = []
    """Milliseconds since the hit before; one fewer than hits."""
    hashes: bytes = b""
    """8 bytes per hit, big-endian."""
    pages: list[int] = []
    """2 x index into ``paths``, + 1 for a page view."""
    arrivals: list[int] = []
    """What ``acquisitions`` says; 0 = none."""
    paths: dict[str, int] = {}
    """Index by path, in order of first appearance."""
    acquisitions: dict[Packed, int] = {}
    """Index + 1 by acquisition, in order of first appearance."""
    turns: list[int] = []
    """Where the scene becomes another: index of the hit, its scene, index, scene, ... Before the first hit it is 0."""

    @classmethod
    def restored(
        cls,
        began_at: int,
        pauses: list[int],
        hashes: bytes,
        pages: list[int],
        arrivals: list[int],
        paths: list[str],
        acquisitions: list[Packed],
        turns: list[int],
    ) -> Columns:
        """Columns as they were stored. Raises ``ValueError`` when they cannot have been."""
        columns = cls(
            began_at,
            began_at + sum(pauses),
            0,
            pauses,
            hashes,
            pages,
            arrivals,
            {path: index for index, path in enumerate(paths)},
            {packed: index for index, packed in enumerate(acquisitions, 1)},
            turns,
        )
        count = len(pages)
        if not len(hashes) == 8 * count == 8 * len(arrivals) or len(pauses) != max(count - 1, 0):
            raise ValueError("columns differ in length")
        for packed in acquisitions:
            unpack_acquisition(packed)
        if len(columns.paths) != len(paths) or len(columns.acquisitions) != len(acquisitions):
            raise ValueError("a column names something twice")
        if count:
            columns.last_hash = int.from_bytes(hashes[-8:], "big")
            if min(min(pauses, default=0), min(pages), min(arrivals)) < 0:
                raise ValueError("negative number in a column")
            if max(pages) >> 1 >= len(paths) or max(arrivals) > len(acquisitions):
                raise ValueError("a number in a column names nothing")
        check_turns(turns, count)
        return columns

    def append(self, hits: list[PlacedHit]) -> None:
        """Add ``hits``, in order and later than all before."""
        pauses, pages, arrivals = self.pauses, self.pages, self.arrivals
        paths, acquisitions = self.paths, self.acquisitions
        turns = self.turns
        last_scene = turns[-1] if turns else 0
        last = self.ended_at if pages else None
        hashes = [self.hashes]
        for at, hash_, path, is_page_view, acquisition, scene in hits:
            if scene != last_scene:
                turns += (len(pages), scene)
                last_scene = scene
            if last is None:
                self.began_at = at
            else:
                pauses.append(at - last)
            last = at
            hashes.append(hash_.to_bytes(8, "big"))
            page = paths.setdefault(path, len(paths)) * 2
            pages.append(page + 1 if is_page_view else page)
            if acquisition is None:
                arrivals.append(0)
            else:
                arrivals.append(acquisitions.setdefault(pack_acquisition(acquisition), len(acquisitions) + 1))
        self.hashes = b"".join(hashes)
        self.ended_at, self.last_hash = hits[-1][0], hits[-1][1]

    def hits(self, start: int = 0) -> list[PlacedHit]:
        """The hits from index ``start`` on."""
        if not self.pages:
            return []
        paths = list(self.paths)
        acquisitions: list[Acquisition | None] = [None, *map(unpack_acquisition, self.acquisitions)]
        times = islice(accumulate(self.pauses, initial=self.began_at), start, None)
        return [
            (at, hash_, paths[page >> 1], page & 1 == 1, acquisitions[arrival], scene)
            for at, hash_, page, arrival, scene in zip(
                times,
                unpack_hashes(self.hashes[8 * start :]),
                self.pages[start:],
                self.arrivals[start:],
                scenes_from(self.turns, start, len(self.pages)),
                strict=True,
            )
        ]

    def last_start_behind(self, gap: int) -> int:
        """Index of the last hit that follows a pause longer than ``gap``, 0 if none does."""
        pauses = self.pauses
        index = len(pauses)
        while index and pauses[index - 1] <= gap:
            index -= 1
        return index


def scenes_from(turns: list[int], start: int, count: int) -> Iterable[int]:
    """The scenes of the hits from index ``start`` to ``count``, which is not included."""
    if not turns:
        return repeat(0, count - start)
    if len(turns) == 2 and turns[0] <= start:
        return repeat(turns[1], count - start)
    borders = [0, *turns[::2], count]
    scenes = [0, *turns[1::2]]
    return [
        scene
        for scene, (first, end) in zip(scenes, pairwise(borders), strict=True)
        for _ in range(max(first, start), end)
    ]


def scene_at(turns: list[int], index: int) -> int:
    """The scene of the hit at ``index``."""
    if not turns:
        return 0
    if len(turns) == 2 and turns[0] <= index:
        return turns[1]
    return next((turns[at + 1] for at in range(len(turns) - 2, -1, -2) if turns[at] <= index), 0)


def check_turns(turns: list[int], count: int) -> None:
    """Raise ``ValueError`` unless ``turns`` can be those of ``count`` hits."""
    indices, scenes = [-1, *turns[::2], count], [0, *turns[1::2]]
    if len(turns) % 2 or any(one >= other for one, other in pairwise(indices)):
        raise ValueError("turns are not in order")
    if any(one == other for one, other in pairwise(scenes)):
        raise ValueError("a turn leads nowhere")
    for scene in scenes:
        scene_names(scene)


def unpack_hashes(data: bytes) -> tuple[int, ...]:
    """The numbers of a column of 8-byte hashes. Raises ``ValueError`` when it does not divide."""
    count, rest = divmod(len(data), 8)
    if rest:
        raise ValueError("a column of hashes is cut off")
    return unpack(f">{count}Q", data)
