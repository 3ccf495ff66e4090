"""The simulated market: repeatable, balanced with its own truth, and hard enough to be worth playing."""

from __future__ import annotations

import io
from collections import Counter, defaultdict
from dataclasses import replace
from decimal import Decimal
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from attribution.enrich import enrich
from attribution.hit import Hit
from attribution.oracle import oracle
from attribution.policy import AttributionPolicy
from runtime.simulator.display import print_report
from runtime.simulator.observer import NOTHING, Amounts, Place, Snapshot
from runtime.simulator.programmes import BY_NAME, PROGRAMMES, SHOP, Programme, programme_of
from runtime.simulator.report import SERVER, build_checks, build_lines, dollars, misplaced, shares
from runtime.simulator.sender import BATCH, parcels
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
    """All thirteen, each seen in the tags or referrers of landing pages; what is advertised for the app brings none."""
    assert {programme.name for programme in PROGRAMMES} == {*SEED_LIST, "app"}
    assert {arrival.channel for p in PROGRAMMES for arrival in p.arrivals} == set(world.truth.sessions)
    assert {name for name, _, _ in world.truth.clicks} == SEED_LIST


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


# --- the report


def _measured_by_the_oracle(world: World) -> Snapshot:
    """What a perfect system reports of the world: the pure core, in one pass."""
    hits = [
        Hit(
            **{name: value for name, value in hit.fields.items() if name != "occurred_at"},
            site="s",
            occurred_at=int(hit.fields["occurred_at"]),
            received_at=hit.send_at,
            user_agent=hit.user_agent,
        )
        for hit in world.hits
    ]
    end = oracle(hits, AttributionPolicy(), "USD")
    traffic: dict[Place, Amounts] = defaultdict(Amounts)
    for session in end.sessions:
        way = session.acquisition
        traffic[way.channel, way.source, way.campaign] += Amounts(hits=session.hits, sessions=1)
    for hit in end.hits.values():
        enriched = enrich(hit)
        if not enriched.in_session:
            way = enriched.acquisition
            place = (way.channel, way.source, way.campaign) if way else ("Unassigned", "(not set)", "")
            traffic[place] += Amounts(hits=1)
    touches = {touch.touchpoint_id: touch.acquisition for touch in end.touchpoints}
    credit: dict[str, dict[Place, Amounts]] = defaultdict(lambda: defaultdict(Amounts))
    for (_, model, touchpoint_id), (billionths, cents) in end.credits.items():
        way = touches.get(touchpoint_id)
        place = (way.channel, way.source, way.campaign) if way else ("(unattributed)", "", "")
        credit[model][place] += Amounts(conversions=Decimal(billionths).scaleb(-9), revenue=cents)
    bots = sum(enrich(hit).agent.is_bot for hit in hits)
    return Snapshot(traffic, credit, {"bot": bots, "duplicate": len(hits) - bots - len(end.hits)})


@pytest.fixture(scope="module")
def perfect(world: World) -> Snapshot:
    return _measured_by_the_oracle(world)


def test_the_core_finds_the_truth_of_the_simulated_world(world: World, perfect: Snapshot) -> None:
    """Hits, drops, sessions by channel, conversions and every cent under every model, through every trap."""
    checks = build_checks(world.truth, perfect, repeated=0)
    assert len(checks) == 5 + len(AttributionPolicy().models)
    assert [check for check in checks if not check.is_met] == []


def test_report_shows_every_programme_and_model(world: World, perfect: Snapshot) -> None:
    """As plain text, without a terminal; sums are those of the truth."""
    lines = build_lines(world.truth, perfect)
    # The paid models leave what no paid touch led to unattributed.
    names = [*(programme.name for programme in PROGRAMMES), SERVER, "(unattributed)"]
    assert [line.name for line in lines] == names
    assert sum(line.caused for line in lines) + world.truth.base == world.truth.revenue
    for line in lines:
        assert tuple(line.credited) == AttributionPolicy().models
    text = io.StringIO()
    print_report(Console(file=text), world.truth, lines, build_checks(world.truth, perfect, repeated=0))
    shown = text.getvalue()
    for words in ("LinkedIn Ads", "TRUE", "time_decay", "Misplaced", "lowest", "credit = revenue, linear"):
        assert words in shown
    assert " NO " not in shown


def test_no_model_is_right_and_they_differ(world: World, perfect: Snapshot) -> None:
    """Else the demo would show nothing."""
    lines = build_lines(world.truth, perfect)
    true = shares({line.name: line.caused for line in lines})
    errors = {
        model: misplaced(true, shares({line.name: line.credited[model] for line in lines}))
        for model in perfect.credit
    }
    assert min(errors.values()) > 1
    assert len({round(error, 3) for error in errors.values()}) > 3


def _changed(snapshot: Snapshot, **changes: object) -> Snapshot:
    return replace(snapshot, **changes)  # type: ignore[arg-type]


def _failed(world: World, snapshot: Snapshot, repeated: int = 0) -> list[str]:
    return [check.name for check in build_checks(world.truth, snapshot, repeated) if not check.is_met]


def test_one_lost_cent_is_found(world: World, perfect: Snapshot) -> None:
    """Under the model in which it is lost, and no other."""
    place = next(iter(perfect.credit["linear"]))
    linear = {**perfect.credit["linear"]}
    linear[place] += Amounts(revenue=-1)
    assert _failed(world, _changed(perfect, credit={**perfect.credit, "linear": linear})) == [
        "credit = revenue, linear"
    ]


def test_one_lost_billionth_of_a_conversion_is_found(world: World, perfect: Snapshot) -> None:
    """Conversions are compared with all their digits."""
    place = next(iter(perfect.credit["linear"]))
    linear = {**perfect.credit["linear"]}
    linear[place] += Amounts(conversions=Decimal("-1e-9"))
    assert _failed(world, _changed(perfect, credit={**perfect.credit, "linear": linear})) == [
        "credit = revenue, linear"
    ]


def test_one_lost_or_doubled_hit_is_found(world: World, perfect: Snapshot) -> None:
    """Whatever explains the drops."""
    place = next(iter(perfect.traffic))
    for change in (-1, 1):
        traffic = {**perfect.traffic}
        traffic[place] += Amounts(hits=change)
        assert _failed(world, _changed(perfect, traffic=traffic), repeated=50) == [
            "hits kept",
            "sent = kept + dropped",
        ]


def test_a_session_in_the_wrong_channel_is_found(world: World, perfect: Snapshot) -> None:
    """Even when the total is right."""
    traffic = {**perfect.traffic}
    wrong, right = [place for place, amounts in perfect.traffic.items() if amounts.sessions][:2]
    if wrong[0] == right[0]:
        right = next(place for place in perfect.traffic if place[0] != wrong[0])
    traffic[wrong] += Amounts(sessions=1)
    traffic[right] += Amounts(sessions=-1)
    assert _failed(world, _changed(perfect, traffic=traffic)) == [
        f"sessions in each of {len(world.truth.sessions)} channels"
    ]


def test_traffic_where_the_shop_has_no_marketing_is_found(world: World, perfect: Snapshot) -> None:
    """It gets a line of its own."""
    traffic = {**perfect.traffic, ("Paid Shopping", "amazon", ""): Amounts(revenue=1)}
    stray = _changed(perfect, traffic=traffic)
    assert _failed(world, stray) == ["nothing where the shop has no marketing"]
    assert "(not run by the shop)" in [line.label for line in build_lines(world.truth, stray)]


def test_more_duplicates_are_right_only_as_far_as_requests_were_repeated(
    world: World, perfect: Snapshot
) -> None:
    """A retry without an answer may double a hit; nothing else may."""
    more = _changed(perfect, drops={**perfect.drops, "duplicate": perfect.drops["duplicate"] + 3})
    assert _failed(world, more, repeated=3) == []
    assert "bots and duplicates dropped" in _failed(world, more, repeated=2)
    fewer = _changed(perfect, drops={**perfect.drops, "duplicate": perfect.drops["duplicate"] - 1})
    assert "bots and duplicates dropped" in _failed(world, fewer, repeated=3)


def test_hits_dropped_for_another_reason_are_found(world: World, perfect: Snapshot) -> None:
    """The simulator never goes over the limit of a visitor."""
    other = _changed(perfect, drops={**perfect.drops, "visitor_over_limit": 2})
    assert "sent = kept + dropped" in _failed(world, other)


def test_snapshot_since_leaves_out_what_was_there_before(perfect: Snapshot) -> None:
    """The demo can run twice in one folder."""
    assert perfect.since(NOTHING).traffic == {p: a for p, a in perfect.traffic.items() if a != Amounts()}
    again = perfect.since(perfect)
    assert again.traffic == {}
    assert all(not places for places in again.credit.values())
    assert set(again.drops.values()) == {0}


def test_parcels_keep_every_hit_once_and_in_order(world: World) -> None:
    """Pixels alone, the rest in batches."""
    sent = list(parcels(world.hits))
    assert sorted(id(hit) for parcel in sent for hit in parcel) == sorted(id(hit) for hit in world.hits)
    assert max(len(parcel) for parcel in sent) == BATCH
    assert all(len(parcel) == 1 for parcel in sent if parcel[0].is_pixel)


def test_dollars_are_exact() -> None:
    """No float on the way."""
    assert dollars(123456789012345678) == "1,234,567,890,123,456.78"
    assert dollars(5) == "0.05"
