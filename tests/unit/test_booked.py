"""Conversions whose value changes over time: dated entries that balance at every instant, under every model."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from functools import partial
from typing import Any

import msgspec
import pytest
from conversion_facts import NOON, fact
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from statements import facts, paths, policies

from attribution.acquisition import Acquisition
from attribution.booked import cause_of_bookings, is_booked_anew
from attribution.conversions import BookedValue, Conversion, ConversionFact
from attribution.entries import Entry, entries, entries_between
from attribution.learnt.applied import models_of
from attribution.ledger import WEIGHT_ONE, Statement, UnreadableStatement, credit
from attribution.models import model_named
from attribution.money import format_amount, share
from attribution.moves import moves_between
from attribution.past import Past
from attribution.paths import Path
from attribution.policy import DAY_MS, AttributionPolicy
from attribution.standing_path import standing_path
from attribution.touchpoints import Touchpoint
from sinks.tables import WRITTEN
from streams.policies import KeptPolicy
from streams.recredit import (
    Correction,
    CreditState,
    Work,
    credited_at_once,
    merged,
    pack_state,
    recredit,
    restates_in_place,
    state_of,
)
from streams.told import told
from streams.triggers import Trigger

CAUSES = ("conversion", "refund", "amount", "lost", "reopened")


@st.composite
def bookings(draw: st.DrawFn) -> tuple[BookedValue, ...]:
    """Up to five, some at one instant; while it does not stand it is worth nothing."""
    instants = sorted(draw(st.lists(st.integers(NOON - 2, NOON + 3), max_size=5)))
    found = []
    for at in instants:
        number = draw(st.sampled_from([1, 1, 1, 0]))
        value = draw(st.integers(-3, 10_000)) if number else 0
        found.append(BookedValue(at, draw(st.sampled_from(CAUSES)), value, number))
    return tuple(found)


told_facts = st.builds(
    lambda one, booked, revision: msgspec.structs.replace(one, bookings=booked, revision=revision),
    facts,
    bookings(),
    st.integers(1, 4),
)


def worth_at(one: ConversionFact, instant: int) -> tuple[int, int]:
    """Value and number as of the end of that millisecond."""
    value = number = 0
    for booked in one.worths:
        if booked.booked_at <= instant:
            value, number = booked.value_minor, booked.number
    return value, number


def due(
    one: ConversionFact, path: Path, policy: AttributionPolicy, instant: int
) -> dict[tuple[str, str, str], tuple[int, int]]:
    """(model, touchpoint, currency) to what it is to have as of ``instant``, as plainly as the rule reads."""
    value, number = worth_at(one, instant)
    found = {}
    for model in policy.models:
        weights = model_named(model, policy)(path, policy) if path.touchpoints else ()
        names = [touch.touchpoint_id for touch in path.touchpoints]
        if not any(weights):
            names, weights = [""], (1,)
        amounts = share(value, weights)
        for name, weight, amount in zip(names, share(number * WEIGHT_ONE, weights), amounts, strict=True):
            if weight or amount:
                found[model, name, one.currency] = (weight, amount)
    return found


def as_of(ledger: list[Entry], instant: int) -> dict[tuple[str, str, str], tuple[int, int]]:
    """What the entries up to ``instant`` add up to."""
    sums: dict[tuple[str, str, str], list[int]] = defaultdict(lambda: [0, 0])
    for entry in ledger:
        if entry.booked_at <= instant:
            total = sums[entry.model, entry.touch.touchpoint_id, entry.terms.currency]
            total[0] += entry.weight_ppb
            total[1] += entry.amount_minor
    return {key: (weight, amount) for key, (weight, amount) in sums.items() if weight or amount}


INSTANTS = range(NOON - 3, NOON + 5)


@given(st.lists(st.tuples(facts | told_facts, paths(), policies), min_size=1, max_size=4))
def test_books_balance_as_of_every_instant_after_every_step(
    steps: list[tuple[ConversionFact, Path, AttributionPolicy]],
) -> None:
    """Whatever changes from one statement to the next: bookings, path, currency, visitor, models."""
    ledger: list[Entry] = []
    before = b""
    for one, path, policy in steps:
        after = credit(one, path, policy).to_bytes()
        ledger += entries_between(before, after)
        for instant in INSTANTS:
            assert as_of(ledger, instant) == due(one, path, policy, instant)
            values: dict[tuple[str, str], int] = defaultdict(int)
            for entry in ledger:
                if entry.booked_at <= instant:
                    values[entry.model, entry.terms.currency] += entry.conversion_value_minor
            worth = worth_at(one, instant)[0]
            assert {key: value for key, value in values.items() if value} == (
                {(model, one.currency): worth for model in policy.models} if worth else {}
            )
        before = after


@given(told_facts, paths(), policies)
def test_statements_with_bookings_survive_storing(
    one: ConversionFact, path: Path, policy: AttributionPolicy
) -> None:
    """The last booking is what stands; a path has a row only while the conversion stands."""
    statement = credit(one, path, policy)
    packed = statement.to_bytes()
    assert Statement.from_bytes(packed) == statement
    assert entries(statement, Statement.from_bytes(packed)) == []
    assert moves_between(b"", packed) is None
    net = {
        (model, name, one.currency): (part.weight_ppb, part.amount_minor)
        for model, parts in statement.shares.items()
        for name, part in parts.items()
    }
    assert net == due(one, path, policy, NOON + 100)
    standing = standing_path(packed)
    assert (standing is not None) == bool(one.number)
    assert standing is None or standing.value_minor == one.net_minor


@given(facts, paths(), policies)
def test_one_booking_at_its_instant_is_what_a_hit_reports(
    one: ConversionFact, path: Path, policy: AttributionPolicy
) -> None:
    """A page's report that a sender then tells in the same words changes nothing in the ledger."""
    same = msgspec.structs.replace(one, bookings=one.worths, revision=1)
    plain, booked = credit(one, path, policy).to_bytes(), credit(same, path, policy).to_bytes()
    assert entries_between(plain, booked) == []
    assert entries_between(booked, plain) == []
    assert Statement.from_bytes(booked).shares == Statement.from_bytes(plain).shares


def test_an_older_version_stops_at_statements_with_bookings() -> None:
    """It would leave them out and book them again; what it knows it reads as ever."""
    path = Path((), NOON, "purchase")
    told_one = msgspec.structs.replace(fact(), bookings=(BookedValue(NOON, "conversion", 1, 1),), revision=1)
    policy = AttributionPolicy(models=("linear",))
    assert msgspec.msgpack.decode(credit(fact(), path, policy).to_bytes())[0] == 1
    packed = credit(told_one, path, policy).to_bytes()
    assert msgspec.msgpack.decode(packed)[0] == 2
    with pytest.raises(UnreadableStatement):
        Statement.from_bytes(msgspec.msgpack.encode([3, *msgspec.msgpack.decode(packed)[1:]]))


# Crediting again

POLICIES = (
    AttributionPolicy(models=("first_touch", "linear", "w_shaped"), max_hits_per_visitor=101),
    AttributionPolicy(models=("linear", "last_touch"), max_hits_per_visitor=102),
)
KEPT = {one.version: KeptPolicy(one.version, one, models_of(one)) for one in POLICIES}
TOUCHES = [
    Touchpoint(f"{n:032x}", "v", "site", NOON - n * DAY_MS, Acquisition(f"C{n % 3}", "s", "m"), "/")
    for n in range(1, 5)
]


def find(version: str) -> KeptPolicy:
    return KEPT.get(version, KEPT[POLICIES[0].version])


def _always(kept: KeptPolicy, _version: str) -> KeptPolicy:
    return kept


def asks(one: ConversionFact | None, at: int, policy: str = "") -> Trigger:
    return Trigger(
        conversion_id=fact().conversion_id,
        site="site",
        visitor_id="v1",
        hits_partition=-1 if policy else 0,
        recorded_at=at,
        nonce="n",
        fact=one,
        policy=policy,
    )


_moments = st.none() | st.integers(NOON - 5 * DAY_MS, NOON)
_reports = st.builds(
    lambda one, visitor, lead: msgspec.structs.replace(
        one, visitor_id=visitor, lead_at=lead if one.is_told else None
    ),
    facts | told_facts,
    st.sampled_from(["", "v1"]),
    _moments,
)
_asked = st.none() | _reports | st.sampled_from([one.version for one in POLICIES])
_batches = st.lists(
    st.tuples(st.lists(_asked, min_size=1, max_size=3), st.sets(st.sampled_from(range(4)))), max_size=5
)


@given(_reports, _batches)
def test_stream_of_reports_touches_and_restatements_balances_row_by_row(
    first: ConversionFact, batches: list[tuple[list[Any], set[int]]]
) -> None:
    """Rows of every correction; what stands in the end is one credit of the agreed facts by the last past."""
    state: CreditState | None = None
    ledger: list[dict[str, Any]] = []
    stands = {"conversions": 0, "paths": 0}
    for at, (wishes, places) in enumerate([([first], {0}), *batches]):
        triggers = [
            asks(None, NOON + at, wish) if isinstance(wish, str) else asks(wish, NOON + at) for wish in wishes
        ]
        conversion = merged(state, triggers)
        assert conversion is not None
        past = Past([TOUCHES[place] for place in sorted(places)])
        work = Work(conversion, state, triggers, past)
        assert not (conversion.winner.is_told and restates_in_place(conversion, state, triggers, find))
        (known,) = credited_at_once([work], find)
        state, corrections = recredit(work, find, known)
        for correction in corrections:
            one = told([correction])
            ledger += [
                dict(zip(WRITTEN["credits"], msgspec.json.decode(row), strict=True)) for row in one.credits
            ]
            stands["conversions"] += sum(row[WRITTEN["conversions"].index("sign")] for row in one.conversions)
            stands["paths"] += sum(row[WRITTEN["paths"].index("sign")] for row in one.paths)
            said = Statement.from_bytes(correction.after.statement)
            for instant in INSTANTS:
                check(ledger, said, instant)
        number = state.conversion.winner.number
        assert stands == {"conversions": number, "paths": number}
        at_once = Work(conversion, None, [asks(None, 0)], past)
        assert state.statement == recredit(at_once, partial(_always, find(state.policy))).state.statement
        assert state_of(pack_state(state)) == state


def check(ledger: list[dict[str, Any]], said: Statement, instant: int) -> None:
    """The rows up to ``instant`` add up to the statement's booking of then."""
    number = value = 0
    for booked in said.as_booked:
        if booked.booked_at <= instant:
            number, value = booked.number, booked.value_minor
    for model in {row["model"] for row in ledger}:
        rows = [row for row in ledger if row["model"] == model and row["booked_at"] <= instant]
        is_known = model in said.shares
        assert sum(Decimal(row["weight"]) for row in rows) == (number if is_known else 0)
        for currency in {row["currency"] for row in rows}:
            wanted = value if is_known and currency == said.terms.currency else 0
            due_amount = Decimal(format_amount(wanted, currency))
            its = [row for row in rows if row["currency"] == currency]
            assert sum(Decimal(row["amount"]) for row in its) == due_amount
            assert sum(Decimal(row["conversion_value"]) for row in its) == due_amount


WON = BookedValue(NOON, "conversion", 1_000, 1)
REFUND = BookedValue(NOON + 5, "refund", 600, 1)
LOST = BookedValue(NOON + 9, "lost", 0, 0)


def deal(revision: int, *booked: BookedValue, **fields: Any) -> ConversionFact:
    return fact(**{"visitor_id": "v1", "revision": revision, "bookings": booked, **fields})


def corrections_of(
    *steps: tuple[ConversionFact | None, list[Touchpoint]],
) -> tuple[list[Correction], CreditState]:
    state: CreditState | None = None
    corrections: list[Correction] = []
    for one, touches in steps:
        triggers = [asks(one, NOON)]
        conversion = merged(state, triggers)
        assert conversion is not None
        state, more = recredit(Work(conversion, state, triggers, Past(touches)), find)
        corrections = list(more)
    assert state is not None
    return corrections, state


def lines(correction: Correction) -> list[tuple[int, str, str, int, int]]:
    """(instant, cause, channel, weight, amount) of the entries under linear."""
    return [
        (
            entry.booked_at - NOON,
            entry.cause or correction.cause,
            entry.touch.acquisition.channel,
            entry.weight_ppb,
            entry.amount_minor,
        )
        for entry in correction.entries
        if entry.model == "linear"
    ]


HALF = WEIGHT_ONE // 2


def test_a_refund_is_dated_and_named_and_takes_what_it_takes_from_the_path() -> None:
    """Nothing at the instant of the sale changes."""
    touches = TOUCHES[:2]
    ((won,), _) = corrections_of((deal(1, WON), touches))
    assert lines(won) == [(0, "conversion", "C2", HALF, 500), (0, "conversion", "C1", HALF, 500)]
    ((refund,), _) = corrections_of((deal(1, WON), touches), (deal(2, WON, REFUND), touches))
    assert refund.cause == "refund"
    assert lines(refund) == [(5, "refund", "C2", 0, -200), (5, "refund", "C1", 0, -200)]


def test_a_deal_that_is_lost_has_no_weight_and_no_row_of_what_stands() -> None:
    """Won a second time it has them again."""
    touches = TOUCHES[:1]
    ((lost,), state) = corrections_of((deal(1, WON), touches), (deal(2, WON, LOST), touches))
    assert lines(lost) == [(9, "lost", "C1", -WEIGHT_ONE, -1_000)]
    rows = told([lost])
    assert [(row[9], row[10]) for row in rows.conversions] == [(-1, "lost")]
    assert [row[9] for row in rows.paths] == [-1]
    assert state.conversion.value_minor == 0
    again = BookedValue(NOON + 12, "reopened", 900, 1)
    ((won,), _) = corrections_of((deal(2, WON, LOST), touches), (deal(3, WON, LOST, again), touches))
    assert lines(won) == [(12, "reopened", "C1", WEIGHT_ONE, 900)]
    assert [row[9] for row in told([won]).conversions] == [1]


def test_rows_tell_why_what_does_not_stand_does_not() -> None:
    """Rows that cancel each other, whenever that is another reason than before, or another deal by its facts."""
    lost, gone = deal(1, WON, LOST), deal(1, WON, BookedValue(NOON + 9, "cancellation", 0, 0))
    for before, after, causes in (
        (None, lost, ["lost", "lost"]),
        (None, deal(1), []),
        (deal(1), replace(lost, revision=2), ["lost", "lost"]),
        (lost, deal(2), ["never_stood", "never_stood"]),
        (lost, replace(gone, revision=2), ["cancellation", "cancellation"]),
        (lost, replace(lost, revision=2), []),
        (lost, replace(lost, revision=2, ids=("crm:7",)), ["lost", "lost"]),
        (deal(1), deal(2, ids=("crm:7",)), []),
    ):
        steps = [(one, TOUCHES[:1]) for one in (before, after) if one is not None]
        corrections, _ = corrections_of(*steps)
        rows = told(corrections).conversions if corrections else []
        assert [(row[9], row[10]) for row in rows] == list(zip((1, -1), causes, strict=False))


def test_a_refund_told_before_the_late_click_is_restated_with_it() -> None:
    """The path moves at every instant at which something was booked."""
    ((late,), _) = corrections_of((deal(1, WON, REFUND), TOUCHES[:1]), (None, TOUCHES[:2]))
    assert late.cause == "late_touch"
    assert lines(late) == [
        (0, "late_touch", "C1", -HALF, -500),
        (0, "late_touch", "C2", HALF, 500),
        (5, "late_touch", "C1", 0, 200),
        (5, "late_touch", "C2", 0, -200),
    ]


def test_path_and_bookings_that_change_together_are_two_steps() -> None:
    """First what the click changed of the money of then, then the refund along the new path."""
    ((late, refund), _) = corrections_of((deal(1, WON), TOUCHES[:1]), (deal(2, WON, REFUND), TOUCHES[:2]))
    assert (late.cause, refund.cause) == ("late_touch", "refund")
    assert lines(late) == [(0, "late_touch", "C1", -HALF, -500), (0, "late_touch", "C2", HALF, 500)]
    assert {line[:2] for line in lines(refund)} == {(5, "refund")}
    assert told([late]).conversions == []
    assert [row[9] for row in told([refund]).conversions] == [-1, 1]


def test_a_shop_that_confirms_what_the_page_said_moves_nothing() -> None:
    """Its money counts from then on; its own visitor is none, so the page's stays."""
    page = fact(visitor_id="v1", value_minor=1_000)
    shop = deal(1, WON, visitor_id="", event_id="")
    (corrections, state) = corrections_of((page, TOUCHES[:1]), (shop, TOUCHES[:1]))
    assert [line for one in corrections for line in lines(one)] == []
    assert state.conversion.credited.visitor_id == "v1"
    ((more,), _) = corrections_of(
        (page, TOUCHES[:1]),
        (deal(1, BookedValue(NOON, "conversion", 1_200, 1), visitor_id=""), TOUCHES[:1]),
    )
    assert lines(more) == [(0, "conversion", "C1", 0, 200)]


def test_moments_that_a_sender_told_win_over_hits() -> None:
    """W-shaped: the touch that was there when the lead was made has its part, though no hit tells of it."""
    won = deal(1, WON, lead_at=NOON - 3 * DAY_MS, opportunity_at=NOON - 2 * DAY_MS)
    (_, state) = corrections_of((won, TOUCHES))
    (_, other) = corrections_of((deal(1, WON), TOUCHES))
    shares = Statement.from_bytes(state.statement).shares["w_shaped"]
    assert [shares[touch.touchpoint_id].amount_minor for touch in TOUCHES] == [100, 300, 300, 300]
    assert shares != Statement.from_bytes(other.statement).shares["w_shaped"]


@pytest.mark.parametrize(
    ("old", "new", "cause"),
    [
        (deal(1, WON), deal(2, WON, REFUND), "refund"),
        (deal(1, WON, REFUND), deal(2, WON), "refund"),
        (deal(1, WON, REFUND), deal(2, BookedValue(NOON, "conversion", 900, 1), REFUND), "refund"),
        (deal(1, WON, LOST), deal(2, WON, REFUND, LOST), "lost"),
        (deal(1, WON), deal(2, WON, currency="EUR"), "amount"),
        (deal(1, WON), deal(2), "conversion"),
        (deal(1, WON), deal(2, WON, BookedValue(NOON + 1, "amount", 900, 1)), "amount"),
        (deal(1, WON, LOST, BookedValue(NOON + 12, "reopened", 9, 1)), deal(2, WON, LOST), "lost"),
    ],
)
def test_a_change_of_bookings_is_named_by_the_latest_that_differs(
    old: ConversionFact, new: ConversionFact, cause: str
) -> None:
    """What rows of `conversions` say; each entry of the ledger has the cause of its own booking."""
    assert is_booked_anew(old, new)
    assert cause_of_bookings(old, new) == cause


def test_told_again_in_other_words_is_no_change_of_rows() -> None:
    """A new revision with the same bookings."""
    (corrections, _) = corrections_of((deal(1, WON), TOUCHES[:1]), (deal(2, WON), TOUCHES[:1]))
    assert [(told([one]).conversions, told([one]).credits) for one in corrections] == [([], [])]
    assert Conversion(deal(1, WON)).merge(deal(2, WON)).winner.revision == 2
