"""``headwater replay deliveries``: what CRMs and shops delivered, read again by the mapping of today (docs/deals.md).

The command asks; the worker that owns a site's deals makes them again (``streams.deal_remap``). What would change is
worked out here from the same values, so that it can be seen before.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from redis.asyncio import Redis
from rich.console import Console
from rich.text import Text

from attribution.deals.facts import ObjectKey, ObjectState
from attribution.deals.settings import DealSettings
from attribution.deals.told import told_of
from attribution.errors import Misconfigured
from runtime.restate import RestateOptions, span_of
from runtime.settings import Settings
from runtime.wiring import deals_of, policy_of
from sinks.checks import ask
from sinks.client import connect
from sinks.deliveries import BEGINNING, StoredDelivery, deliveries_after
from sinks.writer import RowWriter
from streams.courier import Courier, KafkaLog, Parcel, Sent
from streams.deal_clicks import lent
from streams.deal_remap import Remap, Remapped, changed_between, encode_remap, mapping_version
from streams.deal_states import key_from, object_from, told_from
from streams.deals import MAPPING, PAGE
from streams.fence import FenceStore
from streams.replay import settle
from streams.topics import (
    DEALS,
    deal_objects_key,
    deal_rules_key,
    deal_told_key,
    dirty_key,
    outbox_key,
    partition_of,
)

_POLL_SECONDS = 0.1
_OTHER_MAPPING = "The worker reads deliveries by another mapping than the settings of this command say."


@dataclass(frozen=True, slots=True)
class RemapOptions:
    """What is read again. Days as YYYY-MM-DD, UTC, both belong; "" = open."""

    sender: str = ""
    since: str = ""
    until: str = ""
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class _House:
    settings: Settings
    deals: DealSettings
    store: FenceStore
    client: Any


def run_remap(settings: Settings, options: RemapOptions, console: Console) -> int:
    """The exit code. Raises ``Misconfigured``, ``Transient``."""
    return asyncio.run(_run(settings, options, console))


async def _run(settings: Settings, options: RemapOptions, console: Console) -> int:
    client = await asyncio.to_thread(connect, settings.clickhouse, settings.database)
    redis = Redis.from_url(settings.redis)
    house = _House(settings, deals_of(settings), FenceStore(redis), client)
    span = span_of(RestateOptions(since=options.since, until=options.until))
    now, remap_id = int(time.time() * 1000), uuid.uuid4().hex[:12]
    try:
        sites = [
            str(row[0])
            for row in await asyncio.to_thread(ask, client, settings.database, "delivery_sites", {})
        ]
        for site in sites:
            await _check_mapping(house, site)
        remaps = [Remap(remap_id, site, now, options.sender, span.since, span.until) for site in sites]
        settled: list[StoredDelivery] = []
        for remap in remaps:
            remapped = await _read(house, remap)
            settled += remapped.settled
            objects, conversions = await _differences(house, remap, remapped)
            _say(
                console,
                f"{remap.site}: {remapped.deliveries:,} deliveries read again; {len(remapped.settled):,} that could"
                f" not be read can be now, {remapped.unreadable:,} still cannot; {objects:,} objects and"
                f" {conversions:,} conversions {'would change' if options.dry_run else 'change'}.",
            )
        if options.dry_run:
            _say(console, "Nothing has been written.")
            return 0
        await _send(house, remaps)
        count = await asyncio.to_thread(
            settle, client, RowWriter(client, settings.database), settings.database, settled
        )
        _say(console, f"Done: the books follow, and {count:,} dead letters are settled.")
        return 0
    finally:
        await redis.aclose()
        client.close()


async def _check_mapping(house: _House, site: str) -> None:
    """The worker reads as we do. Raises ``Misconfigured``."""
    partition = partition_of(site, house.settings.partitions)
    fields = await house.store.fields(deal_rules_key(partition))
    types = tuple(policy_of(house.settings).conversion_lookbacks_ms)
    ours = (mapping_version(house.deals.senders), house.deals.version_for(types))
    theirs = (fields.get(MAPPING.encode(), b"").decode(), fields.get(b"version", b"").decode())
    if ours != theirs:
        raise Misconfigured(
            _OTHER_MAPPING, "Start the worker with the same deals.toml, policy and version first."
        )


async def _read(house: _House, remap: Remap) -> Remapped:
    remapped, place, page = Remapped(remap, house.deals.senders), BEGINNING, PAGE
    database, of = house.settings.database, (remap.site, remap.source)
    while page == PAGE:
        rows = await asyncio.to_thread(deliveries_after, house.client, database, of, place, PAGE)
        remapped.take(rows)
        page, place = len(rows), rows[-1].place if rows else place
    return remapped


async def _differences(house: _House, remap: Remap, remapped: Remapped) -> tuple[int, int]:
    """How many objects and conversions are other ones then, as of this moment."""
    partition = partition_of(remap.site, house.settings.partitions)
    fields = await house.store.fields(deal_objects_key(partition))
    states: dict[ObjectKey, ObjectState] = {
        key: object_from(key, packed)
        for field, packed in fields.items()
        if (key := key_from(field)).site == remap.site
    }
    after = remapped.over(states)
    kept = await house.store.fields(deal_told_key(partition))
    known = {
        field.decode(): one
        for field, packed in kept.items()
        if (one := told_from(packed)).fact.site == remap.site
    }
    told = lent(told_of(after, {}, house.deals.rules)[0], known)
    changed = 0
    for conversion_id in {*told, *known}:
        new, old = told.get(conversion_id), known.get(conversion_id)
        if new is None:
            changed += old is not None and bool(old.fact.bookings)
        elif old is None:
            changed += 1
        else:
            same = msgspec.structs.replace(old.fact, revision=0, received_at=0)
            changed += msgspec.structs.replace(new.fact, revision=0, received_at=0) != same
    return len(changed_between(states, after)), changed


async def _send(house: _House, remaps: Sequence[Remap]) -> None:
    """Returns when the worker has made everything again and credit has answered."""
    settings = house.settings

    async def answered(_: Parcel) -> None:
        """Nothing is to be kept of it."""

    kafka = KafkaLog(
        settings.kafka, settings.partitions, idempotent=settings.kafka_idempotent, names=(DEALS,)
    )
    courier = Courier(kafka, house.store.redis, answered, most=1)
    try:
        for remap in remaps:
            partition = partition_of(remap.site, settings.partitions)
            record = Sent(DEALS, partition, remap.site.encode(), encode_remap(remap))
            await courier.send(Parcel([record], 1, ""))
        await courier.settle()
    finally:
        await kafka.close()
    for partition in sorted({partition_of(remap.site, settings.partitions) for remap in remaps}):
        for key in (outbox_key(partition, DEALS), dirty_key(partition, DEALS)):
            await _until_empty(house.store, key)


async def _until_empty(store: FenceStore, key: str) -> None:
    """Until the worker has told everything, and credit has answered."""
    while True:
        if not await store.fields(key):
            return
        await asyncio.sleep(_POLL_SECONDS)


def _say(console: Console, line: str) -> None:
    console.print(Text(line), soft_wrap=True)
