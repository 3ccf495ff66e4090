"""I1, I2, I3 with people of several devices, through the real stages."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from itertools import permutations
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, event, given, note, settings
from hypothesis import strategies as st
from identity_worlds import people_worlds
from redis.asyncio import Redis
from stream_checks import assert_tallies_equal_rows
from stream_crashes import Faults
from stream_house import MOST_TURNS, Accidents, House, play, settled
from stream_worlds import T0, URLS, assert_equals_oracle, cents

from attribution.hit import Hit, encode_envelope
from attribution.links import LinkFact
from attribution.oracle import World, oracle
from attribution.persons import CLOSED_AT, IdentityRules
from attribution.policy import DAY_MS, AttributionPolicy
from streams.fence import FenceStore
from streams.link_store import LinkEnd, LinkStore
from streams.topics import HITS


def assert_links_equal(house: House, world: World) -> None:
    """The signed rows of a link add up to whether it holds."""
    signs: Counter[tuple[str, str, str]] = Counter()
    for row in house.writer.dicts("identity_links"):
        signs[row["site"], row["visitor_id"], row["id"]] += row["sign"]
    assert {link for link, sign in signs.items() if sign} == {
        link for link, held in world.links.items() if held
    }
    assert set(signs.values()) <= {0, 1}


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    world=people_worlds(),
    seed=st.integers(0, 2**32),
    crashes=st.lists(st.integers(1, 200), max_size=6),
    sets_back=st.sampled_from([0.0, 0.0, 0.05]),
)
def test_people_are_credited_as_one_whatever_happens(
    empty_valkey: str,
    world: tuple[list[Hit], AttributionPolicy],
    seed: int,
    crashes: list[int],
    sets_back: float,
) -> None:
    """Links and their withdrawals in any order among visits and purchases, with crashes and sleeping owners."""
    hits, policy = world
    accidents = Accidents(sleeps=0.05, sets_back=sets_back)
    house = asyncio.run(play(empty_valkey, hits, [policy], seed, crashes, accidents))
    note(f"{house.faults.raised} crashes at {house.faults.count} points")
    expected = oracle(hits, policy, "USD")
    assert_equals_oracle(house.writer, expected)
    assert_links_equal(house, expected)
    assert_tallies_equal_rows(house)
    event(f"links: {min(len(expected.links), 5)}")


def hit(event_id: str, visitor_id: str, days: float = 0, **given: Any) -> Hit:
    at = T0 + int(days * DAY_MS)
    return Hit(event_id=event_id, site="s", visitor_id=visitor_id, occurred_at=at, received_at=at, **given)


def bought(event_id: str, visitor_id: str, days: float, **given: Any) -> Hit:
    return hit(event_id, visitor_id, days, event="purchase", value="30.01", currency="USD", **given)


def said(
    event_id: str, visitor_id: str, user_id: str = "ann", *, days: float = 0, event: str = "identify"
) -> Hit:
    return hit(event_id, visitor_id, days, event=event, user_id=user_id)


async def settle(house: House) -> None:
    for _ in range(MOST_TURNS):
        if await settled(house, house.rng):
            return
    raise AssertionError(f"not settled after {MOST_TURNS} turns")


async def arrive(url: str, batches: Sequence[Sequence[Hit]], policy: AttributionPolicy) -> House:
    """All of a batch is credited before the next one comes, and is what the oracle says then."""
    async with Redis.from_url(url) as redis:
        await redis.flushdb()
        house = House(redis, policy, Faults([]), "durable", random.Random(1))
        arrived: list[Hit] = []
        for batch in batches:
            arrived += batch
            for one in batch:
                house.append(HITS, one.visitor_id.encode(), encode_envelope([one]))
            await settle(house)
            assert_equals_oracle(house.writer, oracle(arrived, policy, "USD"))
        return house


def credited(house: House, model: str = "linear") -> dict[str, int]:
    """Touchpoint to minor units that stand."""
    sums: Counter[str] = Counter()
    for row in house.writer.dicts("credits"):
        if row["model"] == model:
            sums[row["touchpoint_id"]] += cents(row["amount"])
    return {touch: amount for touch, amount in sums.items() if amount}


def causes(house: House) -> list[str]:
    """In the order in which they came."""
    return list(dict.fromkeys(row["cause"] for row in house.writer.dicts("credits")))


JOURNEY = (
    hit("1", "phone", 0, url=URLS[1]),
    said("2", "phone", days=0.1),
    hit("3", "laptop", 2, url=URLS[3]),
    said("4", "laptop", days=2.1),
    bought("5", "user:ann", 3, user_id="ann", order_id="o"),
)


@pytest.mark.parametrize("order", range(0, 120, 5))
def test_every_order_of_arrival_gives_the_same_tables(empty_valkey: str, order: int) -> None:
    """A purchase that only the server reports, before or after its touches and before or after anybody is known."""
    arriving = list(permutations(JOURNEY))[order]
    house = asyncio.run(arrive(empty_valkey, [[one] for one in arriving], AttributionPolicy()))
    assert sorted(credited(house).values()) == [1500, 1501]


@pytest.mark.parametrize("crash_at", range(1, 100, 2))
def test_a_crash_at_any_point_of_a_merge_changes_nothing(empty_valkey: str, crash_at: int) -> None:
    hits, policy = list(JOURNEY), AttributionPolicy()
    house = asyncio.run(play(empty_valkey, hits, [policy], crash_at, [crash_at, crash_at + 9, crash_at + 31]))
    expected = oracle(hits, policy, "USD")
    assert_equals_oracle(house.writer, expected)
    assert_links_equal(house, expected)


def test_a_merge_that_is_taken_back_leaves_exactly_the_former_credit(empty_valkey: str) -> None:
    """And taken back as of an earlier moment than it was said again, it stands."""
    before = [hit("1", "phone", 0, url=URLS[1]), bought("2", "laptop", 3), hit("3", "laptop", 1, url=URLS[2])]
    merge = [said("4", "phone", days=4), said("5", "laptop", days=4)]
    split = [said("6", "phone", days=5, event="unlink")]
    again = [said("7", "phone", days=6)]
    too_early = [said("8", "phone", days=5.5, event="unlink")]
    states = []
    for batches in (
        [before],
        [before, merge],
        [before, merge, split],
        [before, merge, split, again, too_early],
    ):
        house = asyncio.run(arrive(empty_valkey, batches, AttributionPolicy()))
        states.append(credited(house))
    assert states[0] == states[2] != states[1] == states[3]
    assert causes(house) == ["conversion", "merge", "split"]


def test_a_second_login_makes_a_device_nobodys_and_taking_it_back_joins_it_again(empty_valkey: str) -> None:
    batches = [
        [
            hit("1", "tablet", 0, url=URLS[1]),
            said("2", "tablet"),
            said("3", "laptop"),
            bought("4", "laptop", 3),
        ],
        [said("5", "tablet", "bob", days=4)],
        [said("6", "tablet", "bob", days=5, event="unlink")],
    ]
    amounts = []
    for count in (1, 2, 3):
        house = asyncio.run(arrive(empty_valkey, batches[:count], AttributionPolicy()))
        amounts.append(credited(house))
    assert amounts[0] == amounts[2]
    assert list(amounts[1]) == [""]


def test_an_id_of_too_many_visitors_joins_nobody_and_the_next_one_less_does(empty_valkey: str) -> None:
    policy = AttributionPolicy(identity=IdentityRules(max_visitors_per_id=3))
    visitors = [f"v{number}" for number in range(5)]
    batches = [
        [hit("0", "v0", 0, url=URLS[1]), bought("1", "v1", 3)],
        *([said(f"in {visitor}", visitor)] for visitor in visitors),
        *([said(f"out {visitor}", visitor, days=1, event="unlink")] for visitor in visitors[:1:-1]),
    ]
    shown = []
    for count in range(1, len(batches) + 1):
        house = asyncio.run(arrive(empty_valkey, batches[:count], policy))
        shown.append("" not in credited(house))
    assert shown == [False, False, True, True, False, False, False, True, True]


def test_what_another_device_did_late_is_credited_with_its_own_cause(empty_valkey: str) -> None:
    """A hit that comes weeks late, dated between the others, from a device that was known before."""
    batches = [
        [said("1", "phone"), said("2", "laptop"), bought("3", "laptop", 30)],
        [hit("4", "phone", 20, url=URLS[1])],
        [hit("5", "phone", 10, url=URLS[3])],
    ]
    house = asyncio.run(arrive(empty_valkey, batches, AttributionPolicy()))
    assert causes(house) == ["conversion", "late_touch"]
    assert sorted(credited(house).values()) == [1500, 1501]


def test_an_anonymous_visitor_leaves_nothing_in_redis_but_his_timeline(empty_valkey: str) -> None:
    async def scenario() -> None:
        house = await arrive(
            empty_valkey, [[hit("1", "v", url=URLS[1]), bought("2", "v", 1)]], AttributionPolicy()
        )
        assert not house.writer.dicts("identity_links")
        async with Redis.from_url(empty_valkey) as redis:
            keys = await redis.keys("*")
        assert not [key for key in keys if key.startswith(b"i") or b"spreads" in key]

    asyncio.run(scenario())


ACCOUNT_VIEW = AttributionPolicy(identity=IdentityRules(account_view=True))


def of_company(
    event_id: str, visitor_id: str, company: str = "acme", *, days: float = 0, event: str = "group"
) -> Hit:
    props = msgspec.Raw(msgspec.json.encode({"group_id": company}))
    return hit(event_id, visitor_id, days, event=event, props=props)


COMPANY_JOURNEY = (
    hit("1", "colleague", 0, url=URLS[1]),
    of_company("2", "colleague", days=0.1),
    of_company("3", "buyer-phone", days=1),
    said("4", "buyer-phone", days=1.1),
    bought("5", "user:ann", 3, user_id="ann", order_id="o"),
)


@pytest.mark.parametrize("order", range(0, 120, 5))
def test_a_colleagues_click_is_credited_with_the_buyers_deal_in_every_order(
    empty_valkey: str, order: int
) -> None:
    """The deal is the server's, the buyer's phone says which company, the colleague clicked the advertisement."""
    arriving = list(permutations(COMPANY_JOURNEY))[order]
    house = asyncio.run(arrive(empty_valkey, [[one] for one in arriving], ACCOUNT_VIEW))
    assert list(credited(house).values()) == [3001]
    assert "" not in credited(house)
    without = asyncio.run(arrive(empty_valkey, [arriving], AttributionPolicy()))
    assert list(credited(without)) == [""]


def test_who_leaves_the_company_takes_his_touches_with_him(empty_valkey: str) -> None:
    """And what he does afterwards is nobody else's, until he is back."""
    batches = [
        list(COMPANY_JOURNEY),
        [of_company("6", "colleague", days=4, event="unlink")],
        [hit("7", "colleague", 2, url=URLS[3])],
        [of_company("8", "colleague", days=5)],
    ]
    shown, seen = [], []
    for count in (1, 2, 3, 4):
        house = asyncio.run(arrive(empty_valkey, batches[:count], ACCOUNT_VIEW))
        shown.append(sorted(credited(house).values()))
        seen.append("" in credited(house))
    assert shown == [[3001], [3001], [3001], [1500, 1501]]
    assert seen == [False, True, True, False]
    assert causes(house)[-2:] == ["split", "merge"]


def test_what_a_colleague_does_late_is_credited_and_what_he_bought_is_a_moment_of_the_deal(
    empty_valkey: str,
) -> None:
    """A lead of one person, closed by another: the path of the deal knows when the company became a lead."""
    policy = AttributionPolicy(
        identity=IdentityRules(account_view=True), models=("linear", "w_shaped", "full_path")
    )
    batches = [
        [of_company("1", "colleague"), of_company("2", "buyer"), bought("3", "buyer", 30)],
        [hit("4", "buyer", 25, url=URLS[1]), hit("5", "buyer", 20, url=URLS[3])],
        [hit("6", "colleague", 10, url=URLS[3])],
        [hit("7", "colleague", 5, url=URLS[1])],
        [hit("8", "colleague", 11, event="lead"), hit("9", "colleague", 21, event="opportunity")],
    ]
    touches, shaped = [], []
    for count in range(1, 6):
        house = asyncio.run(arrive(empty_valkey, batches[:count], policy))
        touches.append(len(credited(house)))
        shaped.append(sorted(credited(house, "w_shaped").values()))
    assert touches == [1, 2, 3, 4, 4]
    assert shaped[3] != shaped[4]


def test_a_company_of_too_many_gives_only_the_person_and_the_next_one_less_gives_all(
    empty_valkey: str,
) -> None:
    policy = AttributionPolicy(identity=IdentityRules(account_view=True, max_visitors_per_account=3))
    visitors = [f"v{number}" for number in range(5)]
    batches = [
        [hit("0", "v0", 0, url=URLS[1]), bought("1", "v1", 3)],
        *([of_company(f"in {visitor}", visitor)] for visitor in visitors),
        *([of_company(f"out {visitor}", visitor, days=1, event="unlink")] for visitor in visitors[:1:-1]),
    ]
    shown = []
    for count in range(1, len(batches) + 1):
        house = asyncio.run(arrive(empty_valkey, batches[:count], policy))
        shown.append("" not in credited(house))
    assert shown == [False, False, True, True, False, False, False, True, True]


@pytest.mark.parametrize("most", [1, 2, 3])
@pytest.mark.parametrize("joins", [2, 3, 4])
def test_several_join_and_leave_a_company_at_once_and_make_it_too_large_and_small(
    empty_valkey: str, most: int, joins: int
) -> None:
    """None of them is the one too many."""
    policy = AttributionPolicy(identity=IdentityRules(account_view=True, max_visitors_per_account=most))
    owner = said("b", "tablet", "buyer")
    first = [of_company(f"in {number}", f"v{number}") for number in range(most)]
    more = [of_company(f"also {number}", f"w{number}") for number in range(joins)]
    gone = [of_company(f"out {number}", f"w{number}", days=1, event="unlink") for number in range(joins)]
    batches = [
        [hit("0", "v0", 0, url=URLS[1]), owner, said("a", f"v{most - 1}", "buyer"), bought("1", "tablet", 3)],
        first,
        more,
        gone,
    ]
    shown = []
    for count in range(2, len(batches) + 1):
        house = asyncio.run(arrive(empty_valkey, batches[:count], policy))
        shown.append("" not in credited(house))
    assert shown == [True, most == 1, True]


def test_two_people_become_one_and_bring_their_companies_together_for_all(empty_valkey: str) -> None:
    """The link is the laptop's; whose deal changes is a colleague of its owner's phone, who heard of neither."""
    batches = [
        [
            of_company("1", "buyer"),
            bought("2", "buyer", 30),
            of_company("3", "phone"),
            said("4", "phone"),
            hit("5", "laptop", 1, url=URLS[1]),
        ],
        [said("6", "laptop", days=2)],
        [said("7", "laptop", days=3, event="unlink")],
    ]
    shown = []
    for count in (1, 2, 3):
        house = asyncio.run(arrive(empty_valkey, batches[:count], ACCOUNT_VIEW))
        shown.append("" not in credited(house))
    assert shown == [False, True, False]
    assert causes(house) == ["conversion", "merge", "split"]


def test_a_company_may_have_more_visitors_than_an_id_ever_keeps(empty_valkey: str) -> None:
    """An id that joins is closed by then."""

    async def scenario() -> tuple[int, int]:
        async with Redis.from_url(empty_valkey) as redis:
            await redis.flushdb()
            store = LinkStore(FenceStore(redis))
            ends = [
                LinkEnd("s", f"v{number}", id_, LinkFact(1, number, True))
                for number in range(CLOSED_AT + 20)
                for id_ in ("account:acme", "user:ann")
            ]
            await store.write(ends)
            members = await store.members([("s", "account:acme"), ("s", "user:ann")])
            return tuple(len(one.ever) for one in members.values())

    assert asyncio.run(scenario()) == (CLOSED_AT + 20, CLOSED_AT + 1)
