"""What journeys are, case by case (docs/learnt-models.md); random ones: tests/property/test_learnt_journeys.py."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from sinks_rows import DAY, NOON, row

from attribution.persons import IdentityRules
from attribution.policy import AttributionPolicy, DirectHandling, SinceLast
from sinks.journeys import LONGEST, JourneyRange, JourneyReader
from sinks.tables import WRITTEN
from sinks.writer import RowWriter

POLICY = AttributionPolicy()
Journeys = Counter[tuple[str, ...]]


def write(place: tuple[Client, str], table: str, rows: list[dict[str, Any]]) -> None:
    written = [row(table, **given) for given in rows]
    RowWriter(*place).insert(table, WRITTEN[table], written, f"{random.random()}")


def touch(
    place: tuple[Client, str], visitor: str, *seen: tuple[float, str], site: str = "a", sign: int = 1
) -> None:
    """Touches of a visitor: (days after noon, channel)."""
    rows = [
        {
            "site": site,
            "visitor_id": visitor,
            "touched_at": NOON + round(day * DAY),
            "touchpoint_id": f"{visitor}{number:04}",
            "channel": channel,
            "sign": sign,
        }
        for number, (day, channel) in enumerate(seen)
    ]
    write(place, "touchpoints", rows)


def convert(
    place: tuple[Client, str], visitor: str, day: float, *channels: str, type_: str = "purchase", **given: Any
) -> None:
    """A conversion of a visitor, and the path that credit saw."""
    fact = {
        "site": "a",
        "conversion_id": f"{visitor}{day}{type_}",
        "converted_at": NOON + round(day * DAY),
        "value": "1",
        **given,
    }
    write(place, "conversions", [{**fact, "visitor_id": visitor, "type": type_}])
    path = {"channels": list(channels), "conversion_type": type_, "currency": "USD"}
    write(place, "paths", [{**fact, **path}])


def link(place: tuple[Client, str], id_: str, *visitors: str, sign: int = 1) -> None:
    """All of them name one id."""
    links = [{"site": "a", "visitor_id": visitor, "id": id_, "sign": sign} for visitor in visitors]
    write(place, "identity_links", links)


def journeys(
    place: tuple[Client, str],
    policy: AttributionPolicy = POLICY,
    types: tuple[str, ...] = (),
    *,
    until: float = 1000,
    site: str = "",
) -> tuple[Journeys, Journeys]:
    """(converted, lost) by channels, of all that ended up to so many days after noon."""
    wanted = JourneyRange(NOON - 1000 * DAY, NOON + round(until * DAY), policy, types, site)
    converted: Journeys = Counter()
    lost: Journeys = Counter()
    for counter in JourneyReader(*place).read(wanted, 2).values():
        result = counter.result()
        steps = iter(result.steps.tolist())
        for length, won, given_up in zip(
            result.lengths.tolist(), result.converted.tolist(), result.lost.tolist(), strict=True
        ):
            channels = tuple(result.channels[next(steps)] for _ in range(length))
            converted[channels] += won
            lost[channels] += given_up
    return +converted, +lost


def test_a_persons_devices_make_one_journey(clean: tuple[Client, str]) -> None:
    """Phone and laptop that name one user; not after it was taken back, nor where nobody is joined."""
    touch(clean, "phone", (0, "Paid Social"), (3, "Direct"))
    touch(clean, "laptop", (1, "Email"))
    touch(clean, "other", (2, "Email"))
    link(clean, "user:42", "phone", "laptop")
    joined = Counter({("Paid Social", "Email", "Direct"): 1, ("Email",): 1})
    assert journeys(clean) == (Counter(), joined)
    parted = Counter({("Paid Social", "Direct"): 1, ("Email",): 2})
    alone = AttributionPolicy(identity=IdentityRules(max_visitors_per_person=1))
    assert journeys(clean, alone) == (Counter(), parted)
    link(clean, "user:42", "laptop", sign=-1)
    assert journeys(clean) == (Counter(), parted)


def test_an_order_that_only_the_server_tells_ends_the_journey(clean: tuple[Client, str]) -> None:
    """Its visitor has no touch of its own: the browser's are not lost."""
    touch(clean, "browser", (0, "Email"), (1, "Display"), (5, "Direct"))
    convert(clean, "user:42", 2, "Email", "Display")
    assert journeys(clean)[1] == Counter({("Email", "Display", "Direct"): 1})
    link(clean, "user:42", "browser", "user:42")
    assert journeys(clean) == (Counter({("Email", "Display"): 1}), Counter({("Direct",): 1}))


def test_a_conversion_of_another_type_cuts_no_journey(clean: tuple[Client, str]) -> None:
    """Each has its own path; asked for purchases only, a sign-up is nothing at all."""
    touch(clean, "buys", (0, "Paid Search"), (2, "Email"))
    convert(clean, "buys", 1, "Paid Search", type_="sign_up", value="0")
    convert(clean, "buys", 3, "Paid Search", "Email")
    touch(clean, "signs", (0, "Display"), (2, "Email"))
    convert(clean, "signs", 1, "Display", type_="sign_up", value="0")
    bought, signed = ("Paid Search", "Email"), [("Paid Search",), ("Display",)]
    assert journeys(clean) == (Counter([bought, *signed]), Counter({("Email",): 1}))
    assert journeys(clean, types=("purchase",)) == (Counter([bought]), Counter({("Display", "Email"): 1}))


@pytest.mark.parametrize(("bought", "is_lost"), [(80, False), (95, True)])
def test_each_type_reaches_back_by_its_own_lookback(
    clean: tuple[Client, str], bought: float, is_lost: bool
) -> None:
    """A lead 40 days after a touch does not reach it, and does not lend its instant to the later purchase."""
    touch(clean, "v", (0, "Email"))
    convert(clean, "v", 40, type_="lead")
    convert(clean, "v", bought)
    assert journeys(clean) == (Counter(), Counter([("Email",)] * is_lost))


def test_a_conversion_that_is_not_learnt_from_takes_no_touch_behind_it(clean: tuple[Client, str]) -> None:
    """Where any conversion takes what came before it, those of other types are known too; they reach nothing."""
    policy = AttributionPolicy(since_last_conversion=SinceLast.any_type)
    convert(clean, "ann", 1, type_="purchase")
    touch(clean, "ann", (2, "Email"))
    assert journeys(clean, policy, ("sign_up",)) == (Counter(), Counter([("Email",)]))


def test_only_what_stands_counts(clean: tuple[Client, str]) -> None:
    """Touches, conversions and paths that were taken back are gone."""
    touch(clean, "v", (0, "Email"), (1, "Display"))
    convert(clean, "v", 2, "Email", "Display")
    touch(clean, "w", (0, "Email"))
    touch(clean, "w", (0, "Email"), sign=-1)
    convert(clean, "v", 2, "Email", "Display", sign=-1)
    assert journeys(clean) == (Counter(), Counter({("Email", "Display"): 1}))


def test_a_journey_belongs_to_the_period_in_which_it_ended(clean: tuple[Client, str]) -> None:
    """What comes later is known of: the touch will be reached, the journey goes on."""
    touch(clean, "buys", (0, "Email"))
    convert(clean, "buys", 30, "Email")
    touch(clean, "goes on", (0, "Display"), (30, "Email"))
    touch(clean, "pauses", (0, "Direct"), (91, "Email"))
    assert journeys(clean, until=10) == (Counter(), Counter({("Direct",): 1}))
    touch(clean, "elsewhere", (0, "Email"), site="b")
    assert journeys(clean, until=10, site="b") == (Counter(), Counter({("Email",): 1}))


def test_types_of_value_are_those_that_brought_money(clean: tuple[Client, str]) -> None:
    """In the period; those that the policy knows."""
    for type_, value in (("purchase", "1"), ("lead", "0"), ("sign_up", None), ("other", "5")):
        convert(clean, "v", 1, "Email", type_=type_, value=value or "0")
    convert(clean, "w", 1, "Email", type_="opportunity", value="7")
    convert(clean, "w", 1, "Email", type_="opportunity", value="7", sign=-1)
    reader = JourneyReader(*clean)
    wanted = JourneyRange(NOON, NOON + 2 * DAY, POLICY)
    assert reader.types_of_value(wanted) == ("purchase",)
    assert reader.types_of_value(JourneyRange(NOON + 2 * DAY, NOON + 3 * DAY, POLICY)) == ()


def test_channels_that_never_count_are_no_part_of_a_journey(clean: tuple[Client, str]) -> None:
    """Left out, of paths of an earlier policy, too; and Direct beside others, if it counts alone only."""
    touch(clean, "u", (0, "Direct"), (1, "Email"), (2, "Display"))
    touch(clean, "v", (0, "Direct"), (1, "Direct"))
    touch(clean, "w", (0, "Display"))
    convert(clean, "x", 1, "Display", "Direct", "Email")
    convert(clean, "y", 1, "Display")
    policy = AttributionPolicy(excluded_channels=("Display",), direct=DirectHandling.only_if_alone)
    assert journeys(clean, policy) == (
        Counter({("Email",): 1}),
        Counter({("Email",): 1, ("Direct", "Direct"): 1}),
    )


def test_of_a_very_long_journey_the_end_is_kept(clean: tuple[Client, str]) -> None:
    """Somebody with thousands of touches is one journey of the last hundred."""
    many = [(number / 1000, "Email") for number in range(LONGEST + 50)]
    touch(clean, "v", *many, (1, "Direct"))
    convert(clean, "w", 1, *["Email"] * LONGEST, "Direct")
    kept = Counter({("Email",) * (LONGEST - 1) + ("Direct",): 1})
    assert journeys(clean) == (kept, kept)


@pytest.mark.parametrize("size", [3, 40])
def test_persons_that_are_too_large_are_none(clean: tuple[Client, str], size: int) -> None:
    """A chain from device to device, each with the next: as long as it may be, and one longer."""
    for number in range(size):
        touch(clean, f"v{number:02}", (number / 100, "Email"))
        link(clean, f"user:{number}", f"v{number:02}", f"v{number + 1:02}")
    touch(clean, f"v{size:02}", (1, "Direct"))
    rules = IdentityRules(max_users_per_visitor=2, max_visitors_per_person=size + 1)
    assert journeys(clean, AttributionPolicy(identity=rules))[1] == Counter(
        {("Email",) * size + ("Direct",): 1}
    )
    rules = IdentityRules(max_users_per_visitor=2, max_visitors_per_person=size)
    assert journeys(clean, AttributionPolicy(identity=rules))[1] == Counter(
        {("Email",): size, ("Direct",): 1}
    )


def test_work_is_cut_by_the_number_of_touchpoints(clean: tuple[Client, str]) -> None:
    """Each slice holds about so many."""
    for number in range(5):
        touch(clean, f"v{number}", *[(0, "Email")] * 20)
    wanted = JourneyRange(NOON, NOON + DAY, POLICY)
    assert JourneyReader(*clean).slices(wanted) == 1
    assert JourneyReader(*clean, slice_rows=30).slices(wanted) >= 4
    later = JourneyRange(NOON + 500 * DAY, NOON + 501 * DAY, POLICY)
    assert JourneyReader(*clean, slice_rows=30).slices(later) == 1
