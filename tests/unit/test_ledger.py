"""The ledger: what stands, what changes, and that the books balance after each step."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import conversion_facts
import pytest
from conversion_facts import NOON
from hypothesis import given
from hypothesis import strategies as st

from attribution.acquisition import DIRECT, Acquisition
from attribution.conversions import ConversionFact
from attribution.entries import Entry, entries
from attribution.errors import Misconfigured
from attribution.ledger import (
    WEIGHT_ONE,
    CreditedTouch,
    Share,
    Statement,
    Terms,
    UnreadableStatement,
    credit,
)
from attribution.missing import Missing
from attribution.models import MODELS
from attribution.past import Past
from attribution.paths import Path, build_path
from attribution.policy import DAY_MS, AttributionPolicy
from attribution.timeline import TimelineConversion
from attribution.touchpoints import Touchpoint

SIX = AttributionPolicy(
    models=("first_touch", "last_touch", "last_non_direct_touch", "linear", "position_based", "time_decay")
)
POLICY = AttributionPolicy(models=tuple(MODELS))
SEARCH = Acquisition("Organic Search", "google", "organic")
MAIL = Acquisition("Email", "mail", "email", "june", is_tagged_or_paid=True)


def fact(**fields: Any) -> ConversionFact:
    """A purchase of 49.90 unless told otherwise."""
    return conversion_facts.fact(**{"value_minor": 4990, **fields})


def touch(number: int, age: int = 0, acquisition: Acquisition = SEARCH) -> Touchpoint:
    return Touchpoint(f"{number:032x}", "v1", "site", NOON - age, acquisition, f"/landing/{number % 10}")


def path_of(*touches: Touchpoint) -> Path:
    return build_path(Past(touches), TimelineConversion(NOON, "c", "purchase"), POLICY)


def booked(rows: Iterable[Entry]) -> dict[tuple[str, Terms, CreditedTouch], tuple[int, int]]:
    """The ledger after ``rows``: what does not cancel out, by everything that names a row."""
    sums: dict[tuple[str, Terms, CreditedTouch], list[int]] = defaultdict(lambda: [0, 0])
    for row in rows:
        total = sums[row.model, row.terms, row.touch]
        total[0] += row.weight_ppb
        total[1] += row.amount_minor
    return {key: (weight, amount) for key, (weight, amount) in sums.items() if weight or amount}


def standing(statement: Statement) -> dict[tuple[str, Terms, CreditedTouch], tuple[int, int]]:
    return {
        (model, statement.terms, statement.touches[touchpoint_id]): (part.weight_ppb, part.amount_minor)
        for model, parts in statement.shares.items()
        for touchpoint_id, part in parts.items()
    }


def check_balance(rows: list[Entry], statement: Statement) -> None:
    """Per model: amounts = conversion values = the value that stands; weights = 1; also in each currency."""
    for model in {row.model for row in rows}:
        of_model = [row for row in rows if row.model == model]
        stands = model in statement.shares
        assert sum(row.weight_ppb for row in of_model) == (WEIGHT_ONE if stands else 0)
        for currency in {row.terms.currency for row in of_model}:
            of_currency = [row for row in of_model if row.terms.currency == currency]
            value = statement.value_minor if stands and currency == statement.terms.currency else 0
            assert sum(row.amount_minor for row in of_currency) == value
            assert sum(row.conversion_value_minor for row in of_currency) == value


def test_credit_shares_value_and_weight_to_the_last_unit() -> None:
    """Three thirds of 49.90 are 16.64, 16.63, 16.63; of one: 333333334, 333333333, 333333333 billionths."""
    shares = credit(fact(), path_of(touch(1, 3), touch(2, 2), touch(3, 1)), POLICY).shares["linear"]
    assert [part.amount_minor for part in shares.values()] == [1664, 1663, 1663]
    assert [part.weight_ppb for part in shares.values()] == [333_333_334, 333_333_333, 333_333_333]


def test_touch_that_gets_nothing_has_no_entry() -> None:
    """First touch writes one row, not one and two zeros."""
    statement = credit(fact(), path_of(touch(1, 2), touch(2, 1)), POLICY)
    assert list(statement.shares["first_touch"]) == [f"{1:032x}"]
    assert len(statement.shares["linear"]) == 2


def test_conversion_without_a_touch_is_unattributed_under_every_model() -> None:
    """The value stands, credited to nobody, at the instant of the conversion."""
    rows = entries(None, credit(fact(), path_of(), POLICY))
    assert [row.model for row in rows] == list(POLICY.models)
    assert {row.touch for row in rows} == {CreditedTouch("", NOON, Missing.no_person.acquisition, "")}
    assert {(row.weight_ppb, row.amount_minor, row.conversion_value_minor) for row in rows} == {
        (WEIGHT_ONE, 4990, 4990)
    }


def test_unattributed_is_taken_back_when_a_touch_arrives() -> None:
    """Late hits correct the books, they do not add to them."""
    old, new = credit(fact(), path_of(), POLICY), credit(fact(), path_of(touch(1, 1)), POLICY)
    rows = [row for row in entries(old, new) if row.model == "linear"]
    assert [(row.touch.acquisition, row.weight_ppb, row.amount_minor) for row in rows] == [
        (Missing.no_person.acquisition, -WEIGHT_ONE, -4990),
        (SEARCH, WEIGHT_ONE, 4990),
    ]


def test_unchanged_statement_emits_nothing() -> None:
    """A trigger that turns out to be idle writes no row."""
    statement = credit(fact(), path_of(touch(1, 2), touch(2, 1)), POLICY)
    assert entries(statement, Statement.from_bytes(statement.to_bytes())) == []


def test_models_that_agree_on_the_change_emit_nothing() -> None:
    """A touch before all others changes nothing for the last touch."""
    old = credit(fact(), path_of(touch(2, 2)), SIX)
    new = credit(fact(), path_of(touch(1, DAY_MS), touch(2, 2)), SIX)
    assert {row.model for row in entries(old, new)} == {
        "first_touch",
        "linear",
        "position_based",
        "time_decay",
    }


def test_changed_value_is_carried_by_one_entry_of_each_model() -> None:
    """Else the books could not be checked by one scan."""
    path = path_of(touch(1, 2), touch(2, 1))
    rows = entries(credit(fact(), path, POLICY), credit(fact(value_minor=6990), path, POLICY))
    for model in POLICY.models:
        values = [row.conversion_value_minor for row in rows if row.model == model]
        assert sorted(values) == [0] * (len(values) - 1) + [2000]
    assert all(row.weight_ppb == 0 for row in rows)


@pytest.mark.parametrize(
    "changed", [{"currency": "EUR"}, {"occurred_at": NOON + 1}, {"type": "lead"}, {"visitor_id": "v2"}]
)
def test_changed_terms_take_back_every_entry_and_write_it_anew(changed: dict[str, object]) -> None:
    """Rows are found by these columns: the difference of two rows with other columns is two rows."""
    path = path_of(touch(1, 2), touch(2, 1))
    old, new = credit(fact(), path, POLICY), credit(fact(**changed), path, POLICY)
    rows = entries(old, new)
    assert booked(entries(None, old) + rows) == standing(new)
    linear = [row for row in rows if row.model == "linear"]
    assert [(row.terms, row.amount_minor) for row in linear] == [
        (old.terms, -2495),
        (old.terms, -2495),
        (new.terms, 2495),
        (new.terms, 2495),
    ]
    assert [row.conversion_value_minor for row in linear] == [-4990, 0, 4990, 0]


def test_changed_touch_is_taken_back_and_written_anew() -> None:
    """Should the same touch one day have another channel, its old row goes as it was."""
    old = credit(fact(), path_of(touch(1, 1)), POLICY)
    new = credit(fact(), path_of(touch(1, 1, MAIL)), POLICY)
    rows = [row for row in entries(old, new) if row.model == "linear"]
    assert [(row.touch.acquisition, row.amount_minor, row.conversion_value_minor) for row in rows] == [
        (SEARCH, -4990, 0),
        (MAIL, 4990, 0),
    ]


def test_model_taken_out_of_the_policy_is_taken_back() -> None:
    """And one that is put in is written."""
    fewer = AttributionPolicy(models=("linear",))
    path = path_of(touch(1, 1))
    both, one = credit(fact(), path, POLICY), credit(fact(), path, fewer)
    assert booked(entries(None, both) + entries(both, one)) == standing(one)
    assert booked(entries(None, one) + entries(one, both)) == standing(both)


def test_conversion_worth_nothing_still_has_its_weight() -> None:
    """Leads are counted by weight."""
    rows = entries(None, credit(fact(value_minor=None), path_of(touch(1, 1)), POLICY))
    assert {(row.weight_ppb, row.amount_minor, row.conversion_value_minor) for row in rows} == {
        (WEIGHT_ONE, 0, 0)
    }


def test_unknown_model_is_refused_with_and_without_touches() -> None:
    """A wrong policy never writes a row."""
    wrong = AttributionPolicy(models=("linear", "guess"))
    for path in (path_of(), path_of(touch(1, 1))):
        with pytest.raises(Misconfigured):
            credit(fact(), path, wrong)


def test_a_model_that_credits_none_of_the_touches_leaves_the_conversion_unattributed() -> None:
    """Under that model only; its entry is taken back when a paid touch comes to light."""
    paid = Acquisition("Paid Search", "google", "cpc", is_tagged_or_paid=True)
    old = credit(fact(), path_of(touch(2, 2)), POLICY)
    assert old.shares["last_paid_touch"] == {"": Share(WEIGHT_ONE, 4990)}
    assert list(old.shares["last_touch"]) == [touch(2).touchpoint_id]
    assert Statement.from_bytes(old.to_bytes()) == old
    new = credit(fact(), path_of(touch(1, DAY_MS, paid), touch(2, 2)), POLICY)
    assert "" not in new.touches
    rows = [row for row in entries(old, new) if row.model == "last_paid_touch"]
    assert [(row.touch.acquisition.channel, row.amount_minor) for row in rows] == [
        ("(unattributed)", -4990),
        ("Paid Search", 4990),
    ]
    check_balance([*entries(None, old), *entries(old, new)], new)


def test_statement_is_small() -> None:
    """Five touches under six models."""
    statement = credit(fact(), path_of(*(touch(2**127 + n, n * DAY_MS, MAIL) for n in range(5))), SIX)
    assert len(statement.to_bytes()) <= 450


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x90", b"text", bytes(99)])
def test_garbage_is_unreadable(data: bytes) -> None:
    """A named error."""
    with pytest.raises(UnreadableStatement):
        Statement.from_bytes(data)


@given(st.data())
def test_damaged_bytes_are_unreadable_or_a_statement(data: st.DataObject) -> None:
    """Never another error."""
    stored = bytearray(credit(fact(), path_of(touch(1, 2, MAIL), touch(2, 1, DIRECT)), POLICY).to_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        stored[data.draw(st.integers(0, len(stored) - 1))] = data.draw(st.integers(0, 255))
    try:
        damaged = Statement.from_bytes(bytes(stored))
    except UnreadableStatement:
        return
    entries(damaged, credit(fact(), path_of(), POLICY))


touches = st.builds(
    touch,
    st.integers(0, 5),
    st.sampled_from([0, 1, DAY_MS, 91 * DAY_MS]),
    st.sampled_from([SEARCH, MAIL, DIRECT]),
)
steps = st.tuples(
    st.builds(
        fact,
        value_minor=st.none() | st.sampled_from([0, 1, 2, 4990, -4990]) | st.integers(0, 10**14),
        currency=st.sampled_from(["USD", "JPY"]),
        occurred_at=st.sampled_from([NOON, NOON - 1]),
        type=st.sampled_from(["purchase", "lead"]),
        visitor_id=st.sampled_from(["v1", "v2"]),
    ),
    st.lists(touches, max_size=6, unique_by=lambda one: one.touchpoint_id),
    st.sampled_from([POLICY, POLICY, AttributionPolicy(models=("linear", "time_decay"))]),
)


@given(st.lists(steps, min_size=1, max_size=6))
def test_books_balance_after_every_step_and_end_at_the_last_statement(
    history: list[tuple[ConversionFact, list[Touchpoint], AttributionPolicy]],
) -> None:
    """Whatever a conversion and its path go through, stored and loaded in between."""
    rows: list[Entry] = []
    old: Statement | None = None
    for one, touched, policy in history:
        new = credit(
            one, build_path(Past(touched), TimelineConversion(one.occurred_at, "c", one.type), policy), policy
        )
        difference = entries(old, new)
        carrying = [(row.model, row.terms) for row in difference if row.conversion_value_minor]
        assert len(carrying) == len(set(carrying))
        rows += difference
        check_balance(rows, new)
        assert booked(rows) == standing(new)
        old = Statement.from_bytes(new.to_bytes())
        assert old == new


@pytest.mark.parametrize(
    ("has_consent", "touches", "missing"),
    [
        (True, [], Missing.no_person),
        (True, [touch(1, -1)], Missing.no_person),
        (True, [touch(1, 91 * DAY_MS)], Missing.no_touch_in_window),
        (False, [], Missing.no_consent),
        (False, [touch(1, 91 * DAY_MS)], Missing.no_consent),
    ],
    ids=["nobody", "seen only later", "too long ago", "refused", "refused, and seen"],
)
def test_the_ledger_tells_why_nobody_is_credited(
    has_consent: bool, touches: list[Touchpoint], missing: Missing
) -> None:
    """Whoever is first seen after the conversion was nobody when it happened."""
    path = build_path(Past(touches), TimelineConversion(NOON, "c", "purchase"), POLICY)
    statement = credit(fact(has_consent=has_consent), path, POLICY)
    assert {one.acquisition for one in statement.touches.values()} == {missing.acquisition}
    assert Statement.from_bytes(statement.to_bytes()) == statement


def test_a_refusal_takes_no_credit_from_touchpoints_that_count() -> None:
    """It only says why there is none."""
    path = path_of(touch(1, 1))
    assert credit(fact(has_consent=False), path, SIX) == credit(fact(), path, SIX)


def test_what_a_model_leaves_out_is_told_apart_from_what_nobody_saw() -> None:
    statement = credit(fact(), path_of(touch(2, 2)), POLICY)
    assert statement.touches[""].acquisition == Missing.no_touch_of_model.acquisition
