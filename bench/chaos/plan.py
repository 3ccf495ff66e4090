"""Which fault when: a deck of everything that may go wrong, shuffled again and again, with a seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from bench.chaos.cluster import Kind, Shape


class Act(StrEnum):
    """What is done to the system."""

    kill = "SIGKILL"
    kill_in_insert = "SIGKILL in mid-insert"
    term = "SIGTERM"
    term_in_batch = "SIGTERM in mid-batch"
    sleep = "SIGSTOP, SIGCONT"
    kill_all = "SIGKILL of everything at once"
    storm = "workers join and leave"
    reset = "connections reset"
    deaf = "answers lost"
    slow = "slow network"
    hole = "half-open connections"
    set_back = "Valkey set back"
    disk_full = "disk full"
    clock = "server clock jumps"
    malformed = "malformed records"
    flawed = "hit that makes the stage raise"


SLEEP_S = (8.0, 14.0)
"""Longer than the session timeout of six seconds: partitions move meanwhile, and the sleeper wakes up as a zombie."""
WEATHER_S = (2.0, 8.0)
CLOCK_JUMPS_MS = (-3 * 86_400_000, -3_600_000, 1_800_000, 86_400_000)
SET_BACK_S = (2.0, 6.0)

LINKS = ("senders>collector", "worker>valkey", "worker>engine", "collector>broker", "worker>broker")
COLLECTOR_CLIENT = "headwater-collector"
"""Kafka client id of collectors; workers have others."""
_WORKER_CLIENTS = ("faust", "aiokafka")


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong. ``targets`` are names of processes or links; ``seconds`` it lasts."""

    act: Act
    targets: tuple[str, ...] = ()
    seconds: float = 0.0
    only: str = ""
    """Clients of a broker that it hits: how their client id begins."""
    amount: int = 0

    def __str__(self) -> str:
        parts = [str(self.act), " + ".join(self.targets)]
        if self.only:
            parts.append(f"({self.only})")
        if self.seconds:
            parts.append(f"for {self.seconds:.1f} s")
        if self.amount:
            parts.append(f"[{self.amount}]")
        return " ".join(part for part in parts if part)


def plan_faults(count: int, seed: int, shape: Shape, *, without: Sequence[Act] = ()) -> list[Fault]:
    """``count`` faults: decks in random order, each of which holds everything at least once."""
    rng = random.Random(f"faults {seed}")
    names = _Names(shape)
    faults: list[Fault] = []
    while len(faults) < count:
        deck = [card for card in _deck(shape) if card[0] not in without]
        rng.shuffle(deck)
        faults += [_draw(act, part, names, rng) for act, part in deck]
    return faults[:count]


def deck_size(shape: Shape, *, without: Sequence[Act] = ()) -> int:
    """How many faults are needed to have each at least once."""
    return sum(act not in without for act, _ in _deck(shape))


class _Names:
    """The processes of each part."""

    def __init__(self, shape: Shape) -> None:
        self.collectors = [f"collector-{n}" for n in range(1, shape.collectors + 1)]
        self.workers = [f"worker-{n}" for n in range(1, shape.workers + 1)]
        self.brokers = [f"kafka-{n}" for n in range(1, 4)] if shape.kafka is Kind.apache else ["broker"]

    def of(self, part: str) -> list[str]:
        parts = {"collector": self.collectors, "worker": self.workers, "broker": self.brokers}
        return parts.get(part, [part])


def _deck(shape: Shape) -> list[tuple[Act, str]]:
    kills = ["worker"] * 3 + ["collector"] * 2 + ["broker"] * 2 + ["valkey"] * 2 + ["engine"] * 2
    pairs = ["worker+broker", "worker+engine", "valkey+broker", "engine+valkey", "collector+broker"]
    if shape.kafka is Kind.apache:
        pairs += ["broker+broker"]
    sleepers = ["worker", "worker", "broker", "valkey", "engine", "collector"]
    links = [*LINKS, *(["collector>valkey"] if shape.kafka is Kind.embedded else [])]
    return [
        *((Act.kill, part) for part in [*kills, *pairs]),
        *((Act.kill_in_insert, part) for part in ("engine", "engine", "worker", "valkey")),
        *((Act.term_in_batch, part) for part in ("worker", "worker")),
        *((Act.term, part) for part in ("collector", "broker", "valkey", "engine")),
        *((Act.sleep, part) for part in sleepers),
        (Act.kill_all, ""),
        (Act.storm, ""),
        *((act, link) for act in (Act.reset, Act.deaf, Act.hole) for link in links),
        *((Act.slow, link) for link in ("worker>engine", "worker>broker")),
        # The journal that makes up for it is in the broker: an embedded one may be killed before it is read, and who
        # loses the store's last seconds and the journal at once has a power cut (docs/delivery.md, known limits).
        *([(Act.set_back, "valkey")] if shape.kafka is Kind.apache else []),
        (Act.disk_full, "collector"),
        (Act.clock, "collector"),
        (Act.malformed, ""),
        (Act.malformed, ""),
        (Act.flawed, ""),
    ]


def _draw(act: Act, part: str, names: _Names, rng: random.Random) -> Fault:
    if act in (Act.reset, Act.deaf, Act.slow, Act.hole):
        targets, only = _links(part, names, rng)
        seconds = 0.0 if act is Act.reset else rng.uniform(*WEATHER_S)
        return Fault(act, targets, seconds, only)
    if act is Act.sleep:
        return Fault(act, (rng.choice(names.of(part)),), rng.uniform(*SLEEP_S))
    if act is Act.storm:
        return Fault(act, seconds=rng.uniform(10.0, 16.0))
    if act is Act.set_back:
        return Fault(act, (part,), rng.uniform(*SET_BACK_S))
    if act is Act.disk_full:
        return Fault(act, (rng.choice(names.collectors),), rng.uniform(3.0, 8.0))
    if act is Act.clock:
        return Fault(
            act, (rng.choice(names.collectors),), rng.uniform(3.0, 8.0), amount=rng.choice(CLOCK_JUMPS_MS)
        )
    if act is Act.malformed:
        return Fault(act, amount=rng.randint(3, 8))
    hit: list[str] = []
    for one in part.split("+") if part else []:
        hit.append(rng.choice([name for name in names.of(one) if name not in hit]))
    return Fault(act, tuple(hit))


def _links(kind: str, names: _Names, rng: random.Random) -> tuple[tuple[str, ...], str]:
    """The links of one kind that are hit, often one and sometimes all, and which of their clients."""
    near, _, far = kind.partition(">")
    if far == "broker":
        links = [f"clients>{name}" for name in names.brokers]
        only = COLLECTOR_CLIENT if near == "collector" else rng.choice(_WORKER_CLIENTS)
    elif near == "senders":
        links, only = [f"senders>{name}" for name in names.collectors], ""
    else:
        links, only = [f"{name}>{far}" for name in names.of(near)], ""
    return tuple(links if rng.random() < 0.35 else [rng.choice(links)]), only
