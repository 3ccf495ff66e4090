"""The slow, plain recount that questions about customers are held against: one fact after the other, in fractions."""

from __future__ import annotations

import datetime as dt
import random
from collections import defaultdict
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from typing import Any, NamedTuple

from api_store import Store
from customer_worlds import Sale, customers
from recount_filters import fits
from sinks_rows import DAY, HOUR, NOON

from attribution.oracle_persons import Link
from attribution.persons import IdentityRules

MODELS = ("linear", "last_touch")
CHANNELS = ("Email", "Paid Search", "(unattributed)")
RATES = {0: "1.25", 20: "1.10", 21: "1.40"}
"""By day: dollars for one euro."""
DAYS = 60


class Booked(NamedTuple):
    """What a sale is worth from an instant on."""

    at: int
    recorded_at: int
    value: Decimal
    number: int


class Sold(NamedTuple):
    """A sale, what it was worth when, and what earned it: by model the eighths of each touch."""

    sale: Sale
    type: str
    at: int
    currency: str
    booked: list[Booked]
    touches: list[dict[str, Any]]
    eighths: dict[str, list[int]]


class World:
    """Random facts, kept twice: in the store, and as plain lists."""

    def __init__(self, seed: int, rules: IdentityRules, margin: Decimal) -> None:
        self._random = random.Random(seed)
        self._rules = rules
        self._margin = Fraction(margin)
        self._links: list[tuple[Link, bool, int]] = []
        self._sold: list[Sold] = []
        self._spend: list[dict[str, Any]] = []

    def fill(self, store: Store) -> None:
        """Rates, what ads cost, and sales of which some are paid back, lost or won again."""
        rates = [
            {"currency": "USD", "day": _day_text(NOON + day * DAY), "rate": rate, "source": "ecb"}
            for day, rate in RATES.items()
        ]
        store.put("fx_rates", *rates)
        self._spend = [self._cost() for _ in range(30)]
        store.put("spend", *({**one, "platform_value": None, "level": "campaign"} for one in self._spend))
        self._sold = [self._sell(f"c{number}") for number in range(90)]
        rows, entries = [], []
        for one in self._sold:
            rows += self._rows(one)
            entries += self._entries(one)
        self._random.shuffle(rows)
        store.put("conversions", *rows[::2])
        store.put("conversions", *rows[1::2])
        store.put("credits", *entries)

    def link(self, store: Store, times: int) -> None:
        """So often somebody says who he is, or that he is not."""
        rows = []
        held = {link: is_held for link, is_held, _ in self._links}
        for _ in range(times):
            link = (self._random.choice(["s1", "s1", "s2"]), f"v{self._random.randint(0, 30)}", self._id())
            # Whatever is said again is said in the end.
            at = NOON + (DAYS if link in held else self._random.randint(0, DAYS)) * DAY
            held[link] = not held.get(link, False)
            self._links.append((link, held[link], at))
            site, visitor_id, id_ = link
            sign = 1 if held[link] else -1
            rows.append({"site": site, "visitor_id": visitor_id, "id": id_, "sign": sign, "recorded_at": at})
        store.put("identity_links", *rows)

    def question(self) -> dict[str, Any]:
        """A question that the recount understands."""
        pick, sample = self._random.choice, self._random.sample
        metrics = sample(["new_customers", "ltv", "cac", "payback_days"], self._random.randint(2, 4))
        dimensions = ["channel", "source", "campaign", "site", "conversion_type", "day", "month"]
        filters = [
            ["channel", "is_not", ["Email"]],
            ["site", "is", ["s1"]],
            ["conversion_type", "is", ["deal_won"]],
            ["campaign", "contains", ["x"]],
        ]
        first, last = sorted(self._random.randint(0, DAYS) for _ in range(2))
        return {
            "metrics": metrics,
            "dimensions": sample(dimensions, self._random.randint(0, 2)),
            "filters": sample(filters, pick([0, 0, 1, 2])),
            "date_range": pick([None, [_day_text(NOON + first * DAY), _day_text(NOON + last * DAY)]]),
            "model": pick(MODELS),
            "basis": pick(["conversion", "touch"]),
            "currency": pick(["USD", "EUR"]),
            "as_of": pick([None, None, _day_text(NOON + self._random.randint(5, DAYS) * DAY)]),
            "limit": 10_000,
        }

    def recount(self, question: dict[str, Any]) -> dict[tuple[str, ...], list[Any]]:
        """The answer the slow way. Groups without customers and cost are left out."""
        until = 10**15 if question["as_of"] is None else _end_of(question["as_of"])
        has_cost = any(name in ("cac", "payback_days") for name in question["metrics"])
        shares: dict[tuple[str, ...], list[tuple[Fraction, Sale]]] = defaultdict(list)
        earned, acquired = self._customers(until, question["currency"])
        for first in acquired:
            sold = next(one for one in self._sold if one.sale == first)
            for touch, eighths in zip(sold.touches, sold.eighths[question["model"]], strict=True):
                at = sold.at if question["basis"] == "conversion" else touch["touched_at"]
                fact = {**touch, "site": first.site, "conversion_type": sold.type, "at": at}
                if eighths and fits(fact, question, _text):
                    shares[_key(fact, question)].append((Fraction(eighths, 8), first))
        spent: dict[tuple[str, ...], Fraction] = defaultdict(Fraction)
        base: dict[tuple[str, ...], Fraction] = defaultdict(Fraction)
        for cost in self._spend:
            at = int(dt.datetime.fromisoformat(f"{cost['day']}T00:00+00:00").timestamp() * 1000)
            fact = {**cost, "conversion_type": "", "campaign": cost["campaign_label"], "at": at}
            if has_cost and cost["recorded_at"] <= until and fits(fact, question, _text):
                amount = _worth(Fraction(cost["amount"]), cost["currency"], at, question["currency"])
                spent[_key(fact, question)] += amount
                base[_without_type(_key(fact, question), question)] += amount
        answer = {}
        for key in {*shares, *(key for key, amount in spent.items() if amount)}:
            cost = base[_without_type(key, question)]
            told = self._measures(shares[key], earned, cost)
            answer[key] = [told[name] for name in question["metrics"]]
        if not answer and not question["dimensions"]:
            return {(): [Decimal(0) if name == "new_customers" else None for name in question["metrics"]]}
        return answer

    def _measures(
        self,
        shares: list[tuple[Fraction, Sale]],
        earned: dict[Sale, list[tuple[int, Fraction]]],
        cost: Fraction,
    ) -> dict[str, Any]:
        new = sum(share for share, _ in shares)
        lifetime = sum(share * sum(amount for _, amount in earned[first]) for share, first in shares)
        by_age: dict[int, Fraction] = defaultdict(Fraction)
        for share, first in shares:
            for age, amount in earned[first]:
                by_age[age] += share * amount * self._margin
        return {
            "new_customers": _decimal(Fraction(new)),
            "ltv": _cents(lifetime / new) if new else None,
            "cac": _cents(cost / new) if new else None,
            "payback_days": _payback(by_age, cost) if new else None,
        }

    def _customers(
        self, until: int, currency: str
    ) -> tuple[dict[Sale, list[tuple[int, Fraction]]], list[Sale]]:
        """By first sale: (age in days, amount) of everything that its customer bought; and those first sales."""
        links = {link: is_held for link, is_held, at in self._links if at <= until}
        standing = {}
        for one in self._sold:
            known = [booked for booked in one.booked if booked.recorded_at <= until]
            if known and known[-1].number and one.type != "opportunity":
                standing[one.sale] = (one, known)
        of = customers(list(standing), links, self._rules)
        earned: dict[Sale, list[tuple[int, Fraction]]] = {}
        for its in set(of.values()):
            worth = [
                (standing[sale][0].at, sale.name, sale) for sale in its if standing[sale][1][-1].value > 0
            ]
            if worth:
                at, _, first = min(worth)
                earned[first] = [
                    (
                        max(0, (booked.at - at) // DAY),
                        _worth(change, standing[sale][0].currency, booked.at, currency),
                    )
                    for sale in its
                    for booked, change in _changes(standing[sale][1])
                ]
        return earned, list(earned)

    def _id(self) -> str:
        pick, number = self._random.choice, self._random.randint(0, 12)
        return pick([f"user:u{number}", f"email:e{number}", f"crm:{number}", f"user:{pick(['TILL', 'u1'])}"])

    def _cost(self) -> dict[str, Any]:
        pick = self._random.choice
        return {
            **self._place(),
            "site": pick(["s1", "s2"]),
            "ad_network": "n",
            "day": _day_text(NOON + self._random.randint(0, DAYS) * DAY),
            "amount": f"{self._random.randint(1, 9000) / 100}",
            "currency": pick(["USD", "EUR"]),
            "recorded_at": NOON + self._random.randint(0, DAYS) * DAY,
            "cause": "report",
        }

    def _place(self) -> dict[str, Any]:
        pick = self._random.choice
        campaign = pick(["", "x", "X y"])
        return {"channel": pick(CHANNELS), "source": pick("ab"), "medium": "m", "campaign_label": campaign}

    def _sell(self, name: str) -> Sold:
        pick, number = self._random.choice, self._random.randint
        at = NOON + number(0, DAYS * DAY // HOUR) * HOUR
        value = Decimal(pick([0, number(1, 2000), number(1, 2000)]) * 8) / 100
        booked = [Booked(at, at + number(0, 2) * DAY, value, 1)]
        for _ in range(pick([0, 0, 1, 2])):
            before = booked[-1]
            later = before.at + number(1, 12 * 24) * HOUR
            known = max(before.recorded_at, later) + number(0, 2) * DAY
            kind = pick(["back in part", "back", "lost", "more"])
            if kind == "lost" and before.number:
                booked.append(Booked(later, known, Decimal(0), 0))
            elif kind == "back":
                booked.append(Booked(later, known, Decimal(0), 1))
            else:
                booked.append(Booked(later, known, Decimal(number(0, 2000) * 8) / 100, 1))
        touches = []
        for _ in range(3):
            place = self._place()
            place["campaign"] = place.pop("campaign_label")
            touches.append({**place, "landing_page": "/", "touched_at": at - number(0, 20 * 24) * HOUR})
        cut = sorted(number(0, 8) for _ in range(2))
        eighths = {"linear": [cut[0], cut[1] - cut[0], 8 - cut[1]], "last_touch": [0, 0, 8]}
        ids = tuple(sorted({self._id() for _ in range(pick([0, 0, 0, 1, 2]))}))
        sale = Sale(pick(["s1", "s1", "s2"]), name, pick(["", *[f"v{number(0, 30)}"] * 3]), ids)
        return Sold(
            sale,
            pick(["purchase", "deal_won", "opportunity"]),
            at,
            pick(["USD", "EUR"]),
            booked,
            touches,
            eighths,
        )

    def _rows(self, one: Sold) -> list[dict[str, Any]]:
        """What ``conversions`` has of a sale: each state, and its withdrawal."""
        fixed = {
            **{"site": one.sale.site, "conversion_id": one.sale.name, "visitor_id": one.sale.visitor_id},
            **{"ids": list(one.sale.ids), "type": one.type, "converted_at": one.at, "currency": one.currency},
        }
        rows: list[dict[str, Any]] = []
        before: dict[str, Any] | None = None
        for booked in one.booked:
            if before is not None:
                rows.append({**before, "sign": -1, "recorded_at": booked.recorded_at})
            before = {**fixed, "value": f"{booked.value}"} if booked.number else None
            if before is not None:
                rows.append({**before, "sign": 1, "recorded_at": booked.recorded_at})
        return rows

    def _entries(self, one: Sold) -> list[dict[str, Any]]:
        """What the ledger has of it: the share of each touch of each change."""
        entries = []
        numbers = [0, *(booked.number for booked in one.booked)]
        for model in MODELS:
            for place, (booked, change) in enumerate(_changes(one.booked)):
                for touch, eighths in zip(one.touches, one.eighths[model], strict=True):
                    if eighths:
                        share = Decimal(eighths) / 8
                        entries.append(
                            {
                                **touch,
                                **{"model": model, "site": one.sale.site, "conversion_id": one.sale.name},
                                **{
                                    "conversion_type": one.type,
                                    "currency": one.currency,
                                    "converted_at": one.at,
                                },
                                **{"booked_at": booked.at, "recorded_at": booked.recorded_at},
                                "weight": f"{(booked.number - numbers[place]) * share}",
                                "amount": f"{change * share}",
                            }
                        )
        return entries


def _changes(booked: list[Booked]) -> list[tuple[Booked, Any]]:
    values = [Decimal(0), *(one.value for one in booked)]
    return [(one, one.value - before) for one, before in zip(booked, values, strict=False)]


def _worth(amount: Any, currency: str, at: int, wanted: str) -> Fraction:
    """At the rate of its day."""
    day = (at // DAY) - (NOON // DAY)
    known = [rate for since, rate in RATES.items() if since <= day]
    if currency == wanted:
        return Fraction(amount)
    rate = Fraction(known[-1]) if known else Fraction(0)
    return Fraction(amount) * rate if wanted == "USD" else Fraction(amount) / rate if known else Fraction(0)


def _payback(by_age: dict[int, Fraction], cost: Fraction) -> int | None:
    """The first day on which, and on every later one, all that has come is enough."""
    ages = sorted(by_age)
    enough = [sum(by_age[other] for other in ages if other <= age) >= cost for age in ages]
    if cost <= 0 and all(enough):
        return 0
    return next((age for place, age in enumerate(ages) if all(enough[place:])), None)


def _cents(amount: Fraction) -> str:
    exact = Decimal(amount.numerator) / Decimal(amount.denominator)
    return f"{exact.quantize(Decimal('0.01'), ROUND_HALF_EVEN):f}"


def _decimal(number: Fraction) -> Decimal:
    return Decimal(number.numerator) / Decimal(number.denominator)


def _day_text(at: int) -> str:
    return dt.datetime.fromtimestamp(at / 1000, dt.UTC).strftime("%Y-%m-%d")


def _end_of(day: str) -> int:
    return int(dt.datetime.fromisoformat(f"{day}T23:59:59.999+00:00").timestamp() * 1000)


def _text(fact: dict[str, Any], name: str) -> str:
    day = _day_text(fact["at"])
    return {"day": day, "month": day[:7]}.get(name) or str(fact.get(name, ""))


def _key(fact: dict[str, Any], question: dict[str, Any]) -> tuple[str, ...]:
    return tuple(_text(fact, name) for name in question["dimensions"])


def _without_type(key: tuple[str, ...], question: dict[str, Any]) -> tuple[str, ...]:
    return tuple(
        part for part, name in zip(key, question["dimensions"], strict=True) if name != "conversion_type"
    )
