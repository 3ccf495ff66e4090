"""The traffic that every figure is measured on: visitors with about five touches and eight hits, fixed seed.

The marketing is the simulator's (``runtime.simulator.programmes``); the shape is that of a busy shop: 2 % of the
hits are purchases, 4 % arrive late (minutes to days), 1 % twice, 1 % come from robots. The same arguments give the
same bytes. Instants are epoch milliseconds, UTC; money is US cents.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from attribution.hit import Hit, encode_envelope, encode_hit
from runtime.simulator.programmes import PROGRAMMES, SHOP
from streams.topics import partition_of

MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
BEGAN_AT = 1_790_812_800_000
"""2026-10-01."""
DAYS = 30
SITE = "site_bench"
HITS_PER_VISITOR = 8
ENVELOPE_HITS = (100, 500)
"""Fewest and most hits of one record, as the collector makes them under load."""

_SAID = (
    "event_id",
    "visitor_id",
    "url",
    "referrer",
    "title",
    "value",
    "currency",
    "order_id",
    "user_agent",
)

_TOUCHES = (2, 3, 4, 5, 6, 7, 8)
_TOUCH_WEIGHTS = (8, 14, 20, 22, 18, 11, 7)
_STEPS = (0, 1, 2, 3)
_STEP_WEIGHTS = (57, 30, 9, 4)
_PURCHASES_PER_VISIT = 0.033
_DEVICES = 2
"""Visitors of one person who logs in."""
_ANONYMOUS_HITS = 3
"""Of a visitor who logs in: fewer than so many hits come before that."""
_PAGES = tuple(f"/{part}/{name}" for part in ("lamps", "bulbs", "offices", "blog") for name in range(40))
_AGENTS = tuple(
    f"Mozilla/5.0 ({system}) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{version}.0.0.0 Safari/537.36"
    for system in (
        "Windows NT 10.0; Win64; x64",
        "Macintosh; Intel Mac OS X 10_15_7",
        "X11; Linux x86_64",
        "Linux; Android 15; Pixel 9",
        "Linux; Android 14; SM-S921B",
    )
    for version in range(128, 142)
)
_ROBOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"


class RecordOut(msgspec.Struct, frozen=True, gc=False):
    """One Kafka record to be produced."""

    partition: int
    key: bytes
    value: bytes


@dataclass(frozen=True)
class Traffic:
    """Hits in the order of arrival, and what must come of them."""

    hits: list[Hit]
    visitors: int
    duplicates: int
    bots: int
    orders: int
    revenue: int
    """US cents."""

    @property
    def kept(self) -> int:
        """Rows that ``hits`` must have in the end."""
        return len(self.hits) - self.duplicates - self.bots


def build_traffic(hits: int, *, seed: int = 1, began_at: int = BEGAN_AT, identified: float = 0.0) -> Traffic:
    """About ``hits`` hits (a whole number of visitors) of the ``DAYS`` from ``began_at`` on, everything counted.

    ``identified``: share of the people who log in. Each has two visitors, a phone and a laptop, and from one of a
    visitor's first hits on every one names the user and the address. All else is the same for every share.
    """
    rng = random.Random(f"bench/{seed}/{hits}")
    names = random.Random(f"bench/{seed}/{hits}/people")
    visitors = max(1, round(hits / (HITS_PER_VISITOR * 1.02)))
    told: list[tuple[int, Hit]] = []
    revenue = orders = 0
    is_known = False
    for number in range(visitors):
        if number % _DEVICES == 0:
            is_known = names.random() < identified
        known_from = names.randrange(_ANONYMOUS_HITS) if is_known else None
        for serial, hit in enumerate(_visitor(rng, number, began_at)):
            if known_from is not None and serial >= known_from:
                _log_in(hit, f"user-{seed}-{number // _DEVICES}")
            if hit.value is not None:
                orders += 1
                revenue += int(hit.value.replace(".", ""))
            told.append((hit.received_at, hit))
    duplicates = [(at + rng.randrange(HOUR_MS), hit) for at, hit in rng.sample(told, len(told) // 100)]
    bots = [_robot(rng, number, began_at) for number in range(len(told) // 100)]
    everything = told + duplicates + [(hit.received_at, hit) for hit in bots]
    everything.sort(key=lambda pair: pair[0])
    arrived = [hit for _, hit in everything]
    return Traffic(arrived, visitors, len(duplicates), len(bots), orders, revenue)


def envelopes(hits: list[Hit], partitions: int, *, seed: int = 1) -> list[RecordOut]:
    """``hits`` as the collector sends them under load: JSON arrays of hits of one partition."""
    rng = random.Random(seed)
    waiting: dict[int, list[Hit]] = {}
    limits: dict[int, int] = {}
    records: list[RecordOut] = []
    for hit in hits:
        partition = partition_of(hit.visitor_id, partitions)
        part = waiting.setdefault(partition, [])
        part.append(hit)
        if len(part) >= limits.setdefault(partition, rng.randint(*ENVELOPE_HITS)):
            records.append(RecordOut(partition, b"", encode_envelope(part)))
            waiting[partition] = []
            limits[partition] = rng.randint(*ENVELOPE_HITS)
    records += [
        RecordOut(partition, b"", encode_envelope(part)) for partition, part in waiting.items() if part
    ]
    return records


def singles(hits: list[Hit], partitions: int) -> list[RecordOut]:
    """``hits`` as most producers would send them: one JSON object a record, keyed by visitor."""
    return [
        RecordOut(partition_of(hit.visitor_id, partitions), hit.visitor_id.encode(), encode_hit(hit))
        for hit in hits
    ]


def _visitor(rng: random.Random, number: int, began_at: int) -> Iterator[Hit]:
    name = f"{rng.getrandbits(64):016x}{number:08x}"
    agent = rng.choice(_AGENTS)
    ip = f"203.0.{rng.randrange(256)}.0"
    serial = 0
    at = began_at + rng.randrange(DAYS * DAY_MS // 2)
    for visit in range(rng.choices(_TOUCHES, _TOUCH_WEIGHTS)[0]):
        at += rng.randrange(HOUR_MS, 3 * DAY_MS) if visit else 0
        programme = rng.choices(PROGRAMMES, [p.closing if visit else p.opening for p in PROGRAMMES])[0]
        arrival = rng.choice(programme.arrivals)
        query = arrival.query(rng)
        page = rng.choice(_PAGES)
        url = f"{SHOP}{page}?{query}" if query else SHOP + page
        yield _hit(rng, name, serial, at, url, arrival.referrer, agent, ip)
        serial += 1
        for _ in range(rng.choices(_STEPS, _STEP_WEIGHTS)[0]):
            at += rng.randrange(4_000, 90_000)
            before, page = page, rng.choice(_PAGES)
            yield _hit(rng, name, serial, at, SHOP + page, SHOP + before, agent, ip)
            serial += 1
        if rng.random() < _PURCHASES_PER_VISIT:
            at += 60_000
            bought = _hit(rng, name, serial, at, f"{SHOP}/thank-you", SHOP + page, agent, ip)
            cents = int(rng.lognormvariate(8.9, 0.7)) + 495
            bought.event, bought.currency, bought.order_id = "purchase", "USD", f"o-{name}-{serial}"
            bought.value = f"{cents // 100}.{cents % 100:02d}"
            yield bought
            serial += 1


def _log_in(hit: Hit, user: str) -> None:
    """``hit`` is one of ``user``, as the collector writes it down."""
    hit.user_id, hit.email_sha256 = user, hashlib.sha256(f"{user}@mail.invalid".encode()).hexdigest()


def _hit(
    rng: random.Random, visitor_id: str, serial: int, at: int, url: str, referrer: str, agent: str, ip: str
) -> Hit:
    delay = rng.randrange(20, 900)
    if rng.random() < 0.04:
        delay = rng.choice((rng.randrange(MINUTE_MS, HOUR_MS), rng.randrange(HOUR_MS, 2 * DAY_MS)))
    return Hit(
        event_id=f"{rng.getrandbits(96):024x}{serial:04x}",
        site=SITE,
        visitor_id=visitor_id,
        occurred_at=at,
        received_at=at + delay,
        url=url,
        referrer=referrer,
        title="Lumen lamps",
        consent="analytics,ads",
        user_agent=agent,
        ip=ip,
    )


def _robot(rng: random.Random, number: int, began_at: int) -> Hit:
    at = began_at + rng.randrange(DAYS * DAY_MS)
    page = SHOP + rng.choice(_PAGES)
    return _hit(rng, f"robot-{number % 50:04d}", number, at, page, "", _ROBOT, "66.249.66.0")


def body_of(hit: Hit) -> dict[str, str | int]:
    """What a sender says of a hit: one event of ``POST /v1/batch``."""
    said = {name: value for name in _SAID if (value := getattr(hit, name))}
    return {**said, "event": hit.event, "occurred_at": hit.occurred_at}
