"""I1, I2, I5 on the pure core: any order, doubles, batch borders, reloads and crashes end where the oracle ends.

A small stream made of the core's own parts, with nothing between them that could fail: timelines that live in
memory or as committed bytes, conversions that are credited now or later, and the sums of all signed changes.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

import msgspec
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from stream_worlds import CUSTOM, rules

from attribution.conversions import Conversion, ConversionFact, conversion_fact
from attribution.drops import DropReason
from attribution.enrich import enrich
from attribution.entries import Entry, entries
from attribution.hit import Hit
from attribution.ledger import WEIGHT_ONE, Statement, credit
from attribution.linked import LinkedVisitor
from attribution.oracle import World, oracle
from attribution.past import past_of, report_of
from attribution.paths import build_path, explain_path
from attribution.policy import MINUTE_MS, AttributionPolicy, SessionSwitch
from attribution.stored_past import StoredPast
from attribution.timeline import Change, Mark, Timeline, mark_of
from attribution.touchpoints import Session, TouchKind, Touchpoint

T0 = 1_700_049_600_000  # start of an hour
GAP, CAP, LOOKBACK = 30 * MINUTE_MS, 70 * MINUTE_MS, 3 * 60 * MINUTE_MS
Visitor = tuple[str, str]

PAGES = (
    "https://shop.example/a",
    "https://shop.example/b",
    "https://shop.example/c?utm_source=news&utm_medium=email&utm_campaign=june",
    "https://shop.example/d?utm_source=news&utm_medium=email&utm_campaign=july",
    "https://shop.example/a?gclid=one",
    "https://shop.example/b?gclid=two",
    "https://shop.example/c?utm_source=(direct)&utm_medium=(none)",
    "https://shop.example/c?utm_source=google&utm_medium=cpc&utm_campaign=Shop_Brand&utm_term=lamps",
    "https://shop.example/podcast",
)
REFERRERS = (
    *("", "", "https://shop.example/a", "https://www.google.com/"),
    *("https://blog.example/story", "https://news.example.org/story"),
)
EVENTS = (
    "page_view",
    "page_view",
    "page_view",
    "scroll",
    "impression",
    "email_open",
    "purchase",
    "lead",
    "refund",
    "opportunity",
    "video_view",
)
PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148"
LAPTOP = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/130.0.0.0 Safari/537.36"
ROBOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"

# Sums of gaps, caps and windows, give or take a millisecond: two draws are often exactly an edge apart.
moments = st.builds(
    lambda gaps, span, shift: T0 + gaps * GAP + span + shift,
    st.integers(0, 9),
    st.sampled_from([0, 0, 1, 1000, 10 * MINUTE_MS, CAP, LOOKBACK]),
    st.sampled_from([0, 0, 0, -1, 1]),
)


@st.composite
def hits(draw: st.DrawFn) -> Hit:
    """A hit without ``event_id``: one of three visitors, somewhere on the lattice of edges."""
    at = draw(moments)
    kind = draw(st.sampled_from(EVENTS))
    is_sale = kind in ("purchase", "lead", "opportunity")
    return Hit(
        event_id="",
        site=draw(st.sampled_from(["s1", "s1", "s1", "s2"])),
        visitor_id=draw(st.sampled_from(["v1", "v1", "v1", "v2"])),
        occurred_at=at,
        received_at=at + 7,
        event=kind,
        url="" if draw(st.integers(0, 5)) == 0 else draw(st.sampled_from(PAGES)),
        referrer=draw(st.sampled_from(REFERRERS)),
        user_agent=ROBOT if draw(st.integers(0, 15)) == 0 else draw(st.sampled_from(["", PHONE, LAPTOP])),
        country=draw(st.sampled_from(["", "DE", "DE", "FR"])),
        order_id=draw(st.sampled_from(["", "o1", "o1", "o2"])) if is_sale else "",
        value=draw(st.sampled_from([None, "0.01", "10.00", "49.90"])) if is_sale else None,
        currency=draw(st.sampled_from(["", "USD", "EUR"])) if is_sale else "",
    )


@st.composite
def worlds(draw: st.DrawFn) -> list[Hit]:
    """Hits with ids that are unique per visitor."""
    drawn = draw(st.lists(hits(), min_size=draw(st.sampled_from([1, 8, 16])), max_size=30))
    for number, hit in enumerate(drawn):
        hit.event_id = f"e{number}"
    return drawn


session_policies = st.builds(
    AttributionPolicy,
    session_gap_ms=st.just(GAP),
    session_cap_ms=st.sampled_from([CAP, CAP, 2 * GAP, 100 * GAP]),
    session_switch=st.sampled_from(SessionSwitch),
    conversion_lookbacks_ms=st.just({"purchase": LOOKBACK, "lead": GAP, "opportunity": CAP}),
    time_decay_half_life_ms=st.just(60 * MINUTE_MS),
    custom_models=st.just(CUSTOM),
    models=st.just((*AttributionPolicy().models, *CUSTOM)),
)
"""Policies that differ in how sessions are cut."""

policies = st.builds(
    lambda policy, rest: msgspec.structs.replace(policy, **rest),
    session_policies,
    rules(st.sampled_from([0, 1, 10 * MINUTE_MS, GAP, CAP, LOOKBACK])),
)
"""Policies that differ in any rule."""


def stored_past(timeline: Timeline) -> StoredPast:
    """What credit reads of a timeline; it must not say anything else than the timeline itself."""
    past = StoredPast.from_bytes(timeline.to_bytes(), timeline.site, timeline.visitor_id)
    in_order = sorted(past.touchpoints, key=lambda touch: (touch.touched_at, touch.touchpoint_id))
    assert in_order == sorted(
        timeline.touchpoints(), key=lambda touch: (touch.touched_at, touch.touchpoint_id)
    )
    assert list(past.conversions) == list(timeline.conversions)
    assert (past.is_linked, past.linked_ids, past.held_ids()) == (
        timeline.is_linked,
        timeline.linked_ids,
        timeline.held_ids(),
    )
    linked = LinkedVisitor.from_bytes(timeline.to_bytes())
    assert list(linked.conversions) == list(timeline.conversions)
    assert (list(linked.linked_ids), linked.held_ids()) == (
        list(timeline.linked_ids),
        list(timeline.held_ids()),
    )
    return past


class Stream:
    """Stitch and credit as values. ``committed`` is what a crash leaves; the rest is what readers can see."""

    def __init__(self, policy: AttributionPolicy) -> None:
        self.policy = policy
        self.memory: dict[Visitor, Timeline] = {}
        self.committed: dict[Visitor, bytes] = {}
        self.accepted: Counter[tuple[str, str, str]] = Counter()
        self.dropped: Counter[DropReason] = Counter()
        self.sessions: Counter[Session] = Counter()
        self.touchpoints: Counter[Touchpoint] = Counter()
        self.dirty: dict[str, list[ConversionFact]] = {}
        self.conversions: dict[str, Conversion] = {}
        self.statements: dict[str, bytes] = {}
        self.ledger: dict[str, list[Entry]] = defaultdict(list)

    def timeline(self, visitor: Visitor) -> Timeline:
        if visitor not in self.memory:
            stored = self.committed.get(visitor)
            self.memory[visitor] = (
                Timeline.empty(*visitor) if stored is None else Timeline.from_bytes(stored, *visitor)
            )
        return self.memory[visitor]

    def crash(self) -> None:
        """All that was not committed is gone."""
        self.memory.clear()

    def stitch(self, batch: Iterable[Hit], *, is_lost: bool = False) -> None:
        """One batch; when ``is_lost`` the worker dies before it commits anything."""
        marks: dict[Visitor, list[tuple[Hit, Mark]]] = defaultdict(list)
        bots = 0
        for hit in batch:
            enriched = enrich(hit, self.policy.arrival_rules)
            if enriched.agent.is_bot:
                bots += 1
            else:
                marks[hit.site, hit.visitor_id].append((hit, mark_of(hit, enriched, self.policy)))
        changes = {
            visitor: self.apply(visitor, [mark for _, mark in arrived]) for visitor, arrived in marks.items()
        }
        if is_lost:
            self.crash()
            return
        self.dropped[DropReason.bot] += bots
        for visitor, change in changes.items():
            self.committed[visitor] = self.memory[visitor].to_bytes()
            for (hit, _), reason in zip(marks[visitor], change.reasons, strict=True):
                if reason is not None:
                    self.dropped[reason] += 1
                    continue
                self.accepted[hit.site, hit.visitor_id, hit.event_id] += 1
                fact = conversion_fact(hit, self.policy, "USD")
                if fact is not None:
                    self.dirty.setdefault(fact.conversion_id, []).append(fact)
            for conversion in change.affected:
                self.dirty.setdefault(conversion.conversion_id, [])
            add(self.sessions, change.sessions_minus, change.sessions_plus)
            add(self.touchpoints, change.touchpoints_minus, change.touchpoints_plus)

    def apply(self, visitor: Visitor, marks: list[Mark]) -> Change:
        """Place marks; whoever's path they change must be named, at once and not by luck later."""
        timeline = self.timeline(visitor)
        before = past_of([stored_past(timeline)])
        change = timeline.apply(marks, self.policy)
        after = past_of([stored_past(timeline)])
        news = zip(marks, change.reasons, strict=True)
        reported = {
            (mark.occurred_at, *mark.conversion) for mark, reason in news if mark.conversion and not reason
        }
        for conversion in timeline.conversions:
            paths = [build_path(past, conversion, self.policy) for past in (before, after)]
            counted = [
                one.touchpoint for one in explain_path(after, conversion, self.policy) if one.is_counted
            ]
            assert tuple(counted) == paths[1].touchpoints
            if conversion in reported or paths[0] != paths[1]:
                assert conversion in change.affected
        changed = [touch.touched_at for touch in {*before.touchpoints} ^ {*after.touchpoints}] + [
            at for at, _, _ in reported
        ]
        assert all(conversion.converted_at >= min(changed) for conversion in change.affected)
        return change

    def credit(self, conversion_ids: Iterable[str]) -> None:
        """Look at these conversions again; balance is checked after each."""
        for conversion_id in conversion_ids:
            conversion = self.conversions.get(conversion_id)
            for fact in self.dirty.pop(conversion_id):
                conversion = Conversion(fact) if conversion is None else conversion.merge(fact)
            assert conversion is not None, "a trigger for a conversion that nobody reported"
            self.conversions[conversion_id] = conversion
            winner = conversion.winner
            stored_bytes = self.committed[winner.site, winner.visitor_id]
            visitor = StoredPast.from_bytes(stored_bytes, winner.site, winner.visitor_id)
            path = build_path(past_of([visitor]), report_of(winner), self.policy)
            stored = self.statements.get(conversion_id)
            new = credit(winner, path, self.policy)
            self.ledger[conversion_id] += entries(Statement.from_bytes(stored) if stored else None, new)
            self.statements[conversion_id] = new.to_bytes()
            self.check_balance(conversion)

    def check_balance(self, conversion: Conversion) -> None:
        """I2 by model and currency, and I5 for every row that was ever written."""
        rows = self.ledger[conversion.conversion_id]
        winner = conversion.winner
        for model in self.policy.models:
            of_model = [row for row in rows if row.model == model]
            assert sum(row.weight_ppb for row in of_model) == WEIGHT_ONE
            for currency in {row.terms.currency for row in of_model}:
                of_currency = [row for row in of_model if row.terms.currency == currency]
                value = conversion.value_minor if currency == winner.currency else 0
                assert sum(row.amount_minor for row in of_currency) == value
                assert sum(row.conversion_value_minor for row in of_currency) == value
        for row in rows:
            lookback = max(self.policy.lookback_ms(row.terms.conversion_type, kind) for kind in TouchKind)
            assert 0 <= row.terms.converted_at - row.touch.touched_at <= lookback

    def credits(self) -> dict[tuple[str, str, str], tuple[int, int]]:
        """The ledger summed."""
        sums: dict[tuple[str, str, str], list[int]] = defaultdict(lambda: [0, 0])
        for conversion_id, rows in self.ledger.items():
            for row in rows:
                total = sums[conversion_id, row.model, row.touch.touchpoint_id]
                total[0] += row.weight_ppb
                total[1] += row.amount_minor
        return {key: (weight, amount) for key, (weight, amount) in sums.items() if weight or amount}


def add(standing: Counter, minus: list, plus: list) -> None:  # type: ignore[type-arg]
    """Sum signed rows; what is taken back must stand, what is written must not stand yet."""
    for row in minus:
        assert standing[row] == 1
        del standing[row]
    for row in plus:
        assert standing[row] == 0
        standing[row] = 1
    assert not set(minus) & set(plus), "a row taken back and written again unchanged"


def assert_equals(stream: Stream, world: World) -> None:
    """The final state, without remainder on either side."""
    assert stream.accepted == Counter(world.hits.keys())
    assert set(stream.sessions) == world.sessions
    assert set(stream.touchpoints) == world.touchpoints
    assert {name: conversion.winner for name, conversion in stream.conversions.items()} == world.conversions
    assert stream.credits() == world.credits


@given(data=st.data(), world=worlds(), policy=policies)
@settings(
    max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
def test_any_order_of_arrival_ends_where_the_oracle_ends(
    data: st.DataObject, world: list[Hit], policy: AttributionPolicy
) -> None:
    """Shuffled, doubled, cut into batches, reloaded and crashed at random; credited at once or late."""
    doubled = data.draw(st.lists(st.sampled_from(world), max_size=6), label="doubled")
    log = data.draw(st.permutations([*world, *doubled]), label="log")
    stream = Stream(policy)
    start = 0
    while start < len(log):
        end = start + data.draw(st.integers(1, 9), label="batch")
        fate = data.draw(st.sampled_from(["goes on", "goes on", "reload", "lost"]), label="fate")
        if fate == "lost":
            stream.stitch(log[start:end], is_lost=True)
        stream.stitch(log[start:end])
        if fate == "reload":
            stream.crash()
        credited = data.draw(st.integers(0, len(stream.dirty)), label="credited")
        stream.credit(list(stream.dirty)[:credited])
        start = end
    stream.credit(list(stream.dirty))

    expected = oracle(world, policy, "USD")
    assert_equals(stream, expected)
    assert stream.dropped.total() + stream.accepted.total() == len(log)
    for (site, visitor_id), stored in stream.committed.items():
        at_once = Timeline.empty(site, visitor_id)
        own = [hit for hit in world if (hit.site, hit.visitor_id) == (site, visitor_id)]
        judged = [(hit, enrich(hit, policy.arrival_rules)) for hit in own]
        at_once.apply([mark_of(hit, seen, policy) for hit, seen in judged if not seen.agent.is_bot], policy)
        assert at_once.to_bytes() == stored, "stored bytes depend on the order of arrival"
    event(f"sessions: {min(len(expected.sessions), 9)}")
    event(f"conversions: {min(len(expected.conversions), 4)}")


@given(data=st.data(), world=worlds(), policy=policies)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
def test_differing_copies_and_full_visitors_are_decided_by_the_log(
    data: st.DataObject, world: list[Hit], policy: AttributionPolicy
) -> None:
    """The first copy counts and the limit cuts off the last arrivals: the oracle in log order agrees."""
    log = list(world)
    for hit in data.draw(st.lists(st.sampled_from(world), max_size=6), label="retried"):
        copy = Hit(**{name: getattr(hit, name) for name in hit.__struct_fields__})
        copy.occurred_at += data.draw(st.sampled_from([-GAP, -3, 0, 3, GAP]), label="clock")
        log.insert(data.draw(st.integers(0, len(log)), label="place"), copy)
    limit = data.draw(st.integers(1, 12), label="limit")
    limited = AttributionPolicy(
        **{
            name: getattr(policy, name) for name in policy.__struct_fields__ if name != "max_hits_per_visitor"
        },
        max_hits_per_visitor=limit,
    )
    stream = Stream(limited)
    size = data.draw(st.integers(1, 9), label="batch")
    for start in range(0, len(log), size):
        stream.stitch(log[start : start + size])
        stream.crash()
    stream.credit(list(stream.dirty))
    assert_equals(stream, oracle(log, limited, "USD"))


@given(data=st.data(), world=worlds(), before=session_policies, after=session_policies)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
def test_changed_session_rules_take_back_what_the_old_ones_wrote(
    data: st.DataObject, world: list[Hit], before: AttributionPolicy, after: AttributionPolicy
) -> None:
    """After a restart with another policy every visitor who is seen again stands as the new rules say."""
    border = data.draw(st.integers(0, len(world)), label="restart")
    stream = Stream(before)
    stream.stitch(world[:border])
    stream.crash()
    stream.policy = after
    stream.stitch(world[border:])
    last = [
        Hit(
            event_id="last",
            site=site,
            visitor_id=visitor_id,
            event="impression",
            occurred_at=T0,
            received_at=T0,
        )
        for site, visitor_id in stream.committed
    ]
    stream.stitch(last)
    expected = oracle([*world, *last], after, "USD")
    assert set(stream.sessions) == expected.sessions
    assert set(stream.touchpoints) == expected.touchpoints


def test_oracle_of_a_world_worked_out_by_hand() -> None:
    """The oracle itself against figures written down from the rules."""
    policy = AttributionPolicy()
    page = {"site": "s", "visitor_id": "v", "url": "https://shop.example/"}
    tagged = "https://shop.example/?utm_source=news&utm_medium=email&utm_campaign=june"
    times = {"a": T0, "b": T0 + GAP, "c": T0 + 2 * GAP + 1, "d": T0 + 2 * GAP + 2}
    facts = {
        "c": {"url": tagged},
        "d": {"event": "purchase", "value": "10.01", "currency": "USD", "order_id": "o"},
    }
    world = oracle(
        [
            Hit(event_id=name, occurred_at=at, received_at=at, **(page | facts.get(name, {})))  # type: ignore[arg-type]
            for name, at in times.items()
        ],
        policy,
        "USD",
    )
    spans = sorted((s.started_at, s.ended_at, s.hits, s.acquisition.source) for s in world.sessions)
    assert spans == [(times["a"], times["b"], 2, "(direct)"), (times["c"], times["d"], 2, "news")]
    (conversion_id,) = world.conversions
    touches = {touch.acquisition.source: touch.touchpoint_id for touch in world.touchpoints}
    linear = {source: world.credits[conversion_id, "linear", name] for source, name in touches.items()}
    assert linear == {"(direct)": (500_000_000, 501), "news": (500_000_000, 500)}
    assert world.credits[conversion_id, "last_non_direct_touch", touches["news"]] == (10**9, 1001)
    assert (conversion_id, "last_touch", touches["(direct)"]) not in world.credits
