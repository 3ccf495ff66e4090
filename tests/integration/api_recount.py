"""The slow, plain recount that random questions are held against."""

from __future__ import annotations

import datetime as dt
import random
from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from api_store import Store, session
from recount_filters import fits
from sinks_rows import DAY, HOUR, NOON

from attribution.oracle_persons import Link, persons
from attribution.persons import IdentityRules


class World:
    """Random facts, kept twice: in the store, and as plain lists for a recount."""

    def __init__(self, seed: int, rules: IdentityRules | None = None) -> None:
        """``rules``: those of the store's policy."""
        self.random = random.Random(seed)
        self.rules = rules or IdentityRules()
        self.links: dict[Link, bool] = {}
        """True = it holds."""
        self.sessions: list[dict[str, Any]] = []
        """Those that stand."""
        self.hits: list[dict[str, Any]] = []
        """Those outside sessions."""
        self.credits: list[dict[str, Any]] = []
        self.touchpoints: list[dict[str, Any]] = []
        """Signed rows."""

    def fill(self, store: Store) -> None:
        """Sessions of which some moved or vanished, hits outside sessions, credit in two models and currencies."""
        sessions = [version for n in range(120) for version in self._session(n)]
        # In two inserts, so that a session and its withdrawal are often in different parts.
        store.put("sessions", *sessions[::2])
        store.put("sessions", *sessions[1::2])
        self.hits = [
            {**self._place(), "in_session": 0, "occurred_at": self._instant(), "event": event}
            for event in ("impression", "email_open", "page_view")
            for _ in range(20)
        ]
        store.put("hits", *self.hits, *({**self._place(), "in_session": 1} for _ in range(20)))
        self.credits = [self._credit(n) for n in range(150)]
        no_columns = ("device", "country")
        rows = [{name: it for name, it in one.items() if name not in no_columns} for one in self.credits]
        store.put("credits", *rows)
        store.put("touchpoints", *self.touchpoints[::2])
        store.put("touchpoints", *self.touchpoints[1::2])

    def link(self, store: Store, times: int) -> None:
        """So often somebody says who he is, or that he is not."""
        pick, rows = self.random.choice, []
        for _ in range(times):
            # A person's devices rather than anybody with anybody.
            number = self.random.randint(0, 40)
            id_ = pick(
                [f"user:u{number // 3}", f"email:e{number // 2}", f"crm:{pick('abc')}", "account:acme"]
            )
            if self.random.randint(0, 9) == 0:
                id_ = f"user:{pick(['TILL', 'u1', 'u2'])}"
            site, visitor_id, _ = link = (pick(["s1", "s2"]), f"v{number}", id_)
            sign = -1 if self.links.get(link) else 1
            self.links[link] = sign > 0
            rows.append({"site": site, "visitor_id": visitor_id, "id": id_, "sign": sign})
        store.put("identity_links", *rows)

    def _instant(self) -> int:
        return NOON + self.random.randint(0, 5 * DAY)

    def _place(self) -> dict[str, Any]:
        pick = self.random.choice
        return {
            "site": pick(["s1", "s2"]),
            "channel": pick(["Email", "Direct", "Display"]),
            "source": pick(["a", "b"]),
            "medium": pick(["m", "n"]),
            "campaign": pick(["", "x", "X y"]),
            "ad_network": pick(["", "google_ads"]),
            "term": pick(["", "lamps"]),
            "content": pick(["", "a", "b"]),
            **self._scene(),
        }

    def _scene(self) -> dict[str, str]:
        pick = self.random.choice
        return {
            "device": pick(["", "desktop", "mobile", "tablet"]),
            "country": pick(["", "DE", "FR", "US"]),
        }

    def _touchpoint(self, touchpoint_id: str, touched_at: int) -> dict[str, str]:
        """Rows of the touchpoint that an entry names, and what stands in the end: of most what was written first, of
        some another scene (restated hits tell it); a few are not known at all."""
        first, then = self._scene(), self._scene()
        row = {"touchpoint_id": touchpoint_id, "site": "s1", "touched_at": touched_at}
        fate = self.random.randint(0, 5)
        if fate == 0:
            return {"device": "", "country": ""}
        self.touchpoints.append({**row, **first})
        if fate > 1:
            return first
        self.touchpoints += [{**row, **first, "sign": -1}, {**row, **then}]
        return then

    def _session(self, number: int) -> list[dict[str, Any]]:
        start = self._instant()
        hits = [self.random.randint(1, 3) for _ in range(self.random.randint(1, 3))]
        first = {
            **session(f"s{number}", started_at=start, ended_at=start + HOUR * (len(hits) - 1)),
            **self._place(),
            "visitor_id": f"v{self.random.randint(0, 40)}",
            "landing_page": self.random.choice(["/", "/p"]),
            "hours": [start // HOUR * 3600 + 3600 * k for k in range(len(hits))],
            "hour_hits": hits,
            "hour_page_views": [self.random.randint(0, count) for count in hits],
        }
        fate = self.random.randint(0, 5)
        if fate == 0:
            return [first, {**first, "sign": -1}]
        if fate == 1:
            moved = {**first, **self._place()}
            self.sessions.append(moved)
            return [first, {**first, "sign": -1}, moved]
        self.sessions.append(first)
        return [first]

    def _credit(self, number: int) -> dict[str, Any]:
        at = self._instant()
        touched_at = at - self.random.randint(0, 3 * DAY)
        touchpoint_id = f"{self.random.getrandbits(128):032x}" if number % 10 else ""
        scene = (
            self._touchpoint(touchpoint_id, touched_at) if touchpoint_id else {"device": "", "country": ""}
        )
        return {
            **self._place(),
            **scene,
            "touchpoint_id": touchpoint_id,
            "channel": self.random.choice(["Email", "Direct", "(unattributed)"]),
            "landing_page": self.random.choice(["/", "/p", ""]),
            "model": self.random.choice(["linear", "last_touch"]),
            "conversion_type": self.random.choice(["purchase", "lead"]),
            "currency": self.random.choice(["USD", "EUR"]),
            "weight": f"{Decimal(self.random.randint(-3, 9)) / 8}",
            "amount": f"{Decimal(self.random.randint(-500, 5000)) / 100}",
            "converted_at": at,
            "booked_at": at + self.random.choice([0, 0, self.random.randint(0, 3 * DAY)]),
            "touched_at": touched_at,
        }

    def question(self) -> dict[str, Any]:
        """A question that the recount understands."""
        pick, sample = self.random.choice, self.random.sample
        dimensions = [
            "channel",
            "source",
            "medium",
            "campaign",
            "site",
            *("landing_page", "ad_network", "term", "content", "country", "device"),
            "conversion_type",
            "hour",
            "day",
        ]
        by = sample(dimensions, self.random.randint(0, 3))
        first, last = sorted(pick(range(7)) for _ in range(2))
        filters = [
            ["channel", "is_not", ["Display"]],
            ["campaign", "contains", ["x"]],
            ["site", "is", ["s1"]],
        ]
        filters += [
            ["conversion_type", "is", ["lead"]],
            ["landing_page", "is", ["/"]],
            ["day", "is_not", ["2026-10-04"]],
            ["device", "is", ["mobile", "tablet"]],
            ["country", "is_not", ["DE"]],
            ["country", "is", [""]],
            ["term", "contains", ["LAMP"]],
        ]
        return {
            "metrics": sample(
                [
                    "hits",
                    "page_views",
                    "impressions",
                    "sessions",
                    "visitors",
                    "people",
                    "conversions",
                    "revenue",
                ],
                3,
            ),
            "dimensions": by,
            "filters": sample(filters, self.random.randint(0, 2)),
            "date_range": pick([None, [f"2026-10-0{1 + first}", f"2026-10-0{1 + last}"]]),
            "model": pick(["linear", "last_touch"]),
            "basis": pick(["conversion", "touch"]),
            "currency": pick(["USD", "EUR"]),
            "limit": 10_000,
        }

    def recount(self, question: dict[str, Any]) -> dict[tuple[str, ...], list[Decimal]]:
        """The answer the slow way: one fact after the other. Groups whose measures are all zero are left out."""
        metrics = question["metrics"]
        credit_metrics = ("conversions", "revenue")
        want = (
            any(name not in credit_metrics for name in metrics),
            any(name in credit_metrics for name in metrics),
        )
        sums: dict[tuple[str, ...], dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
        visitors: dict[tuple[str, ...], set[tuple[str, str]]] = defaultdict(set)
        for fact in [*(self._traffic() if want[0] else ()), *(self._credited(question) if want[1] else ())]:
            if fits(fact, question, _text):
                key = tuple(_text(fact, name) for name in question["dimensions"])
                for name, amount in fact["measures"].items():
                    sums[key][name] += amount
                if fact.get("visitor_id"):
                    visitors[key].add((fact["site"], fact["visitor_id"]))
        everybody = {(site, f"v{number}") for site in ("s1", "s2") for number in range(41)}
        of = persons(everybody, self.links, self.rules)
        for key, found in visitors.items():
            sums[key]["visitors"] = Decimal(len(found)) if "visitors" in metrics else Decimal(0)
            sums[key]["people"] = (
                Decimal(len({of[one] for one in found})) if "people" in metrics else Decimal(0)
            )
        answer = {
            key: [found[name] for name in metrics] for key, found in sums.items() if any(found.values())
        }
        return answer if answer or question["dimensions"] else {(): [Decimal(0)] * len(metrics)}

    def _traffic(self) -> Iterator[dict[str, Any]]:
        for one in self.sessions:
            for place, hour in enumerate(one["hours"]):
                measures = {"hits": one["hour_hits"][place], "page_views": one["hour_page_views"][place]}
                yield {**one, "at": hour, "measures": {**measures, "sessions": int(place == 0)}}
        for hit in self.hits:
            kinds = {"page_views": hit["event"] == "page_view", "impressions": hit["event"] == "impression"}
            yield {
                **hit,
                "landing_page": "",
                "at": hit["occurred_at"] // 1000,
                "measures": {"hits": 1, **kinds},
            }

    def _credited(self, question: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for one in self.credits:
            if one["model"] == question["model"]:
                amount = Decimal(one["amount"]) if one["currency"] == question["currency"] else Decimal(0)
                at = one["booked_at" if question["basis"] == "conversion" else "touched_at"] // 1000
                yield {
                    **one,
                    "at": at,
                    "measures": {"conversions": Decimal(one["weight"]), "revenue": amount},
                }


def _text(fact: dict[str, Any], name: str) -> str:
    if name in ("hour", "day"):
        moment = dt.datetime.fromtimestamp(fact["at"], dt.UTC)
        return moment.strftime("%Y-%m-%dT%H:00:00Z" if name == "hour" else "%Y-%m-%d")
    return str(fact.get(name, ""))
