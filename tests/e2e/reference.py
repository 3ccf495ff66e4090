"""What Headwater must answer, told a second time: plain Python after the public definitions, importing nothing of ours.

Slow, whole-history, one visitor after the other. It knows only the addresses of ``WAYS``, whose channel is written
down by hand after GA4's table, and the default policy: 30 minutes, 24 hours, a tagged touch starts a session.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from fractions import Fraction

MINUTE, DAY = 60_000, 86_400_000
GAP, CAP, HALF_LIFE = 30 * MINUTE, DAY, 7 * DAY
LOOKBACK = {"purchase": 90 * DAY, "lead": 30 * DAY, "sign_up": 30 * DAY}
DECIMALS = {"USD": 2, "EUR": 2, "JPY": 0, "BHD": 3}
MODELS = ("first_touch", "last_touch", "last_non_direct_touch", "linear", "position_based", "time_decay")
UNATTRIBUTED = ("(unattributed)", "(no touch in window)", "(unattributed)", "")
NOBODY = ("(unattributed)", "(no person)", "(unattributed)", "")


@dataclass(frozen=True)
class Way:
    """An address and a referrer, and what they say: None of the last fields = nothing (Direct)."""

    query: str = ""
    referrer: str = ""
    channel: str = "Direct"
    source: str = "(direct)"
    medium: str = "(none)"
    campaign: str = ""
    click_id: str = ""
    is_tagged: bool = False

    @property
    def says_something(self) -> bool:
        return self.channel != "Direct"

    @property
    def key(self) -> tuple[str, str, str, str]:
        return (self.source, self.medium, self.campaign, self.click_id)


GOOGLE, FACEBOOK, BLOG = "https://www.google.com/", "https://l.facebook.com/", "https://blog.example.org/post"
BRAND = ("Paid Search", "google", "cpc", "brand", "", True)
WAYS = (
    Way(),
    Way("", "https://shop.example/before"),
    Way("", GOOGLE, "Organic Search", "google", "organic"),
    Way("", FACEBOOK, "Organic Social", "l.facebook.com", "referral"),
    Way("", BLOG, "Referral", "blog.example.org", "referral"),
    Way("utm_source=google&utm_medium=cpc&utm_campaign=brand", "", *BRAND),
    Way("utm_source=google&utm_medium=cpc&utm_campaign=brand", GOOGLE, *BRAND),
    Way("gclid=g1", GOOGLE, "Paid Search", "google", "cpc", "", "g1", True),
    Way("gclid=g2", "", "Paid Search", "google", "cpc", "", "g2", True),
    Way("utm_source=linkedin&utm_medium=paid-social&utm_campaign=a%2Bb+c", "", "Paid Social", "linkedin",
        "paid-social", "a+b c", "", True),
    Way("utm_source=week12&utm_medium=email", BLOG, "Email", "week12", "email", "", "", True),
    Way("utm_source=dsp&utm_medium=banner&utm_campaign=brand", "", "Display", "dsp", "banner", "brand", "", True),
    Way("utm_source=partner&utm_medium=affiliate", "", "Affiliates", "partner", "affiliate", "", "", True),
)  # fmt: skip


@dataclass(frozen=True)
class Event:
    """One event as a website or server sends it. ``at``: epoch milliseconds, UTC."""

    visitor: str
    event_id: str
    at: int
    name: str = "page_view"
    page: str = ""
    """Path; "" = sent by a server, without address."""
    way: Way = WAYS[0]
    value: str = ""
    currency: str = ""
    order_id: str = ""

    @property
    def is_visit(self) -> bool:
        return self.name not in ("impression", "identify") and (bool(self.page) or self.name == "page_view")


@dataclass
class Session:
    """A visit and its one touchpoint."""

    visitor: str
    page: str
    started: int
    ended: int
    hits: int
    way: Way
    touched: int
    seen: Way


def kept(arrived: Iterable[Event]) -> list[Event]:
    """Of the copies of an event the first to arrive counts."""
    first: dict[tuple[str, str], Event] = {}
    for event in arrived:
        first.setdefault((event.visitor, event.event_id), event)
    return list(first.values())


def sessions(events: Iterable[Event]) -> list[Session]:
    """Visits by event time; no two events of a visitor may have the same instant."""
    visits: list[Session] = []
    for event in sorted((event for event in events if event.is_visit), key=lambda e: (e.visitor, e.at)):
        visit, way = visits[-1] if visits else None, event.way
        if (
            visit is None
            or visit.visitor != event.visitor
            or event.at - visit.ended > GAP
            or event.at - visit.started > CAP
            or (way.is_tagged and way.key != visit.seen.key)
        ):
            visits.append(Session(event.visitor, event.page, event.at, event.at, 1, way, event.at, way))
            continue
        visit.ended, visit.hits = event.at, visit.hits + 1
        if way.says_something and not visit.way.says_something:
            visit.way, visit.touched = way, event.at
        if way.says_something and (
            way.is_tagged or way.referrer != visit.seen.referrer or not visit.seen.says_something
        ):
            visit.seen = way
    return visits


def weights(model: str, touches: Sequence[Session], at: int) -> list[Fraction]:
    """One weight for each touch, in time order."""
    n = len(touches)
    one = [Fraction(0)] * n
    if model == "first_touch":
        one[0] = Fraction(1)
    elif model == "last_touch":
        one[-1] = Fraction(1)
    elif model == "last_non_direct_touch":
        paid = [place for place, touch in enumerate(touches) if touch.way.channel != "Direct"]
        one[paid[-1] if paid else -1] = Fraction(1)
    elif model == "linear":
        one = [Fraction(1, n)] * n
    elif model == "position_based":
        if n < 3:
            one = [Fraction(1, n)] * n
        else:
            one = [Fraction(2, 5), *[Fraction(1, 5 * (n - 2))] * (n - 2), Fraction(2, 5)]
    else:
        with localcontext() as context:
            context.prec = 60
            parts = [Fraction(Decimal(2) ** (Decimal(touch.touched - at) / HALF_LIFE)) for touch in touches]
        one = [part / sum(parts) for part in parts]
    return one


def share(total: int, parts: Sequence[Fraction]) -> list[int]:
    """``total`` in whole units by largest remainder, ties to the earliest."""
    shares = [int(total * part) for part in parts]
    by_remainder = sorted(range(len(parts)), key=lambda place: (shares[place] - total * parts[place], place))
    for place in by_remainder[: total - sum(shares)]:
        shares[place] += 1
    return shares


@dataclass(frozen=True)
class Credit:
    """What stands under one model for one conversion and touch; ``touched`` None = no touch."""

    model: str
    order: str
    """Order id, else visitor and event id."""
    touched: int | None
    channel: str
    source: str
    medium: str
    campaign: str
    currency: str
    converted: int


def credits(events: Sequence[Event]) -> dict[Credit, tuple[Decimal, Decimal]]:
    """Amount and weight of each credit that is not zero in both."""
    visits = defaultdict(list)
    for visit in sessions(events):
        visits[visit.visitor].append(visit)
    facts = defaultdict(list)
    for event in events:
        if event.name in LOOKBACK:
            facts[event.name, event.order_id or f"{event.visitor}/{event.event_id}"].append(event)
    found: dict[Credit, tuple[Decimal, Decimal]] = {}
    for (name, order), told in facts.items():
        fact = min(told, key=lambda event: (not event.value, event.at, event.event_id))
        currency = fact.currency or "USD"
        unit = Decimal(1).scaleb(-DECIMALS[currency])
        value = int(Decimal(fact.value or 0) / unit)
        path = [v for v in visits[fact.visitor] if 0 <= fact.at - v.touched <= LOOKBACK[name]]
        path.sort(key=lambda visit: visit.touched)
        missing = UNATTRIBUTED if any(v.touched <= fact.at for v in visits[fact.visitor]) else NOBODY
        for model in MODELS:
            split = weights(model, path, fact.at) if path else [Fraction(1)]
            for place, (amount, weight) in enumerate(
                zip(share(value, split), share(10**9, split), strict=True)
            ):
                touch = path[place] if path else None
                way = touch.way if touch else None
                about = (way.channel, way.source, way.medium, way.campaign) if way else missing
                key = Credit(
                    model, f"{name} {order}", touch.touched if touch else None, *about, currency, fact.at
                )
                if amount or weight:
                    found[key] = (amount * unit, weight * Decimal("1e-9"))
    return found
