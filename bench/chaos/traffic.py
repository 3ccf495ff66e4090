"""Events of many visitors for the kills: tagged visits, purchases, late and doubled hits, robots, with known ids.

The same seed gives the same events in the same order. Every event names its ``event_id``, visitor and instant, so
what was sent can be told from what is stored.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

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

_NEW_VISITOR, _LATE, _DOUBLED, _ROBOTIC, _BUYS, _LEADS, _SAME_ORDER = 0.12, 0.06, 0.05, 0.01, 0.06, 0.02, 0.2


@dataclass(frozen=True, slots=True)
class Event:
    """One event as a sender knows it. ``fields`` are the contract's."""

    event_id: str
    visitor_id: str
    fields: dict[str, Any]
    user_agent: str

    @property
    def is_robot(self) -> bool:
        """True if it must end in ``drops`` and not in ``hits``."""
        return self.user_agent == _ROBOT


@dataclass
class _Visitor:
    visitor_id: str
    at: int
    user_agent: str
    events: int = 0
    orders: list[str] = field(default_factory=list)


class Traffic:
    """An endless stream of events. ``run`` makes the ids of this run different from those of any other."""

    def __init__(self, seed: int, run: str, partitions: int) -> None:
        self._rng = random.Random(seed)
        self._run = run
        self._partitions = partitions
        self._visitors: list[_Visitor] = []
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
        """One purchase of a new visitor for each partition: when all are credited, everything works again."""
        found: dict[int, Event] = {}
        while len(found) < self._partitions:
            self._probes += 1
            visitor_id = f"{self._run}-probe-{self._probes}"
            partition = partition_of(visitor_id, self._partitions)
            if partition not in found:
                fields = {"event": "purchase", "url": f"{_PAGE}thanks", "value": "1.00", "currency": "USD"}
                found[partition] = self._event(visitor_id, BEGAN_AT, _BROWSER, 1, fields)
        return list(found.values())

    def _next(self) -> Event:
        rng = self._rng
        if not self._visitors or rng.random() < _NEW_VISITOR:
            agent = _ROBOT if rng.random() < _ROBOTIC * 5 else rng.choice((_BROWSER, _BROWSER, _PHONE))
            started = BEGAN_AT + rng.randrange(10 * DAY_MS)
            visitor = _Visitor(f"{self._run}-v{len(self._visitors)}", started, agent)
            self._visitors.append(visitor)
        else:
            # Mostly recent ones, so that sessions grow while parts die.
            index = int(len(self._visitors) * (1 - rng.random() ** 2))
            visitor = self._visitors[min(index, len(self._visitors) - 1)]
        visitor.at += rng.choices(_STEPS_MS, _STEP_WEIGHTS)[0]
        at = visitor.at
        if rng.random() < _LATE:
            at = max(BEGAN_AT, at - rng.choice((10 * MINUTE_MS, HOUR_MS, DAY_MS, 3 * DAY_MS)))
        visitor.events += 1
        return self._event(visitor.visitor_id, at, visitor.user_agent, visitor.events, self._content(visitor))

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
        others = rng.choice(self._visitors).orders if rng.random() < 0.3 else visitor.orders
        if others and rng.random() < _SAME_ORDER:
            return rng.choice(others)
        self._orders += 1
        order = f"{self._run}-o{self._orders}"
        visitor.orders.append(order)
        return order

    def _event(
        self, visitor_id: str, at: int, user_agent: str, number: int, content: dict[str, Any]
    ) -> Event:
        event_id = f"{visitor_id}-{number}"
        fields = {"event_id": event_id, "visitor_id": visitor_id, "occurred_at": str(at), **content}
        return Event(event_id, visitor_id, fields, user_agent)
