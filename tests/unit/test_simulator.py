"""The simulated market: repeatable, balanced with its own truth, and hard enough to be worth playing."""

from __future__ import annotations

from collections import Counter, defaultdict
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.simulator.programmes import BY_NAME, PROGRAMMES, SHOP, Programme, programme_of
from runtime.simulator.world import SESSION_GAP_MS, SimulatedHit, World, build_world

ENDS_AT = 1_793_000_000_000
DAYS = 45
SEED_LIST = {
    "google_ads",
    "bing_ads",
    "linkedin",
    "meta",
    "tiktok",
    "x",
    "programmatic",
    "affiliate",
    "influencer",
    "email",
    "organic_search",
    "referral",
    "direct",
}


@pytest.fixture(scope="module")
def world() -> World:
    return build_world(seed=7, people=1_500, ends_at=ENDS_AT, days=DAYS)


def _kept(world: World) -> list[SimulatedHit]:
    """Hits that must be kept: of people, each event id once."""
    return [hit for hit in world.hits if not hit.is_bot and not hit.is_duplicate]


def _cents(text: str) -> int:
    whole, _, part = text.partition(".")
    assert len(part) == 2
    return int(whole) * 100 + int(part)


def test_same_seed_gives_the_same_world() -> None:
    """Every hit, in every field and in order."""
    first = build_world(seed=3, people=80, ends_at=ENDS_AT)
    second = build_world(seed=3, people=80, ends_at=ENDS_AT)
    other = build_world(seed=4, people=80, ends_at=ENDS_AT)
    assert first == second
    assert first.hits != other.hits


def test_run_id_changes_every_id_and_nothing_else() -> None:
    """Two runs can live in one installation."""
    first = build_world(seed=3, people=80, ends_at=ENDS_AT, run_id="a")
    second = build_world(seed=3, people=80, ends_at=ENDS_AT, run_id="b")
    for name in ("event_id", "visitor_id", "order_id"):
        ids = [{hit.fields[name] for hit in w.hits if name in hit.fields} for w in (first, second)]
        assert ids[0]
        assert not ids[0] & ids[1]
    assert first.truth == second.truth


def test_every_programme_of_the_seed_list_brings_visits(world: World) -> None:
    """All thirteen, each seen in the tags or referrers of landing pages."""
    assert {programme.name for programme in PROGRAMMES} == SEED_LIST
    assert {arrival.channel for p in PROGRAMMES for arrival in p.arrivals} == set(world.truth.sessions)


def test_counts_add_up(world: World) -> None:
    """Sent = unique + duplicates + bots, and each is what the hits say."""
    truth = world.truth
    assert truth.sent == len(world.hits) == truth.unique + truth.duplicates + truth.bots
    assert truth.unique == len({hit.fields["event_id"] for hit in world.hits if not hit.is_bot})
    assert truth.bots == sum(hit.is_bot for hit in world.hits)
    assert truth.visitors == len({hit.fields["visitor_id"] for hit in _kept(world)})
    assert min(truth.duplicates, truth.bots, truth.leads, truth.sign_ups) > 20


def test_revenue_is_the_sum_over_order_ids(world: World) -> None:
    """An order told twice (browser and server) is one order; both say the same amount."""
    orders: dict[str, set[int]] = defaultdict(set)
    tellings = 0
    for hit in _kept(world):
        if hit.fields.get("event") == "purchase":
            orders[hit.fields["order_id"]].add(_cents(hit.fields["value"]))
            tellings += 1
    assert tellings > len(orders) == world.truth.orders
    assert all(len(values) == 1 for values in orders.values())
    assert sum(min(values) for values in orders.values()) == world.truth.revenue
    assert sum(world.truth.caused.values()) + world.truth.base == world.truth.revenue


def test_every_hit_lies_in_the_window_and_is_sent_after_it_occurred(world: World) -> None:
    """The order of sending is not the order of events: some are late by days."""
    for hit in world.hits:
        assert ENDS_AT - (DAYS + 2) * 86_400_000 <= int(hit.fields["occurred_at"]) < ENDS_AT
        assert hit.send_at >= int(hit.fields["occurred_at"])
    assert [hit.send_at for hit in world.hits] == sorted(hit.send_at for hit in world.hits)
    late = [hit for hit in _kept(world) if hit.send_at - int(hit.fields["occurred_at"]) > 86_400_000]
    assert len(late) > 50


def test_true_sessions_are_what_half_an_hour_of_silence_or_new_tags_cut(world: World) -> None:
    """Recount of the visits from the hits alone, by the rule written down for sessions."""
    by_visitor: dict[str, list[SimulatedHit]] = defaultdict(list)
    for hit in _kept(world):
        if "url" in hit.fields and hit.fields.get("event") not in ("impression", "email_open"):
            by_visitor[hit.fields["visitor_id"]].append(hit)
    sessions = 0
    close = 0
    for hits in by_visitor.values():
        hits.sort(key=lambda hit: int(hit.fields["occurred_at"]))
        last_at = None
        for hit in hits:
            at = int(hit.fields["occurred_at"])
            tags = {name.removeprefix("utm_") for name in parse_qs(urlsplit(hit.fields["url"]).query)}
            is_new = last_at is None or at - last_at > SESSION_GAP_MS
            close += bool(tags - {"fbclid"}) and not is_new
            sessions += is_new or bool(tags - {"fbclid"})
            last_at = at
    assert sessions == sum(world.truth.sessions.values())
    assert close > 5


def test_some_people_use_several_devices_and_log_in(world: World) -> None:
    """One user_id is seen on two visitor_ids: what identity stitching will have to find."""
    visitors: dict[str, set[str]] = defaultdict(set)
    for hit in _kept(world):
        if "user_id" in hit.fields:
            visitors[hit.fields["user_id"]].add(hit.fields["visitor_id"])
    assert sum(len(devices) > 1 for devices in visitors.values()) > 5


def test_last_touch_is_not_right_by_construction(world: World) -> None:
    """Direct visits close purchases and cause none."""
    assert world.truth.caused["direct"] == 0
    purchases = Counter(hit.fields["visitor_id"] for hit in _kept(world) if "value" in hit.fields)
    assert purchases
    assert world.truth.base > 0


def test_more_uplift_causes_more_revenue() -> None:
    """The known effects are in the draws: influencers do more than X ads, although both open equally."""
    truth = build_world(seed=1, people=6_000, ends_at=ENDS_AT).truth
    assert BY_NAME["influencer"].uplift > BY_NAME["x"].uplift
    assert truth.caused["influencer"] > 2 * truth.caused["x"]


@pytest.mark.parametrize("programme", PROGRAMMES, ids=lambda programme: programme.name)
def test_a_report_row_finds_its_programme(programme: Programme) -> None:
    """Campaign first, else channel and source."""
    for arrival in programme.arrivals:
        source = arrival.source or {"gclid": "google", "gbraid": "google", "msclkid": "bing"}.get(
            arrival.click_param, ""
        )
        assert programme_of(arrival.channel, source, arrival.campaign) == programme.name


def test_what_the_shop_does_not_run_has_no_programme() -> None:
    """A wrong classification must not hide in another programme's row."""
    assert programme_of("Paid Shopping", "amazon", "") is None
    assert programme_of("Paid Search", "yandex", "") is None


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), people=st.integers(0, 40), days=st.integers(3, 60))
def test_any_world_balances(seed: int, people: int, days: int) -> None:
    """No cent and no hit is lost for any seed, size or span; landing pages are the shop's."""
    world = build_world(seed=seed, people=people, ends_at=ENDS_AT, days=days)
    truth = world.truth
    assert truth.sent == truth.unique + truth.duplicates + truth.bots
    assert truth.base + sum(truth.caused.values()) == truth.revenue
    assert all(int(hit.fields["occurred_at"]) < ENDS_AT for hit in world.hits)
    assert all(hit.fields["url"].startswith(SHOP + "/") for hit in world.hits if "url" in hit.fields)
