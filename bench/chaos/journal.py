"""What the senders know, on disk: every event that ever left, and every acknowledgement; read back slice by slice.

A run of a million events must not need a million events of memory, neither while it lasts nor when it is judged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Self

import msgspec

from bench.chaos.traffic import Event

_LENGTH_BYTES = 4
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Event | str).decode


@dataclass
class Ledger:
    """What is known of the visitors of one slice."""

    sent: dict[str, Event] = field(default_factory=dict)
    """By event_id: may be stored or not, unless acknowledged."""
    acknowledged: set[str] = field(default_factory=set)
    """Event ids that the collector called durable."""

    def leaves(self, events: Sequence[Event]) -> None:
        """``events`` are about to be sent."""
        self.sent.update((event.event_id, event) for event in events)

    def arrived(self, events: Sequence[Event]) -> None:
        """The collector said that ``events`` are durable."""
        self.acknowledged.update(event.event_id for event in events)


class Journal:
    """One file per slice in ``folder``. A context manager; ``read`` also works while it is open."""

    def __init__(self, folder: Path, slices: int) -> None:
        self._folder = folder
        self._slices = slices
        self._files: list[IO[bytes]] = []
        self.left = 0
        """Events sent, each as often as it was sent on purpose."""
        self.copies = 0
        """Acknowledged events, each as often as it was acknowledged."""
        self.refused: list[str] = []
        """Answers of the collector that no event here deserves."""
        self.given_up = 0
        """Events that were never acknowledged although they were repeated for minutes."""

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._files = [open(self._path(number), "wb") for number in range(self._slices)]  # noqa: SIM115 - closed on exit
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files:
            file.close()

    def leaves(self, events: Sequence[Event]) -> None:
        """``events`` are about to be sent: noted before the first byte leaves."""
        self.left += len(events)
        for event in events:
            self._write(event.slice, _encode(event))

    def arrived(self, events: Sequence[Event]) -> None:
        """The collector said that ``events`` are durable."""
        self.copies += len(events)
        for event in events:
            self._write(event.slice, _encode(event.event_id))

    def ledgers(self) -> Iterator[tuple[int, Ledger]]:
        """Every slice, one at a time."""
        for number in range(self._slices):
            yield number, self.read(number)

    def read(self, number: int) -> Ledger:
        """What is known of one slice."""
        if not self._files[number].closed:
            self._files[number].flush()
        ledger = Ledger()
        content = memoryview(self._path(number).read_bytes())
        at = 0
        while at < len(content):
            end = at + _LENGTH_BYTES + int.from_bytes(content[at : at + _LENGTH_BYTES])
            entry = _decode(content[at + _LENGTH_BYTES : end])
            if isinstance(entry, str):
                ledger.acknowledged.add(entry)
            else:
                ledger.sent[entry.event_id] = entry
            at = end
        return ledger

    def _write(self, number: int, entry: bytes) -> None:
        self._files[number].write(len(entry).to_bytes(_LENGTH_BYTES) + entry)

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:03d}.journal"
