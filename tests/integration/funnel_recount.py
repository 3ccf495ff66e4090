"""A random world of a funnel, and the slow, plain count that its answers are held against."""

from __future__ import annotations

import random
import statistics
from dataclasses import dataclass, field
from typing import Any

from api_store import Store, session
from customer_worlds import Sale, customers
from sinks_rows import DAY, NOON

from attribution.funnel import Funnel, FunnelStage
from attribution.oracle_persons import Link, Visitor, named, persons
from attribution.persons import IdentityRules, is_blocked, is_shared

FUNNEL = Funnel(
    (
        FunnelStage("seen", ("impression",)),
        FunnelStage("visit", ("page_view",)),
        FunnelStage("lead", ("lead", "sql")),
        FunnelStage("customer", ("purchase", "deal_won")),
    )
)
CREDITED = ("lead", "sql", "purchase", "deal_won")
RULES = IdentityRules(max_visitors_per_id=3, max_visitors_per_person=4, blocked_ids=("till",))
SITES = ("s1", "s2")
VISITORS = tuple(f"v{number}" for number in range(9))
IDS = ("user:u1", "user:u2", "email:e1", "email:e2", "crm:c1", "crm:c2", "crm:TILL", "account:acme")
Person = frozenset[Visitor]
"""All visitors of a person; of somebody whom only a sender knows (site, id)."""


@dataclass
class FunnelWorld:
    """Random facts, kept twice: in the store, and as plain lists."""

    seed: int
    hits: list[dict[str, Any]] = field(default_factory=list)
    sessions: list[dict[str, Any]] = field(default_factory=list)
    """Those that stand."""
    conversions: list[dict[str, Any]] = field(default_factory=list)
    """Those that reach a stage, as they are now, with ``is_lost``."""
    links: dict[Link, bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    def _instant(self) -> int:
        # Whole hours: people do several things at one instant.
        return NOON + self.random.randint(-40, 200) * 3_600_000

    def fill(self, store: Store) -> None:
        pick, chance = self.random.choice, self.random.random
        for _ in range(40):
            event = pick(["impression", "page_view", "page_view", "lead", "purchase", "scroll"])
            hit = {
                "site": pick(SITES),
                "visitor_id": pick(VISITORS),
                "event": event,
                "occurred_at": self._instant(),
            }
            hit |= {"order_id": pick(["", "", "o"]), "in_session": int(event != "impression")}
            self.hits.append(hit | {"channel": pick(["Display", "Direct", "Email"])})
        store.put("hits", *self.hits)
        rows = []
        for number in range(20):
            at = self._instant()
            one = session(
                f"s{number}", site=pick(SITES), visitor_id=pick(VISITORS), started_at=at, ended_at=at
            )
            one["channel"] = pick(["Paid Search", "Direct", "Email"])
            rows.append(one)
            if chance() < 0.3:
                rows.append({**one, "sign": -1})
                one = {**one, "channel": "Display"}
                rows.append(one)
            self.sessions.append(one)
        store.put("sessions", *rows)
        for number in range(30):
            self._convert(store, number)
        self.link(store, 12)

    def _convert(self, store: Store, number: int) -> None:
        """One conversion: corrected now and then; lost, cancelled, won again."""
        pick = self.random.choice
        names = self.random.sample(IDS, self.random.choice([0, 0, 1, 2, 3]))
        facts = {"site": pick(SITES), "conversion_id": f"c{number}", "type": pick([*CREDITED, "renewal"])}
        facts |= {
            "value": "0",
            "visitor_id": pick(["", *VISITORS]),
            "ids": names,
            "converted_at": self._instant(),
        }
        rows = [{**facts, "cause": "conversion"}]
        at = NOON
        for cause in pick(
            [
                (),
                (),
                ("late_touch",),
                ("lost",),
                ("cancellation",),
                ("lost", "reopened"),
                ("lost", "reopened", "lost"),
                ("lost", "never_stood"),
                ("lost", "told again"),
                ("lost", "told again", "reopened"),
            ]
        ):
            at += 1000
            if cause in ("never_stood", "told again"):
                # What does not stand is told anew by rows that cancel each other.
                if cause == "told again":
                    cause = "lost"
                    facts["visitor_id"] = pick(VISITORS)
                again = {**facts, "cause": cause, "recorded_at": at}
                rows += [again, {**again, "sign": -1}]
            elif cause != "reopened":
                rows.append({**rows[-1], "sign": -1, "cause": cause, "recorded_at": at})
            if cause in ("late_touch", "reopened"):
                again = {**facts, "cause": cause, "recorded_at": at}
                rows.append(again | {"visitor_id": pick(VISITORS)} if cause == "late_touch" else again)
        store.put("conversions", *rows)
        last = rows[-1]
        if facts["type"] in FUNNEL.places and (last.get("sign", 1) > 0 or last["cause"] == "lost"):
            self.conversions.append({**last, "is_lost": last.get("sign", 1) < 0})

    def link(self, store: Store, times: int) -> None:
        """So often somebody says who he is, or that he is not."""
        rows = []
        for _ in range(times):
            site, visitor_id, id_ = link = (
                self.random.choice(SITES),
                self.random.choice(VISITORS),
                self.random.choice(IDS),
            )
            sign = -1 if self.links.get(link) else 1
            self.links[link] = sign > 0
            rows.append({"site": site, "visitor_id": visitor_id, "id": id_, "sign": sign})
        store.put("identity_links", *rows)

    def question(self) -> dict[str, Any]:
        pick = self.random.choice
        first = self.random.randint(1, 6)
        return {
            "from": pick([None, f"2026-10-0{first}"]),
            "to": pick([None, f"2026-10-0{min(first + pick([0, 2, 5]), 9)}"]),
            "site": pick([[], [], ["s1"]]),
            "channel": pick([[], [], ["Email", "Display"]]),
            "by": pick([None, "channel"]),
            "order": pick(["any", "strict"]),
        }

    def recount(self, question: dict[str, Any]) -> dict[str, Any]:
        """By channel ("" = of all): how many people, and for each stage what ``_count`` says."""
        everybody = {(site, visitor) for site in SITES for visitor in VISITORS}
        person_of = persons(everybody, self.links, RULES)
        steps: dict[Person, list[tuple[int, int, bool]]] = {}
        for hit in self.hits:
            if hit["event"] in FUNNEL.places and not (hit["order_id"] and hit["event"] in CREDITED):
                step = (FUNNEL.places[hit["event"]], hit["occurred_at"], False)
                steps.setdefault(person_of[hit["site"], hit["visitor_id"]], []).append(step)
        whom = self._whom(person_of)
        low, high = _bounds(question)
        without = [0] * len(FUNNEL.stages)
        for one in self.conversions:
            stage = FUNNEL.places[one["type"]]
            people = whom[one["conversion_id"]]
            for person in people:
                steps.setdefault(person, []).append((stage, one["converted_at"], one["is_lost"]))
            if (
                not people
                and low <= one["converted_at"] < high
                and one["site"] in (question["site"] or SITES)
            ):
                without[stage] += 1
        here = []
        for person, taken in steps.items():
            firsts = [min((at for s, at, _ in taken if s == stage), default=None) for stage in range(4)]
            entered = min(at for at in firsts if at is not None)
            lost = [all(gone for s, _, gone in taken if s == stage) for stage in range(4)]
            site = next(iter(person))[0]
            channel = self._channel_of(person, entered)
            is_within = low <= entered < high and site in (question["site"] or SITES)
            if is_within and (not question["channel"] or channel in question["channel"]):
                here.append((channel, firsts, lost))
        found: dict[str, Any] = {
            "without": without,
            "": (len(here), _count([one[1:] for one in here], question)),
        }
        for channel in {one[0] for one in here} if question["by"] else ():
            its = [one[1:] for one in here if one[0] == channel]
            found[channel] = (len(its), _count(its, question))
        return found

    def _whom(self, person_of: dict[Visitor, Person]) -> dict[str, set[Person]]:
        """By conversion whom it is about: whom it names, else whom others of its customer name, else the customer."""
        sales = [
            Sale(one["site"], one["conversion_id"], one["visitor_id"], tuple(one["ids"]))
            for one in self.conversions
        ]
        sales = [one._replace(ids=tuple(id_ for id_ in one.ids if id_ != "account:acme")) for one in sales]
        direct = {one: self._named(one, person_of) for one in sales}
        found = {}
        for one, its in customers(sales, self.links, RULES).items():
            found[one.name] = direct[one] or set().union(*(direct[other] for other in its))
            if not found[one.name] and self._tells(one):
                found[one.name] = {frozenset((other.site, other.name) for other in its)}
        return found

    def _tells(self, one: Sale) -> list[str]:
        """The ids that say whom it is about."""
        return [
            id_
            for id_ in one.ids
            if not is_blocked(id_, RULES)
            and sum(held and link[::2] == (one.site, id_) for link, held in self.links.items())
            <= RULES.max_visitors_per_id
        ]

    def _named(self, one: Sale, person_of: dict[Visitor, Person]) -> set[Person]:
        ids = self._tells(one)
        held = [
            link[2]
            for link, is_held in self.links.items()
            if is_held and link[:2] == (one.site, one.visitor_id) and not is_blocked(link[2], RULES)
        ]
        is_own = one.visitor_id and not (ids and is_shared(one.visitor_id, held, RULES))
        found = named(one.site, [], ids, person_of, self.links, RULES)
        return {person_of[visitor] for visitor in found} | (
            {person_of[one.site, one.visitor_id]} if is_own else set()
        )

    def _channel_of(self, person: Person, entered: int) -> str:
        touches = [
            (one["started_at"], one["channel"])
            for one in self.sessions
            if (one["site"], one["visitor_id"]) in person
        ]
        touches += [
            (hit["occurred_at"], hit["channel"])
            for hit in self.hits
            if hit["event"] == "impression"
            and hit["channel"] != "Direct"
            and (hit["site"], hit["visitor_id"]) in person
        ]
        at, channel = min(touches, default=(0, ""))
        return channel if channel and at <= entered else "(unattributed)"


def _bounds(question: dict[str, Any]) -> tuple[int, int]:
    midnight = NOON - DAY // 2  # of 2026-10-02
    low = 0 if question["from"] is None else midnight + (int(question["from"][-1]) - 2) * DAY
    high = 2**60 if question["to"] is None else midnight + (int(question["to"][-1]) - 1) * DAY
    return low, high


def _count(people: list[Any], question: dict[str, Any]) -> list[tuple[Any, ...]]:
    """For each stage: people, of them of the first and of the previous stage, earlier than it, lost, medians."""
    lines: list[tuple[Any, ...]] = []
    for stage in range(4):
        before = max(stage - 1, 0)
        at = [(firsts, lost[stage]) for firsts, lost in people if _is_at(firsts, stage, question["order"])]
        of = {one: [f for f, _ in at if _is_at(f, one, question["order"])] for one in (0, before)}
        took = {one: [f[stage] - f[one] for f in of[one]] for one in of}
        in_time = {one: [ms for ms in took[one] if ms >= 0] for one in took}
        medians = [
            statistics.median(in_time[one]) / 1000 if stage and in_time[one] else None for one in (before, 0)
        ]
        earlier = sum(ms < 0 for ms in took[before])
        lines.append((len(at), len(of[0]), len(of[before]), earlier, sum(lost for _, lost in at), *medians))
    return lines


def _is_at(firsts: list[int | None], stage: int, order: str) -> bool:
    if order == "any":
        return firsts[stage] is not None
    way = [at for at in firsts[: stage + 1] if at is not None]
    return len(way) == stage + 1 and way == sorted(way)
