"""Many conversions at once: to the byte what one at a time comes to; and differences read off stored statements."""

from __future__ import annotations

import msgspec
from conversion_facts import NOON
from conversion_facts import fact as a_fact
from hypothesis import given
from hypothesis import strategies as st
from statements import facts, paths, policies

from attribution.acquisition import Acquisition
from attribution.bulk.statements import credit_many
from attribution.conversions import ConversionFact
from attribution.entries import entries, entries_between
from attribution.learnt.applied import models_of
from attribution.ledger import Statement, credit
from attribution.paths import Path
from attribution.policy import DAY_MS, AttributionPolicy, CustomKind, CustomModel
from attribution.touchpoints import Touchpoint


@given(st.lists(st.tuples(facts, paths()), max_size=8), policies)
def test_many_at_once_are_what_each_is_alone(
    conversions: list[tuple[ConversionFact, Path]], policy: AttributionPolicy
) -> None:
    models = models_of(policy)
    found = credit_many([f for f, _ in conversions], [p for _, p in conversions], policy, models)
    assert found == [credit(fact, path, policy, models).to_bytes() for fact, path in conversions]


@given(facts, facts, paths(), paths(), policies, policies, st.booleans(), st.booleans())
def test_differences_of_stored_statements_are_those_of_the_statements(
    old_fact: ConversionFact,
    new_fact: ConversionFact,
    old_path: Path,
    new_path: Path,
    old_policy: AttributionPolicy,
    new_policy: AttributionPolicy,
    is_same_fact: bool,
    is_same_path: bool,
) -> None:
    old = credit(old_fact, old_path, old_policy)
    new = credit(old_fact if is_same_fact else new_fact, old_path if is_same_path else new_path, new_policy)
    between = entries_between(old.to_bytes(), new.to_bytes())
    whole = entries(Statement.from_bytes(old.to_bytes()), Statement.from_bytes(new.to_bytes()))
    assert sorted(map(repr, between)) == sorted(map(repr, whole))
    assert entries_between(b"", new.to_bytes()) == entries(None, new)
    assert entries_between(new.to_bytes(), new.to_bytes()) == []


@given(st.lists(st.tuples(facts, paths()), min_size=1, max_size=6), st.booleans())
def test_models_that_are_not_built_in_are_asked_path_by_path(
    conversions: list[tuple[ConversionFact, Path]], is_absurd: bool
) -> None:
    """A learnt one, a plug-in's that credits nobody now and then, a half-life beyond all bounds: the same bytes."""

    def odd(path: Path, _: AttributionPolicy) -> tuple[int, ...]:
        return tuple(number % 3 for number in range(len(path.touchpoints)))

    names = ("linear", "time_decay", "markov", "own")
    half_life = 1 << 60 if is_absurd else DAY_MS
    policy = AttributionPolicy(models=("linear", "time_decay"), time_decay_half_life_ms=half_life)
    models = (*models_of(policy), ("markov", odd), ("own", odd))
    policy = msgspec.structs.replace(policy, models=names, learnt={"markov": "table"})
    found = credit_many([f for f, _ in conversions], [p for _, p in conversions], policy, models)
    assert found == [credit(fact, path, policy, models).to_bytes() for fact, path in conversions]


def test_a_model_that_the_policy_describes_itself_wins_over_a_built_in_name() -> None:
    touch = Touchpoint("1" * 32, "v", "s", NOON, Acquisition("Email", "s", "m"), "/")
    other = Touchpoint("2" * 32, "v", "s", NOON, Acquisition("Email", "s", "m"), "/")
    path, fact = Path((touch, other), NOON, "purchase"), a_fact(value_minor=100)
    own = CustomModel(kind=CustomKind.weights, first=3, middle=1, last=1)
    policy = AttributionPolicy(models=("linear",), custom_models={"linear": own})
    models = (("linear", lambda path, policy: (3, 1)),)
    assert credit_many([fact], [path], policy, models) == [credit(fact, path, policy, models).to_bytes()]
