"""Statements divided anew in place: to the byte what crediting the path under the other policy comes to."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import event, given
from hypothesis import strategies as st
from statements import CHANNELS, facts, paths

from attribution.bulk.redivided import redivide_many
from attribution.conversions import ConversionFact
from attribution.entries import entries_between
from attribution.learnt.applied import models_of
from attribution.learnt.tables import ChannelEffect, LearntTable, SiteEffects
from attribution.ledger import credit
from attribution.models import MODELS
from attribution.moves import moves_between
from attribution.paths import Path
from attribution.policy import (
    DAY_MS,
    AttributionPolicy,
    CustomKind,
    CustomModel,
    DirectHandling,
    SinceLast,
    ViewHandling,
)
from attribution.redivision import redivision
from attribution.touchpoints import TouchKind


def table(model: str, effects: tuple[int, ...], site: str) -> LearntTable:
    channels = tuple(
        ChannelEffect(channel, effect, effect, effect, effect)
        for channel, effect in zip(sorted(CHANNELS), effects, strict=False)
    )
    sites = (SiteEffects(site, 10, 5, channels),)
    return LearntTable(model=model, from_ms=0, to_ms=1, types=("purchase",), seed=1, rounds=1, sites=sites)


TABLES = {
    one.version: one
    for one in (
        table("markov", (5, 10**9, 3, 4), "site"),
        table("markov", (1, 2, 10**9 - 7, 4, 5), ""),
        table("shapley", (-5, 1, 1), "site"),
    )
}
MARKOVS = [version for version, one in TABLES.items() if one.model == "markov"]
OWN = {
    "own": st.sampled_from(
        [
            CustomModel(kind=CustomKind.weights, first=3, middle=1, last=1),
            CustomModel(kind=CustomKind.positions, positions=(5, 1), rest=1, from_end=True),
            CustomModel(kind=CustomKind.time_decay, half_life_ms=DAY_MS),
            CustomModel(kind=CustomKind.model, model="linear", window_ms=5 * DAY_MS),
            CustomModel(kind=CustomKind.model, model="w_shaped"),
        ]
    )
}


@st.composite
def dividing_policies(draw: st.DrawFn) -> AttributionPolicy:
    """Policies that choose the same path, and divide it as they please."""
    custom = {name: draw(kinds) for name, kinds in OWN.items() if draw(st.booleans())}
    learnt = {"markov": draw(st.sampled_from(MARKOVS))} if draw(st.booleans()) else {}
    names = draw(st.lists(st.sampled_from(sorted(MODELS)), min_size=1, unique=True))
    return AttributionPolicy(
        models=(*draw(st.permutations([*names, *custom, *learnt])),),
        custom_models=custom,
        learnt=learnt,
        time_decay_half_life_ms=draw(st.sampled_from([DAY_MS, 7 * DAY_MS, 1 << 60])),
        paid_channels=draw(st.sampled_from([(), ("Email",)])),
        lead_events=draw(st.sampled_from([("lead",), ("lead", "sign_up")])),
    )


@given(st.lists(st.tuples(facts, paths()), min_size=1, max_size=6), dividing_policies(), dividing_policies())
def test_what_is_divided_in_place_is_what_crediting_comes_to(
    conversions: list[tuple[ConversionFact, Path]], old: AttributionPolicy, new: AttributionPolicy
) -> None:
    plan = redivision(old, new, "purchase")
    event("in place" if plan is not None else "needs the past")
    if plan is None:
        return
    old_models, new_models = models_of(old, TABLES), models_of(new, TABLES)
    former = [credit(fact, path, old, old_models).to_bytes() for fact, path in conversions]
    found = redivide_many([fact for fact, _ in conversions], former, plan, new, new_models)
    wanted = [credit(fact, path, new, new_models).to_bytes() for fact, path in conversions]
    assert [one.statement for one in found] == wanted
    for one, before in zip(found, former, strict=True):
        between = moves_between(before, one.statement)
        assert between is not None
        assert (one.moves.moves if one.moves is not None else []) == between.moves
        if one.moves is not None:
            assert one.moves.stored.touches == between.stored.touches
            assert bool(one.moves.moves) == bool(entries_between(before, one.statement))


BASE = AttributionPolicy()


def test_the_very_policy_changes_nothing() -> None:
    plan = redivision(BASE, BASE, "purchase")
    assert plan is not None
    assert plan.is_same


def test_windows_of_other_types_do_not_matter() -> None:
    windows = {**BASE.conversion_lookbacks_ms, "lead": DAY_MS, "unused": 1}
    new = msgspec.structs.replace(BASE, conversion_lookbacks_ms=windows, kind_lookbacks_ms={"lead": {}})
    plan = redivision(BASE, new, "purchase")
    assert plan is not None
    assert plan.is_same
    assert redivision(BASE, new, "lead") is None


@pytest.mark.parametrize(
    "rules",
    [
        {"conversion_lookbacks_ms": {"purchase": DAY_MS}},
        {"kind_lookbacks_ms": {"purchase": {TouchKind.click: DAY_MS}}},
        {"direct": DirectHandling.never},
        {"views": ViewHandling.always},
        {"view_lookback_ms": 5},
        {"excluded_channels": ("Email",)},
        {"since_last_conversion": SinceLast.any_type},
        {"session_gap_ms": 5},
        {"max_hits_per_visitor": 5},
        {"ignored_referrers": ("a.example",)},
        {"brand_words": ("acme",)},
        {"models": ("linear", "outside"), "plugins": {"outside": "outside 1.0"}},
    ],
)
def test_another_path_or_a_plug_in_needs_the_past(rules: dict[str, object]) -> None:
    new = msgspec.structs.replace(BASE, **rules)
    assert redivision(BASE, new, "purchase") is None
    assert redivision(new, BASE, "purchase") is None


def test_conversions_of_all_types_that_cut_the_path_are_compared() -> None:
    old = msgspec.structs.replace(BASE, since_last_conversion=SinceLast.any_type)
    windows = {**BASE.conversion_lookbacks_ms, "unused": 1}
    assert redivision(old, msgspec.structs.replace(old, conversion_lookbacks_ms=windows), "purchase") is None


def test_a_model_that_looks_at_moments_is_kept_but_not_made() -> None:
    few = msgspec.structs.replace(BASE, models=("linear",))
    assert redivision(few, BASE, "purchase") is None
    back = redivision(BASE, few, "purchase")
    assert back is not None
    assert not back.is_same
    other = msgspec.structs.replace(BASE, lead_events=("demo",))
    assert redivision(BASE, other, "purchase") is None
    decay = msgspec.structs.replace(BASE, time_decay_half_life_ms=DAY_MS)
    plan = redivision(BASE, decay, "purchase")
    assert plan is not None
    assert set(BASE.models) - plan.stays == {"time_decay"}
