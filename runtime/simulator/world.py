"""A seeded market: people, their devices and visits, what they buy, and because of what they buy it.

The truth. Every person draws one threshold. A person starts with a small chance to buy anyway (the base);
each touch adds its programme's uplift. The touch that lifts the sum over the threshold is the cause of the
purchase: with the same draw and without that touch, this purchase would not be. The purchase itself may come
visits later, through another channel: so "last touch" is not right by construction, and what would have been
bought anyway has no cause at all.

With a CRM some of these purchases are deals instead, which are won later or not, and of some orders a part is paid
back. What a touch has caused is then what the shop has of it in the end: net of refunds, of won deals only.

Pure: the same arguments give the same world. Instants are epoch milliseconds, UTC; money is US cents.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from runtime.simulator.crm import CURRENCY, Crm, CrmTruth, SimulatedMessage, Told, text
from runtime.simulator.instants import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS
from runtime.simulator.programmes import PROGRAMMES, SHOP, Arrival, Programme

BASE_PROBABILITY = 0.03
"""Chance that a person buys without any marketing."""
SESSION_GAP_MS = 30 * MINUTE_MS
"""Visits of a person keep further apart than this, unless a tagged arrival starts the next one."""
DEAL_SHARE = 0.15
"""How many of those who buy do so by way of a deal, where there is a CRM."""
TOLD_SHARE = 0.35
"""How many orders the till tells, too."""
PAID_BACK_SHARE = 0.15
"""Of how many of the others, where there is a CRM, the shop's server says that something was paid back."""
WHOLE_SHARE = 0.25
"""How many of these are paid back whole: then the server names no value."""

_DESKTOP = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 "
    "Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 "
    "Safari/605.1.15",
    "Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0",
)
_MOBILE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/18.6 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Mobile "
    "Safari/537.36",
)
_BOTS = (
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "Mozilla/5.0 (compatible; AhrefsBot/7.0; +http://ahrefs.com/robot/)",
    "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
    "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.2; +https://openai.com/gptbot)",
    "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
)
_PAGES = (
    "/",
    "/lamps",
    "/lamps/desk",
    "/lamps/floor",
    "/bulbs",
    "/offices",
    "/about",
    "/blog/light-and-sleep",
)
_LANDING_PAGES = ("/", "/lamps", "/lamps/desk", "/offices", "/blog/light-and-sleep")
_PAYMENT_REFERRERS = ("", "", "https://www.paypal.com/", "https://checkout.stripe.com/")


@dataclass(frozen=True)
class SimulatedHit:
    """One request to be sent: fields as the pixel takes them (without ``site``), and who sends it how."""

    fields: dict[str, str]
    user_agent: str
    is_pixel: bool
    """True: ``GET /p.gif``; false: in a ``POST /v1/batch``."""
    send_at: int
    """Simulated instant of sending; later than ``occurred_at``, by days for late hits."""
    is_bot: bool = False
    is_duplicate: bool = False
    """A second sending of an ``event_id`` that was sent before."""


@dataclass
class Truth:
    """What really happened, for comparison. Money in US cents."""

    people: int = 0
    visitors: int = 0
    sent: int = 0
    unique: int = 0
    """Hits of people, each ``event_id`` once: what must be kept."""
    duplicates: int = 0
    bots: int = 0
    orders: int = 0
    leads: int = 0
    sign_ups: int = 0
    revenue: int = 0
    """Of orders, less what was paid back, and of deals that are won."""
    caused: Counter[str] = field(default_factory=Counter)
    """Revenue by the programme that caused it."""
    base: int = 0
    """Revenue that no programme caused; ``base`` + all of ``caused`` = ``revenue``."""
    customers: int = 0
    """People who bought something that is worth anything in the end. Nobody buys twice."""
    earned: Counter[int] = field(default_factory=Counter)
    """Revenue by the customer's age in whole days: since the purchase that made him one."""
    sessions: Counter[str] = field(default_factory=Counter)
    """Visits by the channel that is right for them."""
    clicks: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    """Visits by programme, campaign ("" where the tags name none) and day since 1970."""
    views: Counter[str] = field(default_factory=Counter)
    """Ads that were seen, by campaign."""
    crm: CrmTruth = field(default_factory=CrmTruth)

    @property
    def conversions(self) -> int:
        """Conversions of all types, as they stand in the end."""
        crm = self.crm
        return self.orders + self.leads + self.sign_ups + crm.qualified + crm.opportunities + crm.won_deals


@dataclass(frozen=True)
class World:
    """The hits in the order of sending, and the truth about them."""

    hits: list[SimulatedHit]
    truth: Truth
    messages: list[SimulatedMessage] = field(default_factory=list)
    """Of CRM and till, in the order of sending."""


@dataclass
class _Device:
    visitor_id: str
    user_agent: str
    is_pixel: bool


@dataclass
class _Visit:
    programme: Programme
    arrival: Arrival
    device: _Device
    starts_at: int


def build_world(
    *, seed: int, people: int, ends_at: int, days: int = 45, run_id: str = "", has_crm: bool = False
) -> World:
    """Simulate ``people`` over the ``days`` before ``ends_at``; no hit occurs at or after ``ends_at``.

    ``run_id`` becomes part of every id, so that several worlds can live in one installation. With ``has_crm`` there
    are deals and refunds, too, which webhooks tell.
    """
    rng = random.Random(f"{seed}/{people}/{days}")
    prefix = f"{run_id or seed}"
    truth = Truth(people=people)
    hits: list[SimulatedHit] = []
    messages: list[SimulatedMessage] = []
    for number in range(people):
        crm = Crm(rng, ends_at, truth.crm) if has_crm else None
        person = _Person(rng, f"{prefix}-{number}", ends_at, days, truth, crm)
        hits.extend(person.live())
        messages.extend(person.messages)
    hits.extend(_bots(rng, prefix, ends_at, days, len(hits) // 25))
    duplicates = list(_duplicates(rng, hits))
    truth.unique = sum(not hit.is_bot for hit in hits)
    truth.bots = len(hits) - truth.unique
    truth.duplicates = len(duplicates)
    hits += duplicates
    truth.sent = len(hits)
    truth.visitors = len({hit.fields["visitor_id"] for hit in hits if not hit.is_bot})
    hits.sort(key=lambda hit: (hit.send_at, hit.fields["event_id"], hit.is_duplicate))
    messages.sort(key=lambda message: (message.send_at, message.message_id))
    return World(hits, truth, messages)


def _bots(rng: random.Random, prefix: str, ends_at: int, days: int, count: int) -> Iterator[SimulatedHit]:
    for number in range(count):
        at = ends_at - 1 - rng.randrange(days * DAY_MS)
        fields = {
            "event_id": f"e-{prefix}-bot-{number}",
            "visitor_id": f"v-{prefix}-bot-{number % 40}",
            "occurred_at": str(at),
            "url": SHOP + rng.choice(_PAGES),
        }
        yield SimulatedHit(fields, rng.choice(_BOTS), rng.random() < 0.5, at, is_bot=True)


def _duplicates(rng: random.Random, hits: Iterable[SimulatedHit]) -> Iterator[SimulatedHit]:
    for hit in hits:
        if not hit.is_bot and rng.random() < 0.05:
            again = hit.send_at + rng.choice((SECOND_MS, MINUTE_MS, 5 * HOUR_MS))
            yield SimulatedHit(hit.fields, hit.user_agent, hit.is_pixel, again, is_duplicate=True)


class _Person:
    """One human: plans visits, decides, and leaves hits. Writes what really happened into ``truth``."""

    def __init__(
        self, rng: random.Random, name: str, ends_at: int, days: int, truth: Truth, crm: Crm | None
    ) -> None:
        self._rng = rng
        self._name = name
        self._ends_at = ends_at
        self._days = days
        self._truth = truth
        self._crm = crm
        self.messages: list[SimulatedMessage] = []
        """What CRM and till tell of this person."""
        self._hits: list[SimulatedHit] = []
        self._is_known = False
        self._devices = [self._device(n) for n in range(rng.choices((1, 2, 3), (60, 30, 10))[0])]

    def live(self) -> list[SimulatedHit]:
        """All hits of this person, unsorted."""
        rng = self._rng
        visits = self._plan_visits()
        decided_at, cause = self._decision(visits)
        buys_at = None if decided_at is None else self._purchase_visit(decided_at, visits)
        for number, visit in enumerate(visits):
            self._truth.sessions[visit.arrival.channel] += 1
            day = visit.starts_at // DAY_MS
            self._truth.clicks[visit.programme.name, visit.arrival.campaign, day] += 1
            self._visit(visit, is_purchase=number == buys_at, cause=cause)
        if rng.random() < 0.25:
            self._out_of_session(visits[0].device, visits[0].starts_at)
        return self._hits

    def _device(self, number: int) -> _Device:
        rng = self._rng
        user_agent = rng.choice(_MOBILE if rng.random() < 0.55 else _DESKTOP)
        return _Device(f"v-{self._name}-{number}", user_agent, is_pixel=rng.random() < 0.4)

    def _plan_visits(self) -> list[_Visit]:
        rng = self._rng
        count = min(1 + int(rng.expovariate(0.65)), 9)
        # The last day is kept free: visits that have to keep their distance move later.
        room = self._days * DAY_MS - DAY_MS
        first = self._ends_at - self._days * DAY_MS
        starts = sorted(first + rng.randrange(room) for _ in range(count))
        visits: list[_Visit] = []
        for starts_at in starts:
            programme = _choose(rng, is_first=not visits)
            arrival = rng.choice(programme.arrivals)
            device = rng.choice(self._devices)
            if visits:
                starts_at = self._keep_distance(starts_at, visits[-1], programme, arrival, device)
            visits.append(_Visit(programme, arrival, device, starts_at))
        return visits

    def _keep_distance(
        self, starts_at: int, last: _Visit, programme: Programme, arrival: Arrival, device: _Device
    ) -> int:
        """Visits last at most ten minutes. A new tagged arrival may follow at once: a session of its own."""
        is_new_source = (
            arrival.is_tagged_or_paid and programme is not last.programme and device is last.device
        )
        if is_new_source and self._rng.random() < 0.1:
            return last.starts_at + self._rng.randint(12, 25) * MINUTE_MS
        return max(starts_at, last.starts_at + SESSION_GAP_MS + 20 * MINUTE_MS)

    def _decision(self, visits: list[_Visit]) -> tuple[int | None, str | None]:
        """(visit that wins the person, programme that caused it); cause None = would have bought anyway."""
        threshold = self._rng.random()
        reached = BASE_PROBABILITY
        if threshold < reached:
            return 0, None
        for number, visit in enumerate(visits):
            reached += visit.programme.uplift
            if threshold < reached:
                return number, visit.programme.name
        return None, None

    def _purchase_visit(self, decided_at: int, visits: list[_Visit]) -> int:
        """Many sleep on it: the purchase is at the deciding visit or up to two later."""
        later = self._rng.choices((0, 1, 2), (40, 40, 20))[0]
        return min(decided_at + later, len(visits) - 1)

    def _visit(self, visit: _Visit, *, is_purchase: bool, cause: str | None) -> None:
        rng = self._rng
        at = visit.starts_at
        query = visit.arrival.query(rng)
        page = rng.choice(_LANDING_PAGES)
        url = SHOP + page + (f"?{query}" if query else "")
        self._hit(
            visit.device, at, {"url": url, "referrer": visit.arrival.referrer, "title": f"Lumen {page}"}
        )
        for _ in range(min(int(rng.expovariate(0.45)), 8)):
            at += rng.randint(4, 40) * SECOND_MS
            previous, page = page, rng.choice(_PAGES)
            self._hit(visit.device, at, {"url": SHOP + page, "referrer": SHOP + previous})
        draw = rng.random()
        if draw < 0.02:
            self._truth.leads += 1
            self._event(
                visit.device, at + 5 * SECOND_MS, "lead", "/offices", {"order_id": f"L-{self._serial()}"}
            )
        elif draw < 0.07 and not self._is_known:
            self._is_known = True
            self._truth.sign_ups += 1
            order = {"order_id": f"S-{self._name}"}
            self._event(visit.device, at + 5 * SECOND_MS, "sign_up", "/account", order)
        if is_purchase or rng.random() < 0.06:
            self._event(visit.device, at + 10 * SECOND_MS, "add_to_cart", page, {})
        if is_purchase:
            self._buy(visit.device, at + 60 * SECOND_MS, cause)

    def _buy(self, device: _Device, at: int, cause: str | None) -> None:
        rng = self._rng
        self._is_known = True
        if self._crm is not None and rng.random() < DEAL_SHARE:
            self._ask_for_an_offer(self._crm, device, at, cause)
            return
        amount = int(rng.lognormvariate(8.9, 0.7)) + 495
        self._truth.orders += 1
        self._truth.crm.ordered += amount
        order = {"order_id": f"O-{self._serial()}", "value": text(amount), "currency": CURRENCY}
        bookings = [(at, amount)]
        if self._crm is not None and rng.random() < TOLD_SHARE:
            paid_at = at + rng.randrange(5 * SECOND_MS)
            told = self._crm.order(order["order_id"], paid_at, amount, {"user_id": f"u-{self._name}"})
            bookings = self._note(told)
            if told.net < amount and rng.random() < 0.5:
                # The page says so, too, of an order that the till tells: it is the same money.
                self._refund(device, order["order_id"], paid_at + DAY_MS, text(amount - told.net))
        elif self._crm is not None and rng.random() < PAID_BACK_SHARE:
            bookings += self._pay_back(device, order["order_id"], at, amount)
        self._bring(bookings, cause)
        fields = {"event": "purchase", "url": SHOP + "/thank-you", "referrer": rng.choice(_PAYMENT_REFERRERS)}
        self._hit(device, at, fields | order)
        if rng.random() < 0.3:
            # The shop's server tells the same order once more, as its own event.
            self._hit(device, at + 3 * SECOND_MS, {"event": "purchase"} | order, is_late=True)

    def _pay_back(self, device: _Device, order_id: str, bought_at: int, amount: int) -> list[tuple[int, int]]:
        """The shop's server says once or twice what was paid back: (instant, cents) of each, below 0."""
        rng, crm = self._rng, self._truth.crm
        left, at, bookings = amount, bought_at, []
        for _ in range(rng.choices((1, 2), (70, 30))[0]):
            at += rng.randrange(HOUR_MS, 9 * DAY_MS)
            back = left if rng.random() < WHOLE_SHARE else left * rng.randint(10, 55) // 100
            if at >= self._ends_at or not back:
                break
            self._refund(device, order_id, at, "" if back == left else text(back))
            left -= back
            bookings.append((at, -back))
            crm.refunds_by_hits += 1
            crm.refunded += back
        return bookings

    def _refund(self, device: _Device, order_id: str, at: int, value: str) -> None:
        """A hit of the shop's server, in no visit."""
        if at < self._ends_at:
            more = {"value": value, "currency": CURRENCY} if value else {}
            self._hit(device, at, {"event": "refund", "order_id": order_id} | more)

    def _ask_for_an_offer(self, crm: Crm, device: _Device, at: int, cause: str | None) -> None:
        """Who wants many lamps fills a form in; what comes of it is told by the CRM."""
        self._truth.leads += 1
        self._event(device, at, "lead", "/offices", {"order_id": f"L-{self._serial()}"})
        identity = {"user_id": f"u-{self._name}"}
        if self._rng.random() < 0.5:
            identity["visitor_id"] = device.visitor_id  # a hidden field of the form
        deal = crm.deal(self._name, at + MINUTE_MS, identity)
        self._bring(self._note(deal), cause)

    def _note(self, told: Told) -> list[tuple[int, int]]:
        self.messages += told.deliveries
        return told.bookings

    def _bring(self, bookings: list[tuple[int, int]], cause: str | None) -> None:
        """``bookings``: (instant, cents), in order of time."""
        amount = sum(cents for _, cents in bookings)
        self._truth.revenue += amount
        if amount:
            self._truth.customers += 1
            acquired_at = bookings[0][0]
            for at, cents in bookings:
                self._truth.earned[(at - acquired_at) // DAY_MS] += cents
        if cause is None:
            self._truth.base += amount
        else:
            self._truth.caused[cause] += amount

    def _out_of_session(self, device: _Device, first_visit: int) -> None:
        """An ad that was only seen, or an email that was only opened, on the day before the first visit."""
        rng = self._rng
        programme, event = rng.choice((("programmatic", "impression"), ("email", "email_open")))
        arrival = rng.choice(next(p for p in PROGRAMMES if p.name == programme).arrivals)
        if event == "impression":
            self._truth.views[arrival.campaign] += 1
        at = first_visit - rng.randrange(HOUR_MS, DAY_MS)
        self._hit(device, at, {"event": event, "url": f"{SHOP}/?{arrival.query(rng)}"})

    def _event(self, device: _Device, at: int, event: str, page: str, more: dict[str, str]) -> None:
        self._hit(device, at, {"event": event, "url": SHOP + page, "referrer": SHOP + page} | more)

    def _hit(self, device: _Device, at: int, fields: dict[str, str], *, is_late: bool = False) -> None:
        rng = self._rng
        known = {"user_id": f"u-{self._name}"} if self._is_known else {}
        event_id = f"e-{self._serial()}"
        delay = rng.randint(20, 900)
        if is_late or rng.random() < 0.04:
            delay = rng.choice((rng.randrange(HOUR_MS, DAY_MS), rng.randrange(DAY_MS, 4 * DAY_MS)))
        clean = {name: value for name, value in fields.items() if value}
        base = {"event_id": event_id, "visitor_id": device.visitor_id, "occurred_at": str(at)}
        self._hits.append(SimulatedHit(base | clean | known, device.user_agent, device.is_pixel, at + delay))

    def _serial(self) -> str:
        """Unique within the world: grows with the hits made so far."""
        return f"{self._name}-{len(self._hits)}"


def _choose(rng: random.Random, *, is_first: bool) -> Programme:
    weights = [p.opening if is_first else p.closing for p in PROGRAMMES]
    return rng.choices(PROGRAMMES, weights)[0]
