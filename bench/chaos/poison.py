"""Records that no collector would write, straight into the topics: each must end as a dead letter, its neighbours not.

Every bad part holds a marker, so that the log itself tells how many dead letters there must be.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import msgspec
from aiokafka import AIOKafkaProducer

from attribution.hit import Hit, encode_hit
from bench.chaos.journal import Journal
from bench.chaos.traffic import BEGAN_AT, Traffic
from streams.topics import CONVERSIONS, HITS, partition_of
from streams.triggers import Trigger, encode_trigger

MARKER = b"chaos-poison-"
_LATER_THAN_ANY = 10**14


class Planter:
    """Plants poison, and good hits beside it that must not suffer."""

    def __init__(
        self,
        bootstrap: str,
        is_durable: bool,
        partitions: int,
        site: str,
        traffic: Traffic,
        journal: Journal,
    ) -> None:
        self._bootstrap = bootstrap
        self._is_durable = is_durable
        self._partitions = partitions
        self._site = site
        self._traffic = traffic
        self._journal = journal
        self.planted = 0
        """Bad parts that the brokers took."""

    async def plant(self, rng: random.Random, count: int) -> None:
        """Send ``count`` records of the kinds there are. Raises ``KafkaError``: what was sent then may be there."""
        producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap, acks="all", enable_idempotence=self._is_durable
        )
        await producer.start()
        try:
            for _ in range(count):
                await self._plant_one(producer, rng)
        finally:
            await producer.stop()

    async def _plant_one(self, producer: AIOKafkaProducer, rng: random.Random) -> None:
        marker = f"{MARKER.decode()}{self.planted}-{rng.randrange(1 << 32)}"
        partition = rng.randrange(self._partitions)
        elsewhere = next(
            name for n in range(1000) if partition_of(name := f"{marker}-{n}", self._partitions) != partition
        )
        good = self._traffic.probes()[partition]
        fields = {name: value for name, value in good.fields.items() if name != "occurred_at"}
        hit = Hit(
            **fields,
            site=self._site,
            occurred_at=BEGAN_AT,
            received_at=BEGAN_AT + 1,
            user_agent=good.user_agent,
        )
        trigger = Trigger(
            conversion_id=elsewhere,
            site=self._site,
            visitor_id=marker,
            hits_partition=0,
            recorded_at=BEGAN_AT,
            nonce="n",
        )
        values: Sequence[tuple[str, bytes]] = (
            (HITS, f'{{"{marker}": '.encode()),
            (HITS, b'\xff\xfe "' + marker.encode()),
            (HITS, b"[" + encode_hit(hit) + f',{{"{marker}":1}}]'.encode()),
            (HITS, b"[" + _other(hit, visitor_id=elsewhere) + b"," + encode_hit(hit) + b"]"),
            (HITS, _other(hit, visitor_id=marker, occurred_at=_LATER_THAN_ANY)),
            (HITS, _other(hit, visitor_id=marker, site="")),
            (CONVERSIONS, f'["{marker}"]'.encode()),
            (CONVERSIONS, encode_trigger(trigger)),
        )
        topic, value = rng.choice(values)
        has_good = topic == HITS and value.startswith(b"[")
        if has_good:
            self._journal.leaves([good])
        await producer.send_and_wait(topic, value=value, key=marker.encode(), partition=partition)
        self.planted += 1
        # A broker that forgets its log forgets what only it was given.
        if has_good and self._is_durable:
            self._journal.arrived([good])


def _other(hit: Hit, **changes: str | int) -> bytes:
    return encode_hit(msgspec.structs.replace(hit, event_id=f"{MARKER.decode()}e", **changes))
