"""Frozen tables: their versions, how they divide a path, and that they keep what is stored."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attribution.acquisition import Acquisition
from attribution.errors import Misconfigured
from attribution.learnt.applied import models_of, with_learnt
from attribution.learnt.tables import (
    EVERY_SITE,
    MARKOV,
    ChannelEffect,
    LearntTable,
    SiteEffects,
    UnreadableTable,
)
from attribution.models import weights_of
from attribution.paths import Path
from attribution.policy import AttributionPolicy
from attribution.touchpoints import Touchpoint

POLICY = AttributionPolicy()


def table_of(**by_site: dict[str, int]) -> LearntTable:
    """Effects in billionths by site; ``every`` = all sites together."""
    sites = [
        SiteEffects(
            EVERY_SITE if site == "every" else site,
            100,
            30,
            tuple(ChannelEffect(channel, effect, 0, 0, 0) for channel, effect in sorted(effects.items())),
        )
        for site, effects in by_site.items()
    ]
    return LearntTable(
        model=MARKOV, order=1, from_ms=0, to_ms=1, types=("purchase",), seed=0, rounds=0, sites=tuple(sites)
    )


def path_of(*channels: str, site: str = "s") -> Path:
    """A path of touches of these channels."""
    touches = [
        Touchpoint(f"t{number}", "v", site, number, Acquisition(channel, "x", "y"), "/")
        for number, channel in enumerate(channels)
    ]
    return Path(tuple(touches), 100, "purchase")


def percent(table: LearntTable, path: Path) -> list[Fraction]:
    return [weight * 100 for weight in weights_of(table.division)(path, POLICY)]


def test_each_channel_weighs_its_effect_and_its_touches_share_it() -> None:
    """Paid 3 : e-mail 1, however often somebody came by e-mail."""
    table = table_of(every={"Paid Search": 600_000_000, "Email": 200_000_000, "Direct": 0})
    assert percent(table, path_of("Paid Search", "Email")) == [75, 25]
    assert percent(table, path_of("Email", "Paid Search", "Email")) == [12.5, 75, 12.5]
    assert percent(table, path_of("Direct", "Email")) == [0, 100]
    assert percent(table, path_of("Email", "Email")) == [50, 50]


def test_a_channel_that_lowers_the_rate_gets_nothing() -> None:
    """Shapley's values may be negative."""
    table = table_of(every={"Display": -5, "Email": 10})
    assert percent(table, path_of("Display", "Email")) == [0, 100]


def test_where_nothing_has_an_effect_all_touches_get_the_same() -> None:
    """Somebody converted, so somebody is credited."""
    table = table_of(every={"Direct": 0, "Display": -5, "Email": 10})
    assert percent(table, path_of("Direct", "Display", "Direct", "Display")) == [25] * 4


def test_a_channel_that_is_younger_than_the_table_weighs_the_average() -> None:
    """Else it would get nothing until the next learning, and its conversions would keep that."""
    table = table_of(every={"Email": 300, "Paid Search": 900})
    assert percent(table, path_of("Podcast", "Email")) == [Fraction(200, 3), Fraction(100, 3)]


def test_a_site_with_effects_of_its_own_is_credited_by_them() -> None:
    """Others by those of all sites; without them evenly."""
    table = table_of(every={"Email": 1, "Direct": 1}, shop={"Email": 3, "Direct": 1})
    assert percent(table, path_of("Email", "Direct", site="shop")) == [75, 25]
    assert percent(table, path_of("Email", "Direct", site="blog")) == [50, 50]
    alone = table_of(shop={"Email": 3, "Direct": 1})
    assert percent(alone, path_of("Email", "Direct", "Direct", site="blog")) == [Fraction(100, 3)] * 3


@settings(deadline=None)
@given(
    st.dictionaries(st.sampled_from("abcdef"), st.integers(-(10**9), 10**9), min_size=2),
    st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=30),
)
def test_the_division_follows_its_definition(effects: dict[str, int], channels: list[str]) -> None:
    """In fractions, as the text says it."""
    positive = {channel: max(0, effect) for channel, effect in effects.items()}
    average = sum(positive.values()) // len(positive)
    counts = Counter(channels)
    weights = {channel: Fraction(positive.get(channel, average)) for channel in counts}
    whole = sum(weights.values())
    expected = [
        weights[channel] / whole / counts[channel] if whole else Fraction(1, len(channels))
        for channel in channels
    ]
    found = weights_of(table_of(every=effects).division)(path_of(*channels), POLICY)
    assert list(found) == expected


def test_the_version_names_what_was_learnt_and_not_when() -> None:
    """The same data give the same table; any other content another."""
    table = table_of(every={"Email": 1, "Direct": 1})
    later = msgspec.structs.replace(table, learnt_at=5)
    assert later.version == table.version
    assert table_of(every={"Email": 2, "Direct": 1}).version != table.version
    assert msgspec.structs.replace(table, order=2).version != table.version


def test_a_stored_table_is_what_it_is_said_to_be() -> None:
    """Bytes of another table under a version are a reason to stop."""
    table = msgspec.structs.replace(table_of(every={"Email": 1, "Direct": 1}), learnt_at=5)
    assert LearntTable.from_bytes(table.to_bytes(), table.version) == table
    with pytest.raises(UnreadableTable, match="has the content of"):
        LearntTable.from_bytes(table.to_bytes(), "0123456789")
    with pytest.raises(UnreadableTable):
        LearntTable.from_bytes(b"{}", table.version)


def test_learnt_models_join_those_of_the_policy() -> None:
    """Under their versions; each once."""
    table = table_of(every={"Email": 1, "Direct": 1})
    policy = with_learnt(POLICY, {MARKOV: table.version})
    assert policy.models == (*POLICY.models, MARKOV)
    assert policy.version != POLICY.version
    assert with_learnt(policy, {MARKOV: table.version}) == policy
    assert with_learnt(POLICY, {}) == POLICY
    assert [name for name, _ in models_of(policy, {table.version: table})] == list(policy.models)
    with pytest.raises(Misconfigured, match="is missing"):
        models_of(policy)
