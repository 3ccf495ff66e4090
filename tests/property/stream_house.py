"""The outside world of the stages: a real Valkey, Kafka as lists, ClickHouse's twin; and everything that can happen.

A crash is raised before or after any call to the outside: the stages are thrown away, and new owners take over from the
fence. A zombie is a stage whose successor works already. Valkey may be set back to what it was some turns ago.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis
from stream_checks import tallies
from stream_crashes import Crash, CrashingFences, CrashingJournals, CrashingWriter, Faults
from stream_worlds import OVER, T0, TABLES

from attribution.conversions import ConversionFact
from attribution.deals.delivery import Delivery, encode_deliveries
from attribution.deals.settings import DealSettings
from attribution.hit import Hit, Restated, encode_envelope
from attribution.policy import AttributionPolicy
from sinks.visitors import HIT_FIELDS
from streams.abouts import AboutStore, abouts_of
from streams.fence import Fenced, FenceStore
from streams.journal import JournalTaken
from streams.learnt import LearntBook
from streams.live_spend import ClickCostBook
from streams.putting_away import put_away
from streams.recalling import hit_of
from streams.recent import DEFAULT_BYTES, RecentTimelines, held_bytes
from streams.records import Batch, Record
from streams.room import Room
from streams.rules import StitchRules
from streams.takeover import Tools, take_over
from streams.tally import Tally
from streams.topics import (
    CONVERSIONS,
    DEALS,
    HITS,
    SPEND,
    VOLATILE_CLUSTER_PREFIX,
    dirty_key,
    fence_key,
    outbox_key,
    partition_of,
)
from streams.touch_book import TouchBook
from streams.triggers import Trigger, encode_trigger

PARTITIONS = 2
RESTATED_AT = T0 + 10**12
"""When the first restatement began: behind every hit."""
LONG_MS = 10**9
MOST_TURNS = 3_000
"""Far more than any example needs: a stream that never settles fails instead of hanging."""


@dataclass
class Worker:
    """A stage and what it is to be fed with next."""

    stage: Any
    offset: int
    ranges: list[tuple[int, int]]
    broker: str


@dataclass(frozen=True)
class Accidents:
    """What may happen beside crashes. Chances are per turn."""

    forgets: float = 0.03
    """The broker dies with its log, where it keeps it in memory."""
    sets_back: float = 0.0
    """Valkey is set back to what it was some turns ago."""
    puts_away: float = 0.0
    """Timelines leave Redis, some or all of them, as if nobody had written them for long."""
    sleeps: float = 0.0
    """A worker's partition is taken over, and it works on all the same."""


@dataclass
class House:
    """What survives the crashes of the stages, and who works in it."""

    redis: Redis
    policy: AttributionPolicy
    faults: Faults
    broker: str
    rng: random.Random
    recent: RecentTimelines = field(default_factory=RecentTimelines)
    """Shared by all that ever own a partition here, so that some find it full of what others left."""
    room: Room = field(default_factory=lambda: Room(1))
    credit_is_running: bool = False
    logs: dict[tuple[str, int], list[Record]] = field(default_factory=lambda: defaultdict(list))
    workers: dict[tuple[str, int], Worker] = field(default_factory=dict)
    zombies: list[tuple[str, int, Worker]] = field(default_factory=list)
    tallies: dict[int, list[Tally]] = field(default_factory=dict)
    timelines: dict[bytes, bytes] = field(default_factory=dict)
    """By key, as they stand in the end."""
    times_set_back: int = 0
    times_put_away: int = 0
    """Timelines."""
    sets_back_meanwhile: float = 0.0
    restated_under: AttributionPolicy | None = None
    restated_at: int = 0
    ends: dict[tuple[str, int], int] = field(default_factory=dict)
    """(topic, partition) → where its log ended when the workers were started with other rules."""
    restatements: dict[int, str] = field(default_factory=dict)
    """``recorded_at`` of the corrections → version of the policy."""
    copies: list[dict[bytes, bytes]] = field(default_factory=list)
    """Valkey as it was, oldest first."""
    deals: DealSettings | None = None
    """None = nobody delivers anything."""
    telling: list[ConversionFact] = field(default_factory=list)
    """What senders are still to tell of deals."""
    told: list[ConversionFact] = field(default_factory=list)
    """What they have told: whoever keeps deals tells it again when Valkey was set back."""

    @property
    def topics(self) -> tuple[str, ...]:
        """Those that have something to say."""
        return (HITS, CONVERSIONS) if self.deals is None else (HITS, CONVERSIONS, DEALS)

    def __post_init__(self) -> None:
        self.fences = CrashingFences(self.redis, range_events=5)
        self.fences.house = self
        self.writer = CrashingWriter()
        self.writer.faults = self.faults
        self.journals = CrashingJournals(self)

    async def send(self, topic: str, key: bytes, value: bytes) -> None:
        """Kafka's part: keep the record."""
        self.faults.point()
        self.append(topic, key, value)
        self.faults.point()

    async def tell(self, fact: ConversionFact) -> None:
        """As ``streams.deals``: the wish stands in a dirty hash until credit answers it. Here in one of stitch."""
        self.told.append(fact)
        await AboutStore(FenceStore(self.redis), PARTITIONS).write(list(abouts_of(fact)))
        partition = self.rng.randrange(PARTITIONS)
        wish = Trigger(
            conversion_id=fact.conversion_id,
            site=fact.site,
            visitor_id=fact.visitor_id,
            hits_partition=partition,
            recorded_at=fact.received_at,
            nonce=f"told {len(self.told)}",
            fact=fact,
        )
        await self.redis.hset(dirty_key(partition), wish.field, encode_trigger(wish))
        if self.rng.random() < 0.7:
            self.append(CONVERSIONS, fact.conversion_id.encode(), encode_trigger(wish))

    def append(self, topic: str, key: bytes, value: bytes) -> None:
        partition = partition_of(key.decode(), PARTITIONS)
        log = self.logs[topic, partition]
        log.append(Record(len(log), T0, key, value))

    async def take_over(self, topic: str, partition: int) -> Worker:
        """A new owner, as in ``streams.partitions``."""
        rules = StitchRules(self.policy, "USD", PARTITIONS)
        learnt = LearntBook(self.fences)
        learnt.tables.update(TABLES)
        await learnt.look()
        tools = Tools(
            self.broker,
            self.fences,
            self.journals,
            self.writer,
            self.send,
            rules,
            self.recent,
            self.room,
            learnt,
            TouchBook(every_seconds=0.0),
            ClickCostBook(every_seconds=0.0),
            self.deals or DealSettings(),
            clicks_every_seconds=0.0,
        )
        taken = await take_over(tools, topic, partition)
        await taken.stage.start()
        worker = Worker(taken.stage, taken.next_offset, list(taken.ranges), self.broker)
        self.workers[topic, partition] = worker
        return worker

    async def turn(self, topic: str, partition: int, size: int) -> bool:
        """Let the owner process its next batch of at most ``size`` records; False when there is none."""
        try:
            worker = self.workers.get((topic, partition)) or await self.take_over(topic, partition)
        except (
            Fenced,
            JournalTaken,
        ):  # set back in the middle of it: the process ends, the next one tries again
            return True
        return await self.work(worker, topic, partition, size)

    async def work(self, worker: Worker, topic: str, partition: int, size: int) -> bool:
        """As ``turn``, for a worker that may have a successor. A worker that is refused is gone."""
        end = worker.offset + size
        if worker.ranges:
            first, last = worker.ranges[0]
            end = last + 1 if worker.offset >= first else min(end, first)
        records = self.logs[topic, partition][worker.offset : end] if worker.broker == self.broker else []
        if not records:
            return False
        was_running, self.credit_is_running = self.credit_is_running, topic == CONVERSIONS
        try:
            await worker.stage.process(Batch(topic, partition, worker.broker, records))
        except (Fenced, JournalTaken):
            self.dismiss(worker)
            return True
        finally:
            self.credit_is_running = was_running
        if worker.ranges and records[-1].offset == worker.ranges[0][1]:
            worker.ranges.pop(0)
        worker.offset = records[-1].offset + 1
        return True

    def start_with(self, policy: AttributionPolicy) -> None:
        """The workers are stopped and started again with other rules."""
        self.policy = policy
        self.all_die()
        self.mark_ends()

    def mark_ends(self) -> None:
        """Empty envelopes: when the fences have passed them nothing is left of what was begun under other rules."""
        for topic in self.topics:
            for partition in range(PARTITIONS):
                log = self.logs[topic, partition]
                log.append(Record(len(log), T0, b"", b"[]"))
                self.ends[topic, partition] = len(log)

    async def is_quiet(self) -> bool:
        """As ``streams.restate`` waits before it looks for what is to be restated."""
        for (topic, partition), end in self.ends.items():
            broker, offset = await self.redis.hmget(fence_key(topic, partition), ["broker", "offset"])
            if (broker or b"").decode() != self.broker or int(offset or 0) < end:
                return False
            if topic == CONVERSIONS and await self.redis.hlen(outbox_key(partition)):
                return False
        return True

    def restate(self, policy: AttributionPolicy, recorded_at: int) -> None:
        """What ``streams.restate`` sends: all stored hits once more, and a trigger for every conversion that stands.

        Triggers are sent without waiting for the hits, which the real one does: the end must be the same.
        """
        self.restated_under, self.restated_at = policy, recorded_at
        self.restatements[recorded_at] = policy.version
        restated = Restated(policy.version, recorded_at)
        by_visitor: dict[str, list[Hit]] = defaultdict(list)
        for row in self.writer.dicts("hits"):
            hit = hit_of(tuple(row[name] for name in HIT_FIELDS), restated)
            by_visitor[hit.visitor_id].append(hit)
        for visitor, hits in by_visitor.items():
            self.rng.shuffle(hits)
            while hits:
                size = self.rng.randint(1, 4)
                part, hits = hits[:size], hits[size:]
                self.append(HITS, visitor.encode(), encode_envelope(part))
        standing: Counter[tuple[str, str]] = Counter()
        for row in self.writer.dicts("conversions"):
            standing[row["site"], row["conversion_id"]] += row["sign"]
        over = {row["conversion_id"] for row in self.writer.dicts("conversions") if row["cause"] in OVER}
        for (site, conversion_id), sign in standing.items():
            if sign or conversion_id in over:
                wish = Trigger(
                    conversion_id=conversion_id,
                    site=site,
                    visitor_id="",
                    hits_partition=-1,
                    recorded_at=recorded_at,
                    nonce="job",
                    policy=policy.version,
                )
                self.append(CONVERSIONS, conversion_id.encode(), encode_trigger(wish))

    def dismiss(self, worker: Worker) -> None:
        """Its process ended."""
        self.workers = {place: one for place, one in self.workers.items() if one is not worker}
        self.zombies = [zombie for zombie in self.zombies if zombie[2] is not worker]

    def all_die(self) -> None:
        """Crash of every worker, those that sleep too."""
        self.workers.clear()
        self.zombies.clear()

    async def meanwhile(self) -> None:
        """While a stage waits for Redis: Redis may be set back, and stitch may change the past under credit's hands."""
        if self.rng.random() < self.sets_back_meanwhile and self.copies:
            await self.set_back(self.rng.choice(self.copies))
        if self.credit_is_running and self.rng.random() < 0.3:
            self.credit_is_running = False
            await self.turn(HITS, self.rng.randrange(PARTITIONS), 2)
            self.credit_is_running = True

    def fall_asleep(self, topic: str, partition: int) -> None:
        """The partition is given to somebody else, and its owner does not know."""
        worker = self.workers.pop((topic, partition), None)
        if worker is not None:
            self.zombies.append((topic, partition, worker))

    async def wake(self) -> None:
        """A worker that was thought dead works on."""
        if self.zombies:
            topic, partition, worker = self.rng.choice(self.zombies)
            await self.work(worker, topic, partition, self.rng.randint(1, 3))

    def forget_broker(self, number: int) -> list[tuple[str, Record]]:
        """The broker dies with its log; returns what its producer will send again."""
        spool = [
            (topic, record)
            for (topic, _), log in self.logs.items()
            if topic in (HITS, DEALS, SPEND)
            for record in log
        ]
        self.logs.clear()
        self.all_die()
        self.journals = CrashingJournals(self)
        self.broker = f"{VOLATILE_CLUSTER_PREFIX}{number}"
        return spool

    async def put_away(self) -> None:
        """Timelines that are not spared by chance leave Redis for ClickHouse."""
        share = self.rng.choice((0.3, 1.0))
        for key in sorted(await self.redis.keys("t{h*")):
            # What Valkey was set back to has no time to live.
            await self.redis.pexpire(key, LONG_MS if self.rng.random() < share else 2 * LONG_MS)
        self.times_put_away += await put_away(FenceStore(self.redis), LONG_MS + 1)

    async def copy(self) -> None:
        """Keep Valkey as it is now."""
        keys = await self.redis.keys("*")
        self.copies = [*self.copies[-3:], {key: await self.redis.dump(key) for key in keys}]

    async def set_back(self, copy: dict[bytes, bytes]) -> None:
        """Valkey as it was. Workers that are alive are not told; what came after never happened."""
        self.times_set_back += 1
        self.copies = self.copies[: self.copies.index(copy) + 1]
        self.telling += self.told
        self.told = []
        await self.redis.flushdb()
        for key, value in copy.items():
            await self.redis.restore(key, 0, value)


async def play(
    empty_valkey: str,
    hits: list[Hit],
    policies: Sequence[AttributionPolicy],
    seed: int,
    crashes: list[int],
    accidents: Accidents = Accidents(),
    restated: Sequence[AttributionPolicy] = (),
    deliveries: Sequence[Delivery] = (),
    deals: DealSettings | None = None,
    told: Sequence[ConversionFact] = (),
) -> House:
    """Everything arrives, in the order and with the accidents of ``seed``; returns when all is settled.

    With several policies each worker starts with the one of its time: they change as the hits arrive. ``restated``:
    policies that everything is restated under, the first when three quarters of the hits have arrived, the others when
    all is settled; the workers start with each. ``deliveries`` arrive among the hits, each at least once, and so does
    what is ``told`` of conversions without any.
    """
    rng = random.Random(seed)
    redis = Redis.from_url(empty_valkey)
    await redis.flushdb()
    is_volatile = rng.random() < 0.5
    broker = f"{VOLATILE_CLUSTER_PREFIX}1" if is_volatile else "durable"
    recent = RecentTimelines(rng.choice((0, 3 * held_bytes(200), DEFAULT_BYTES)))
    house = House(redis, policies[0], Faults(crashes), broker, rng, recent)
    house.deals = deals
    delivered = [*deliveries, *rng.sample(deliveries, k=rng.randint(0, len(deliveries)))]
    rng.shuffle(delivered)
    arriving = hits + rng.sample(hits, k=rng.randint(0, len(hits)))
    rng.shuffle(arriving)
    waiting = len(arriving)
    house.telling = [*told, *rng.sample(told, k=rng.randint(0, len(told)))]
    rng.shuffle(house.telling)
    # What a dead broker had is lost for a Valkey that was set back (docs/delivery.md): one or the other.
    forgets = accidents.forgets if is_volatile and not accidents.sets_back else 0.0
    left = list(restated)
    house.sets_back_meanwhile = accidents.sets_back / 4
    number = 1
    for turn in range(MOST_TURNS):
        action = rng.random()
        try:
            if accidents.sets_back and turn % 4 == 0:
                await house.copy()
            if rng.random() < accidents.sets_back:
                await house.set_back(rng.choice(house.copies))
            if rng.random() < accidents.puts_away:
                await house.put_away()
            if rng.random() < accidents.sleeps:
                house.fall_asleep(rng.choice(house.topics), rng.randrange(PARTITIONS))
            if house.zombies and rng.random() < 0.3:
                await house.wake()
            if delivered and rng.random() < 0.4:
                size = rng.randint(1, 3)
                part, delivered = delivered[:size], delivered[size:]
                house.append(DEALS, part[0].site.encode(), encode_deliveries(part))
            if house.telling and rng.random() < 0.15:
                await house.tell(house.telling.pop())
            if arriving and action < 0.4:
                size = rng.randint(1, 4)
                by_partition: dict[int, list[Hit]] = defaultdict(list)
                for hit in arriving[:size]:
                    by_partition[partition_of(hit.visitor_id, PARTITIONS)].append(hit)
                del arriving[:size]
                for envelope in by_partition.values():
                    house.append(HITS, envelope[0].visitor_id.encode(), encode_envelope(envelope))
                if house.policy in policies:
                    house.policy = policies[(waiting - len(arriving)) * (len(policies) - 1) // waiting]
            elif forgets and action < 0.4 + forgets and number < 4:
                number += 1
                for topic, record in house.forget_broker(number):
                    house.append(topic, record.key, record.value)
                if house.ends:
                    house.mark_ends()
                if house.restated_under is not None:  # its triggers died with the broker
                    house.restate(house.restated_under, house.restated_at)
            elif action < 0.9:
                topic = rng.choice(house.topics)
                await house.turn(topic, rng.randrange(PARTITIONS), rng.randint(1, 3))
            else:
                house.workers.pop((rng.choice(house.topics), rng.randrange(PARTITIONS)), None)
            if (
                left
                and house.policy is not left[0]
                and len(arriving) * 4 <= waiting
                and not house.restatements
            ):
                house.start_with(left[0])
            if left and house.policy is left[0] and await house.is_quiet():
                house.restate(left.pop(0), RESTATED_AT + len(house.restatements))
            if not arriving and not delivered and await settled(house, rng) and not house.telling:
                if not left:
                    break
                house.start_with(left[0])
        except Crash:
            house.all_die()
    else:
        raise AssertionError(f"not settled after {MOST_TURNS} turns")
    house.tallies = {partition: await tallies(redis, partition) for partition in range(PARTITIONS)}
    house.timelines = {key: await redis.get(key) for key in await redis.keys("t{h*")}
    await redis.aclose()
    return house


async def settled(house: House, rng: random.Random) -> bool:
    """True when every log is processed, every store is as its workers left it, and no conversion waits."""
    before = house.times_set_back
    for topic in house.topics:
        for partition in range(PARTITIONS):
            if await house.turn(topic, partition, rng.randint(1, 3)):
                return False
            worker = house.workers.get((topic, partition))
            if worker is None:
                return False
            try:
                await worker.stage.idle()
            except Fenced:
                house.dismiss(worker)
                return False
    for partition in range(PARTITIONS):
        if await house.redis.hlen(dirty_key(partition)):
            house.workers.pop((HITS, partition), None)  # the next owner sends the triggers again
            return False
        if await house.redis.hlen(outbox_key(partition)):
            house.workers.pop((CONVERSIONS, partition), None)
            return False
        if await house.redis.hlen(dirty_key(partition, DEALS)) or await house.redis.hlen(
            outbox_key(partition, DEALS)
        ):
            house.workers.pop((DEALS, partition), None)
            return False
    if house.zombies:
        return await all_asleep(house)
    # Valkey may be set back while this looks: whoever was asked before that has not noticed yet.
    return house.times_set_back == before


async def all_asleep(house: House) -> bool:
    """Let every zombie try once more; False, to look again, since it may have changed something."""
    for topic, partition, worker in list(house.zombies):
        await house.work(worker, topic, partition, 1)
        house.dismiss(worker)
    return False
