"""The journeys that are learnt from are those of persons, as credit sees them: ClickHouse's against the oracle's."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any, NamedTuple

import journey_definition as definition
from clickhouse_connect.driver.client import Client
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from identity_worlds import identity_rules, people_hit
from stream_worlds import T0, URLS, rules

from attribution.hit import Hit
from attribution.links import LinkChange, LinkFact
from attribution.oracle import World, oracle
from attribution.policy import DAY_MS, AttributionPolicy, SinceLast
from attribution.standing_path import StandingPath
from sinks.journeys import JourneyRange, JourneyReader
from sinks.tables import WRITTEN
from sinks.writer import RowWriter
from streams.rows import conversion_row, link_row, path_row, touchpoint_row

_NUMBERS = itertools.count()
SPANS = (0, 1, 3_600_000, DAY_MS, 2 * DAY_MS, 40 * DAY_MS, 90 * DAY_MS)
NO_SHRINKING = (Phase.explicit, Phase.reuse, Phase.generate)
"""Each try asks ClickHouse for a second: the first example that fails has to do."""
TYPES = ("lead", "opportunity", "purchase", "sign_up")


class Case(NamedTuple):
    """What happened, and which journeys of it are asked for."""

    hits: list[Hit]
    policy: AttributionPolicy
    types: tuple[str, ...]
    from_: int
    to: int
    slices: int


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """People with several devices, who convert in several ways or in none; orders that only a server tells."""
    hits = []
    most = draw(st.sampled_from([60, 30, 15]))
    for number, hit in enumerate(draw(st.lists(people_hit(), min_size=most // 2, max_size=most))):
        hit.event_id = f"e{number}"
        hit.site = "abc"[number * 3 // most]  # three worlds at the price of one
        if hit.event in ("purchase", "lead"):
            hit.event = draw(st.sampled_from([hit.event, *TYPES]))
        elif hit.event == "page_view" and draw(st.integers(0, 3)) == 0:
            hit.event, hit.url = "impression", draw(st.sampled_from(URLS))
        hits.append(hit)
    lookbacks = {type_: draw(st.sampled_from(SPANS[3:])) for type_ in TYPES}
    policy = AttributionPolicy(
        identity=draw(identity_rules()),
        conversion_lookbacks_ms=lookbacks,
        models=("linear",),
        **draw(rules(st.sampled_from(SPANS))),
    )
    types = draw(st.lists(st.sampled_from(TYPES), unique=True).map(tuple))
    from_ = draw(st.sampled_from([T0 - DAY_MS, T0 - DAY_MS, T0 + 2 * DAY_MS]))
    to = draw(st.sampled_from([T0 + 200 * DAY_MS, T0 + 200 * DAY_MS, T0 + 40 * DAY_MS]))
    return Case(hits, policy, types, from_, to, draw(st.sampled_from([1, 3])))


def store(place: tuple[Client, str], world: World) -> None:
    """As the stream leaves it; what was taken back stands there twice, with both signs."""
    source = ("b", 0, 0)
    rows: dict[str, list[tuple[Any, ...]]] = {name: [] for name in ("touchpoints", "conversions", "paths")}
    for touch in world.touchpoints:
        rows["touchpoints"].append(touchpoint_row(touch, 1, *source))
    for conversion_id, fact in world.conversions.items():
        touches, at = world.paths[conversion_id], fact.occurred_at
        ends = (touches[0].touched_at, touches[-1].touched_at) if touches else (at, at)
        path = StandingPath(fact.type, at, "USD", 0, definition.channels_of(touches), *ends)
        before = StandingPath(fact.type, at, "USD", 0, ("Before",), at, at)
        rows["conversions"].append(conversion_row(fact, 1, "", 0))
        for one, sign in ((before, 1), (before, -1), (path, 1)):
            rows["paths"].append(path_row(fact.site, conversion_id, one, sign, 0))
    links = []
    for (site, visitor_id, id_), is_held in world.links.items():
        for sign in (1, -1)[: 1 if is_held else 2]:
            change = LinkChange(id_, LinkFact(T0, 0, sign == 1), is_flipped=True)
            links.append(link_row((site, visitor_id), change, "e", 0, *source))
    for table, its_rows in {**rows, "identity_links": links}.items():
        RowWriter(*place).insert(table, WRITTEN[table], its_rows, f"{table}{next(_NUMBERS)}")


def counted(place: tuple[Client, str], wanted: JourneyRange, slices: int) -> list[definition.Journeys]:
    """(converted, lost) as ClickHouse counts them."""
    found: list[definition.Journeys] = [Counter(), Counter()]
    for site, counter in JourneyReader(*place).read(wanted, slices).items():
        result = counter.result()
        steps = iter(result.steps.tolist())
        counts = zip(result.lengths.tolist(), result.converted.tolist(), result.lost.tolist(), strict=True)
        for length, won, given_up in counts:
            channels = tuple(result.channels[next(steps)] for _ in range(length))
            found[0][site, channels] += won
            found[1][site, channels] += given_up
    return [+each for each in found]


@settings(max_examples=40, phases=NO_SHRINKING)
@given(cases())
def test_journeys_are_those_of_the_oracles_persons(migrated: tuple[Client, str], case: Case) -> None:
    """However persons are cut into slices, for whatever conversions and rules."""
    example = next(_NUMBERS)
    for hit in case.hits:
        hit.site = f"{example}-{hit.site}"
    world = oracle(case.hits, case.policy, "USD")
    store(migrated, world)
    types = case.types or TYPES
    converted = definition.converted(world, types, case.from_, case.to)
    lost = definition.lost(world, case.policy, types, case.from_, case.to)
    own = {hit.site for hit in case.hits}
    found = counted(migrated, JourneyRange(case.from_, case.to, case.policy, case.types), case.slices)
    assert [own_of(journeys, own) for journeys in found] == [converted, lost]


def own_of(journeys: definition.Journeys, sites: set[str]) -> definition.Journeys:
    """Those of ``sites``: earlier examples are there, too."""
    return Counter({key: many for key, many in journeys.items() if key[0] in sites})


@settings(max_examples=100)
@given(cases())
def test_a_touch_on_the_path_of_a_conversion_is_on_no_lost_journey(case: Case) -> None:
    """The definition itself, where nothing makes it differ from credit: see docs/learnt-models.md on limits."""
    policy, types = case.policy, case.types or TYPES
    is_plain = policy.since_last_conversion is SinceLast.off
    if not is_plain:
        for number, hit in enumerate(case.hits):  # each conversion is told once
            hit.order_id = hit.order_id and f"o{number}"
    world = oracle(case.hits, policy, "USD")
    if policy.identity.account_view and not is_plain:
        return
    on_paths = {
        touch.touchpoint_id
        for conversion_id, path in world.paths.items()
        if world.conversions[conversion_id].type in types
        for touch in path
    }
    on_lost = [
        touch.touchpoint_id
        for _, touches in definition.lost_journeys(world, policy, types)
        for touch in touches
    ]
    assert len(on_lost) == len(set(on_lost))
    assert not on_paths & set(on_lost)
