"""``headwater import deals``: what a CRM or shop did in the past, from CSV or JSON lines, to the topic of deals.

A record is what the ``standard`` adapter reads (docs/deals.md): ``type`` (``deal.won``), ``timestamp``, ``id`` and
fields of the object. It is read by the adapter before it is sent, so a wrong line is named at once. Safe to repeat: a
record that was sent before is the same event.
"""

from __future__ import annotations

import asyncio
import csv
import gzip
import hashlib
import io
import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from rich.console import Console
from rich.text import Text

from attribution.deals.adapters import AdapterRules, Envelope, standard
from attribution.deals.delivery import Delivery, encode_deliveries
from attribution.deals.settings import DealSettings
from attribution.errors import Misconfigured, Transient
from runtime.settings import Settings
from sinks.checks import ask
from sinks.client import connect
from streams.fence import FenceStore
from streams.producer import Producer
from streams.topics import DEALS, fence_key, partition_of

SCHEME = "import"
SETTLE_S = 120.0
"""How long to wait until the worker has taken what was sent."""
_AT_ONCE = 100
_SHOWN_PROBLEMS = 20
_OF_MESSAGE = frozenset(("type", "timestamp", "site"))


@dataclass
class ImportedDeals:
    """Where the records ended."""

    read: int = 0
    sent: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    """Of those that were sent, as the worker found them: ``read``, ``repeated``, ..."""
    refused: list[str] = field(default_factory=list)
    """A line for each record that cannot be used."""

    @property
    def is_complete(self) -> bool:
        """Nothing that the files say is missing."""
        taken = self.outcomes["read"] + self.outcomes["repeated"]
        return not self.refused and taken == self.sent == self.read


async def import_deals(
    files: Sequence[Path], settings: Settings, deals: DealSettings, site: str, console: Console
) -> ImportedDeals:
    """Send the records of ``files`` and wait until the worker has taken them. ``site``: of records that name none.

    Raises ``Misconfigured`` (a file cannot be read), ``Transient`` when the broker or the worker stays away.
    """
    result = ImportedDeals()
    deliveries: dict[str, list[Delivery]] = {}
    received_at = time.time_ns() // 1_000_000
    for path in files:
        for number, record in _records(path):
            result.read += 1
            one, problem = _delivery(record, site, received_at, deals.senders)
            if one is None:
                result.refused.append(f"{path}:{number}: {problem}")
            else:
                deliveries.setdefault(one.site, []).append(one)
    for line in result.refused[:_SHOWN_PROBLEMS]:
        console.print(Text(line))
    for each, its in deliveries.items():
        await _send(each, its, settings, result)
    console.print(
        f"{result.read} records: {result.outcomes['read']} new, {result.outcomes['repeated']} told before,"
        f" {len(result.refused)} refused."
    )
    return result


def _records(path: Path) -> Iterator[tuple[int, Any]]:
    """(line, record) of a file; the format is known by its name. A record may be anything that JSON holds."""
    name = path.name.lower().removesuffix(".gz")
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{path} cannot be read: {error}.", "Write it in UTF-8.") from error
    if name.endswith(".csv"):
        rows = csv.DictReader(io.StringIO(text, newline=""))
        for row in rows:
            yield rows.line_num, {name: value for name, value in row.items() if name and value}
    elif name.endswith((".jsonl", ".ndjson")):
        for number, line in enumerate(text.splitlines(), start=1):
            if line.strip():
                try:
                    yield number, json.loads(line, parse_float=str)  # amounts to the last digit
                except (ValueError, RecursionError):
                    yield number, None
    else:
        raise Misconfigured(
            f"Cannot tell the format of {path.name}.", "Name it .csv or .jsonl (.gz allowed)."
        )


def _delivery(record: Any, site: str, received_at: int, senders: AdapterRules) -> tuple[Delivery | None, str]:
    """The record as a delivery, or what is wrong with it."""
    if not isinstance(record, dict):
        return None, "Write one JSON object in each line."
    message = record if isinstance(record.get("data"), dict) else _message(record)
    body = json.dumps(message, sort_keys=True, separators=(",", ":")).encode()
    own_site = str(record.get("site") or site)
    name = hashlib.blake2b(body, digest_size=16).hexdigest()
    one = Delivery(
        site=own_site,
        source=standard.SOURCE,
        scheme=SCHEME,
        keys=[[f"{SCHEME}:{name}"]],
        received_at=received_at,
        headers={standard.EVENT_ID: f"{SCHEME}-{name}"},
        body=body,
    )
    mapped = standard.adapt(body, Envelope(received_at, one.headers), senders)
    problem = next((each for each in mapped.problems), None)
    if problem is not None:
        return None, f"{problem.field}: {problem.remedy}"
    return one, ""


def _message(record: dict[str, Any]) -> dict[str, Any]:
    """A flat record as a message; ``parent.object`` and ``parent.id`` are the fields of its parent."""
    data: dict[str, Any] = {}
    for name, value in record.items():
        outer, dot, inner = name.partition(".")
        if name in _OF_MESSAGE:
            continue
        if dot:
            data.setdefault(outer, {})[inner] = value
        else:
            data[name] = value
    message: dict[str, Any] = {name: record[name] for name in ("type", "timestamp") if name in record}
    return {**message, "data": data}


async def _send(site: str, deliveries: Sequence[Delivery], settings: Settings, result: ImportedDeals) -> None:
    partition = partition_of(site, settings.partitions)
    producer = Producer(
        settings.kafka, settings.partitions, idempotent=settings.kafka_idempotent, names=(DEALS,)
    )
    await producer.open()
    offsets: list[int] = []
    try:
        for start in range(0, len(deliveries), _AT_ONCE):
            value = encode_deliveries(deliveries[start : start + _AT_ONCE])
            offsets.append(await producer.send(DEALS, site.encode(), value, partition))
    finally:
        await producer.close()
    result.sent += len(deliveries)
    result.outcomes += await _until_taken(
        settings, partition, min(offsets), max(offsets) + 1, len(deliveries)
    )


async def _until_taken(
    settings: Settings, partition: int, first: int, next_offset: int, count: int
) -> Counter[str]:
    """What became of the deliveries from ``first`` on, once the worker's fence has passed and their rows are there."""
    client = connect(settings.clickhouse, settings.database)
    redis = Redis.from_url(settings.redis)
    try:
        deadline = time.monotonic() + SETTLE_S
        while time.monotonic() < deadline:
            fence = await FenceStore(redis).fields(fence_key(DEALS, partition))
            if int(fence.get(b"offset", b"0")) >= next_offset:
                place = {"broker": fence[b"broker"].decode(), "partition": partition, "first": first}
                rows = ask(client, settings.database, "imported_deals", {"scheme": SCHEME, **place})
                found = Counter({str(outcome): int(deliveries) for outcome, deliveries in rows})
                if found.total() >= count:
                    return found
            await asyncio.sleep(0.2)
    finally:
        await redis.aclose()
        client.close()
    raise Transient(f"No worker has taken the records within {SETTLE_S:.0f} s. Repeat: nothing counts twice.")
