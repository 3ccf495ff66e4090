"""Events of many visitors for the kills: tagged visits, purchases, late and doubled hits, robots, with known ids.

The same seed gives the same events in the same order. Every event names its ``event_id``, visitor and instant, so
what was sent can be told from what is stored. Visitors fall into slices; no order is reported by visitors of two
slices, so what one slice must lead to can be computed without the others.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from streams.topics import partition_of

MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
BEGAN_AT = 1_790_812_800_000
"""2026-10-01: where the visitors' clocks begin. They run on their own, in jumps, for about a month."""

_PAGE = "https://shop.example/"
_LANDINGS = (
    "",
    "",
    "",
    "?utm_source=google&utm_medium=cpc&utm_campaign=lamps&gclid=G{n}",
    "?utm_source=newsletter&utm_medium=email&utm_campaign=week{n}",
    "?utm_source=linkedin&utm_medium=paid_social&utm_campaign=b2b",
    "?fbclid=F{n}",
    "?utm_source=partner{n}&utm_medium=affiliate",
)
_REFERRERS = ("", "", "https://www.google.com/", "https://www.bing.com/", "https://blog.example/post")
_STEPS_MS = (
    1_000,
    20_000,
    90_000,
    5 * MINUTE_MS,
    29 * MINUTE_MS,
    31 * MINUTE_MS,
    5 * HOUR_MS,
    DAY_MS,
    6 * DAY_MS,
)
_STEP_WEIGHTS = (6, 8, 8, 6, 2, 3, 3, 2, 1)
_BROWSER = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"
)
_PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Mobile/15E148 Safari/604.1"
_ROBOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"

FLAW = "this hit makes the stage raise"

_NEW_VISITOR, _LATE, _DOUBLED, _ROBOTIC, _BUYS, _LEADS, _SAME_ORDER = 0.12, 0.06, 0.05, 0.01, 0.06, 0.02, 0.2
_WRONG_CLOCK, _CLOCK_JUMPS = 0.03, 0.3
_HAS_ACCOUNT, _OTHER_DEVICE, _SIGNED_IN = 0.15, 0.4, 0.3
_CLOCK_ERRORS_MS = (-3 * DAY_MS, -DAY_MS - HOUR_MS, -2 * HOUR_MS, 3 * HOUR_MS, DAY_MS, 5 * DAY_MS)


class Event(msgspec.Struct, frozen=True):
    """One event as a sender knows it. ``fields`` are the contract's."""

    event_id: str
    visitor_id: str
    fields: dict[str, Any]
    user_agent: str
    slice: int = 0
    """Of its visitor."""

    @property
    def is_robot(self) -> bool:
        """True if it must end in ``drops`` and not in ``hits``."""
        return self.user_agent == _ROBOT

    @property
    def is_flawed(self) -> bool:
        """True if it makes the stage of a flawed worker raise (``bench.chaos.flawed``): a dead letter, no hit."""
        return self.fields.get("title") == FLAW


@dataclass
class _Visitor:
    visitor_id: str
    at: int
    user_agent: str
    slice: int = 0
    clock_error_ms: int | None = None
    """The clock is wrong and jumps, and the browser says so (``sent_at``): such visitors live now."""
    events: int = 0
    orders: list[str] = field(default_factory=list)
    user_id: str = ""
    """He signs in now and then, under a name that visitors of his slice may share."""


def _now_ms() -> int:
    return int(time.time() * 1000)


class Traffic:
    """An endless stream of events. ``run`` makes the ids of this run different from those of any other.

    ``now`` (epoch ms) is asked for visitors with wrong clocks only, so all other events depend on the seed alone.
    """

    def __init__(
        self, seed: int, run: str, partitions: int, *, slices: int = 1, now: Callable[[], int] = _now_ms
    ) -> None:
        self._rng = random.Random(seed)
        self._run = run
        self._partitions = partitions
        self._slices = slices
        self._now = now
        self._visitors: list[_Visitor] = []
        self._of_slice: list[list[_Visitor]] = [[] for _ in range(slices)]
        self.clock_jumps = 0
        """How often a visitor's clock has jumped."""
        self._orders = 0
        self._probes = 0
        self._recent: list[Event] = []

    def events(self) -> Iterator[Event]:
        """Events for ever; some come twice."""
        rng = self._rng
        while True:
            if self._recent and rng.random() < _DOUBLED:
                yield rng.choice(self._recent)
                continue
            event = self._next()
            if len(self._recent) < 500:
                self._recent.append(event)
            else:
                self._recent[rng.randrange(500)] = event
            yield event

    def probes(self) -> list[Event]:
        """One purchase of a new visitor for each partition, in order: when all are credited, everything works again."""
        found: dict[int, Event] = {}
        while len(found) < self._partitions:
            self._probes += 1
            slice_ = self._probes % self._slices
            visitor_id = f"{self.prefix(slice_)}probe-{self._probes}"
            partition = partition_of(visitor_id, self._partitions)
            if partition not in found:
                fields = {"event": "purchase", "url": f"{_PAGE}thanks", "value": "1.00", "currency": "USD"}
                visitor = _Visitor(visitor_id, BEGAN_AT, _BROWSER, slice_, events=1)
                found[partition] = _event(visitor, {"occurred_at": str(BEGAN_AT), **fields})
        return [found[partition] for partition in range(self._partitions)]

    def flawed(self) -> Event:
        """A hit of a new visitor that a flawed worker cannot process."""
        self._probes += 1
        slice_ = self._probes % self._slices
        visitor = _Visitor(f"{self.prefix(slice_)}flaw-{self._probes}", BEGAN_AT, _BROWSER, slice_, events=1)
        return _event(visitor, {"occurred_at": str(BEGAN_AT), "url": _PAGE, "title": FLAW})

    def slices(self) -> list[str]:
        """The prefix of each slice."""
        return [self.prefix(slice_) for slice_ in range(self._slices)]

    def prefix(self, slice_: int) -> str:
        """How the ids of all visitors of a slice begin, and no others."""
        return f"{self._run}-s{slice_:02d}-"

    def _next(self) -> Event:
        rng = self._rng
        if not self._visitors or rng.random() < _NEW_VISITOR:
            visitor = self._visitor()
        else:
            # Mostly recent ones, so that sessions grow while parts die.
            index = int(len(self._visitors) * (1 - rng.random() ** 2))
            visitor = self._visitors[min(index, len(self._visitors) - 1)]
        visitor.events += 1
        said = {**self._times(visitor), **self._content(visitor)}
        if visitor.user_id and rng.random() < _SIGNED_IN:
            said["user_id"] = visitor.user_id
        return _event(visitor, said)

    def _visitor(self) -> _Visitor:
        rng = self._rng
        agent = _ROBOT if rng.random() < _ROBOTIC * 5 else rng.choice((_BROWSER, _BROWSER, _PHONE))
        number = len(self._visitors)
        slice_ = number % self._slices
        started = BEGAN_AT + rng.randrange(10 * DAY_MS)
        error = rng.choice(_CLOCK_ERRORS_MS) if rng.random() < _WRONG_CLOCK else None
        visitor = _Visitor(f"{self.prefix(slice_)}v{number}", started, agent, slice_, error)
        if rng.random() < _HAS_ACCOUNT:
            known = [other.user_id for other in self._of_slice[slice_][-20:] if other.user_id]
            is_other_device = known and rng.random() < _OTHER_DEVICE
            visitor.user_id = rng.choice(known) if is_other_device else f"{self.prefix(slice_)}u{number}"
        self._visitors.append(visitor)
        self._of_slice[slice_].append(visitor)
        return visitor

    def _times(self, visitor: _Visitor) -> dict[str, str]:
        rng = self._rng
        visitor.at += rng.choices(_STEPS_MS, _STEP_WEIGHTS)[0]
        at = visitor.at
        if rng.random() < _LATE:
            at = max(BEGAN_AT, at - rng.choice((10 * MINUTE_MS, HOUR_MS, DAY_MS, 3 * DAY_MS)))
        if visitor.clock_error_ms is None:
            return {"occurred_at": str(at)}
        if rng.random() < _CLOCK_JUMPS:
            visitor.clock_error_ms = rng.choice(_CLOCK_ERRORS_MS)
            self.clock_jumps += 1
        sent_at = self._now() + visitor.clock_error_ms
        return {"occurred_at": str(sent_at - rng.randrange(HOUR_MS)), "sent_at": str(sent_at)}

    def _content(self, visitor: _Visitor) -> dict[str, Any]:
        rng = self._rng
        chance = rng.random()
        if chance < _BUYS:
            bought: dict[str, Any] = {"event": "purchase"}
            if rng.random() < 0.9:
                bought |= {"value": f"{rng.randrange(1, 30_000) / 100:.2f}", "currency": "USD"}
            if rng.random() < 0.8:
                bought["order_id"] = self._order(visitor)
            if rng.random() < 0.7:  # else the shop's server says so: no page, no visit
                bought["url"] = f"{_PAGE}thanks"
            return bought
        if chance < _BUYS + _LEADS:
            return {"event": rng.choice(("lead", "sign_up")), "url": f"{_PAGE}contact"}
        landing = rng.choice(_LANDINGS).format(n=rng.randrange(4))
        page: dict[str, Any] = {"url": f"{_PAGE}p{rng.randrange(20)}{landing}", "title": "Lämpchen"}
        if referrer := rng.choice(_REFERRERS):
            page["referrer"] = referrer
        if rng.random() < 0.2:
            page["event"] = rng.choice(("add_to_cart", "click", "impression"))
        return page

    def _order(self, visitor: _Visitor) -> str:
        """Mostly a new order; sometimes one that was reported before, now and then by another visitor."""
        rng = self._rng
        known = rng.choice(self._of_slice[visitor.slice]) if rng.random() < 0.3 else visitor
        others = known.orders
        if others and rng.random() < _SAME_ORDER:
            return rng.choice(others)
        self._orders += 1
        order = f"{self._run}-o{self._orders}"
        visitor.orders.append(order)
        return order


def _event(visitor: _Visitor, content: dict[str, Any]) -> Event:
    event_id = f"{visitor.visitor_id}-{visitor.events}"
    fields = {"event_id": event_id, "visitor_id": visitor.visitor_id, **content}
    return Event(event_id, visitor.visitor_id, fields, visitor.user_agent, visitor.slice)
