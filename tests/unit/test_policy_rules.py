"""Rules of a policy, one at a time: what counts, what does not, and why."""

from __future__ import annotations

from typing import Any

import pytest

from attribution.acquisition import DIRECT, Acquisition
from attribution.channel_rules import ArrivalField, ArrivalRules, ChannelRule, Comparison, Condition
from attribution.drops import DropReason
from attribution.enrich import enrich
from attribution.hit import Hit
from attribution.marks import mark_of
from attribution.models import division_of
from attribution.past import Past
from attribution.paths import build_path, explain_path
from attribution.policy import (
    DAY_MS,
    AttributionPolicy,
    BrandHandling,
    CustomKind,
    CustomModel,
    DirectHandling,
    SinceLast,
    ViewHandling,
)
from attribution.timeline import Timeline, TimelineConversion
from attribution.touchpoints import TouchKind, Touchpoint

NOW = 1_760_000_000_000
AD = Acquisition("Paid Search", "google", "cpc", campaign="Lumen lamps", is_tagged_or_paid=True)
SEARCH = Acquisition("Organic Search", "google", "organic")


def touch(age: int, way: Acquisition = SEARCH, *, is_view: bool = False) -> Touchpoint:
    return Touchpoint(f"{age:032x}", "v", "s", NOW - age, way, "/", is_view)


def whys(
    touches: list[Touchpoint],
    earlier: tuple[tuple[int, str], ...] = (),
    type_: str = "purchase",
    **rules: Any,
) -> list[str]:
    """Why each counts, oldest first. ``earlier``: ages and types of other conversions."""
    conversions = [
        TimelineConversion(NOW - age, str(number), other) for number, (age, other) in enumerate(earlier)
    ]
    conversion = TimelineConversion(NOW, "this", type_)
    past = Past(touches, [*conversions, conversion])
    policy = AttributionPolicy(**rules)
    judged = explain_path(past, conversion, policy)
    counted = tuple(one.touchpoint for one in judged if one.is_counted)
    assert build_path(past, conversion, policy).touchpoints == counted
    return [str(one.why) for one in judged]


@pytest.mark.parametrize(
    ("way", "is_view", "kind"),
    [
        (AD, False, TouchKind.click),
        (AD, True, TouchKind.view),
        (SEARCH, False, TouchKind.visit),
        (DIRECT, False, TouchKind.visit),
        (
            Acquisition("Organic Social", "facebook", "social", click_id_param="fbclid"),
            False,
            TouchKind.click,
        ),
        (Acquisition("Paid Other", "criteo", "display"), False, TouchKind.click),
    ],
)
def test_kind_of_a_touch(way: Acquisition, is_view: bool, kind: TouchKind) -> None:
    """A click is what proves one; an ad server's referrer does, too."""
    assert touch(1, way, is_view=is_view).kind is kind


def test_each_kind_has_its_window_and_both_edges_count() -> None:
    """Views a day, clicks a week, the rest as the type says."""
    touches = [
        *(touch(90 * DAY_MS), touch(7 * DAY_MS + 1, AD), touch(7 * DAY_MS, AD)),
        *(touch(DAY_MS + 1, AD, is_view=True), touch(DAY_MS, AD, is_view=True)),
    ]
    kinds = {"purchase": {TouchKind.click: 7 * DAY_MS}}
    assert whys(touches, views=ViewHandling.always, kind_lookbacks_ms=kinds) == [
        *("in_window", "before_window", "in_window", "before_window", "in_window")
    ]


def test_a_view_gives_way_to_a_click_that_is_not_earlier() -> None:
    """At the same instant as well; a view after the last click counts."""
    touches = [touch(3, AD, is_view=True), touch(2, AD), touch(1, AD, is_view=True)]
    same = Touchpoint("f" * 32, "v", "s", NOW - 2, AD, "/", True)
    rules = {"views": ViewHandling.unless_clicked}
    assert whys([*touches, same], **rules) == [
        "view_before_click",
        "in_window",
        "view_before_click",
        "in_window",
    ]
    assert whys([touches[0], touch(2)], **rules) == ["in_window", "in_window"]
    assert whys(touches) == ["views_excluded", "in_window", "views_excluded"]


def test_direct_counts_alone_or_never() -> None:
    """What does not count is no company."""
    old = touch(91 * DAY_MS)
    alone = [old, touch(2, DIRECT)]
    rules = {"direct": DirectHandling.only_if_alone}
    assert whys(alone, **rules) == ["before_window", "in_window"]
    assert whys([touch(3), *alone], **rules) == ["before_window", "in_window", "direct_not_alone"]
    assert whys(alone, direct=DirectHandling.never) == ["before_window", "direct_excluded"]


def test_excluded_channels_and_brand() -> None:
    """The brand in the campaign, as whole words, whatever parts them."""
    assert whys([touch(1)], excluded_channels=("Organic Search",)) == ["excluded_channel"]
    brand = {"brand": BrandHandling.exclude}
    assert whys([touch(2, AD), touch(1)], brand_words=("lumen-lamps",), **brand) == [
        "brand_excluded",
        "in_window",
    ]
    assert whys([touch(2, AD)], brand_words=("lumen lamp",), **brand) == ["in_window"]


def test_only_touches_after_the_previous_conversion() -> None:
    """One at the very instant of it belongs to it; conversions at the same instant share their touches."""
    touches = [touch(5), touch(4), touch(3)]
    same = {"since_last_conversion": SinceLast.same_type}
    assert whys(touches, ((4, "purchase"),), **same) == [
        *("before_last_conversion", "before_last_conversion", "in_window")
    ]
    assert whys(touches, ((4, "lead"), (0, "purchase")), **same) == ["in_window"] * 3
    assert whys(touches, ((4, "lead"),), since_last_conversion=SinceLast.any_type)[1:] == [
        *("before_last_conversion", "in_window")
    ]


def test_stage_moments_are_the_first_lead_and_the_last_opportunity_in_the_window() -> None:
    """A lead at the edge of the window counts; an order told twice happened once."""
    reports = [
        TimelineConversion(NOW - 90 * DAY_MS - 1, "a", "lead"),
        TimelineConversion(NOW - 90 * DAY_MS, "b", "sign_up"),
        TimelineConversion(NOW - 5, "c", "opportunity"),
        TimelineConversion(NOW - 1, "c", "opportunity"),
        TimelineConversion(NOW - 3, "d", "opportunity"),
        TimelineConversion(NOW + 1, "e", "opportunity"),
    ]
    path = build_path(Past([], reports), TimelineConversion(NOW, "p", "purchase"), AttributionPolicy())
    assert (path.lead_at, path.opportunity_at) == (NOW - 90 * DAY_MS, NOW - 3)
    lead = build_path(Past([], []), TimelineConversion(NOW, "l", "lead"), AttributionPolicy())
    assert (lead.lead_at, lead.opportunity_at) == (NOW, None)


def hit(**fields: Any) -> Hit:
    return Hit(
        **{"event_id": "e", "site": "s", "visitor_id": "v", "occurred_at": NOW, "received_at": NOW, **fields}
    )


PODCAST = ChannelRule("Podcast", (Condition(ArrivalField.landing_page, Comparison.starts_with, ("/pod",)),))
BIG = ChannelRule("Email", (Condition(ArrivalField.default_channel, Comparison.is_, ("paid search",)),))


@pytest.mark.parametrize(
    ("url", "referrer", "rules", "channel"),
    [
        ("https://a.example/Podcast", "", ArrivalRules((PODCAST,)), "Podcast"),
        ("https://a.example/podcast", "https://a.example/", ArrivalRules((PODCAST,)), None),
        ("https://a.example/x?gclid=1", "", ArrivalRules((PODCAST, BIG)), "Email"),
        ("https://a.example/pod?gclid=1", "", ArrivalRules((PODCAST, BIG)), "Podcast"),
        (
            "https://a.example/",
            "https://my.pay.example/x",
            ArrivalRules(ignored_referrers=("pay.example",)),
            None,
        ),
        (
            "https://a.example/",
            "https://xpay.example/",
            ArrivalRules(ignored_referrers=("pay.example",)),
            "Referral",
        ),
        (
            "https://a.example/?utm_source=google&utm_medium=cpc&utm_term=Lumen+lamps",
            "",
            ArrivalRules(brand_words=("lumen",)),
            "Brand Paid Search",
        ),
    ],
)
def test_own_rules_about_arrivals(url: str, referrer: str, rules: ArrivalRules, channel: str | None) -> None:
    """Before the default channels, the first that holds."""
    acquisition = enrich(hit(url=url, referrer=referrer), rules).acquisition
    assert (acquisition.channel if acquisition else None) == channel


def test_a_view_is_a_touchpoint_outside_sessions_and_survives_storage() -> None:
    """It starts no session; without a policy for it nothing but its hash is kept, in the bytes of before."""
    ad = hit(event="impression", url="https://a.example/?utm_source=x&utm_medium=cpm&utm_campaign=y")
    policy = AttributionPolicy(views=ViewHandling.always)
    timeline = Timeline.empty("s", "v")
    change = timeline.apply([mark_of(ad, enrich(ad, policy.arrival_rules), policy)], policy)
    assert [touch.kind for touch in change.touchpoints_plus] == [TouchKind.view]
    assert (change.sessions_plus, timeline.sessions()) == ([], [])
    again = Timeline.from_bytes(timeline.to_bytes(), "s", "v")
    assert again.touchpoints() == change.touchpoints_plus
    assert again.to_bytes() == timeline.to_bytes()
    twice = again.apply([mark_of(ad, enrich(ad, policy.arrival_rules), policy)], policy)
    assert (twice.reasons, twice.touchpoints_plus) == ([DropReason.duplicate], [])
    plain = Timeline.empty("s", "v")
    plain.apply([mark_of(ad, enrich(ad), AttributionPolicy())], AttributionPolicy())
    assert plain.touchpoints() == []
    assert (
        plain.to_bytes()[0] == 0x9B
    )  # an array of the eleven columns that there were before views and links


@pytest.mark.parametrize(
    ("custom", "ages", "parts"),
    [
        (CustomModel(kind=CustomKind.weights, first=5, middle=2, last=3), (1,), (1,)),
        (CustomModel(kind=CustomKind.weights, middle=1), (2, 1), (1, 1)),
        (CustomModel(kind=CustomKind.weights, first=5, middle=2, last=3), (4, 3, 2, 1), (10, 2, 2, 6)),
        (CustomModel(kind=CustomKind.positions, positions=(3, 2)), (3, 2, 1), (3, 2, 0)),
        (
            CustomModel(kind=CustomKind.positions, positions=(3, 2), rest=1, from_end=True),
            (3, 2, 1),
            (1, 2, 3),
        ),
        (CustomModel(kind=CustomKind.model, model="linear", window_ms=2), (3, 2, 1), (0, 1, 1)),
        (CustomModel(kind=CustomKind.model, model="linear", window_ms=0), (3, 2), (0, 0)),
    ],
)
def test_models_of_the_policy_itself(
    custom: CustomModel, ages: tuple[int, ...], parts: tuple[int, ...]
) -> None:
    """A window's edge counts; without a touch in it nobody is credited."""
    policy = AttributionPolicy(custom_models={"mine": custom})
    past = Past([touch(age) for age in ages])
    path = build_path(past, TimelineConversion(NOW, "p", "purchase"), policy)
    assert division_of("mine", policy)(path, policy) == parts


def test_touch_rules_tell_which_kind_of_restatement_is_needed() -> None:
    """Rules that only judge leave them alone."""
    plain = AttributionPolicy().touch_rules
    assert AttributionPolicy(direct=DirectHandling.never, excluded_channels=("Email",)).touch_rules == plain
    assert AttributionPolicy(brand_words=("a",), brand=BrandHandling.exclude).touch_rules == plain
    for rules in (
        {"views": ViewHandling.always},
        {"brand_words": ("a",)},
        {"channel_rules": (PODCAST,)},
        {"ignored_referrers": ("a.example",)},
        {"session_gap_ms": 1},
    ):
        assert AttributionPolicy(**rules).touch_rules != plain  # type: ignore[arg-type]
