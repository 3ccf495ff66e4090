"""Worlds for the stream: hits around the rules' edges, and what must stand in the tables in the end."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import accumulate
from typing import Any

from hypothesis import strategies as st

from attribution.channel_rules import ArrivalField, ChannelRule, Comparison, Condition
from attribution.hit import Hit
from attribution.learnt.applied import with_learnt
from attribution.learnt.tables import EVERY_SITE, LEARNT_MODELS, ChannelEffect, LearntTable, SiteEffects
from attribution.models import MODELS
from attribution.oracle import World
from attribution.policy import (
    DAY_MS,
    MINUTE_MS,
    AttributionPolicy,
    BrandHandling,
    CustomKind,
    CustomModel,
    DirectHandling,
    SessionSwitch,
    SinceLast,
    ViewHandling,
)
from attribution.scenes import scene_names
from attribution.touchpoints import TouchKind
from sinks.memory import MemoryWriter

T0 = 1_760_000_000_000
URLS = (
    "https://shop.example/a",
    "https://shop.example/b?utm_source=newsletter&utm_medium=email&utm_campaign=may",
    "https://shop.example/c?gclid=abc",
    "https://shop.example/d?utm_source=linkedin&utm_medium=paid-social&utm_campaign=x",
    "https://shop.example/c?utm_source=google&utm_medium=cpc&utm_campaign=Shop_Brand&utm_term=lamps",
    "https://shop.example/podcast",
)
LAPTOP = "Mozilla/5.0 (X11; Linux) Firefox/130.0"
PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Mobile/15E148"
REFERRERS = ("", "", "https://www.google.com/", "https://news.example.org/story")


def learnt_table(model: str, **effects: int) -> LearntTable:
    """A frozen table; effects by channel, spaces as underscores."""
    channels = [
        ChannelEffect(name.replace("_", " "), effect, 0, 0, 0) for name, effect in sorted(effects.items())
    ]
    return LearntTable(
        model=model,
        from_ms=0,
        to_ms=1,
        types=("purchase",),
        seed=0,
        rounds=0,
        sites=(SiteEffects(EVERY_SITE, 100, 30, tuple(channels)),),
    )


TABLES = {
    table.version: table
    for table in (learnt_table(model, Paid_Search=70, Email=20, Direct=10) for model in LEARNT_MODELS)
}
"""By version. Worlds meet channels that they do not know, too."""
EVENTS = (
    "page_view",
    "page_view",
    "page_view",
    "purchase",
    "lead",
    "opportunity",
    "impression",
    "video_view",
)


def assert_books_balance(writer: MemoryWriter) -> None:
    """I2 after every insert, up to every instant of booking: per conversion and model amounts equal value and weights
    add up to one.

    Or to nothing, while a deal does not stand, and under a model that a restatement has taken out.
    """
    over = {
        row["conversion_id"]
        for row in writer.dicts("credits")
        if row["weight"][:1] == "-" and row["cause"] in (*OVER, "conversion", "refund", "amount")
    }
    amounts: dict[tuple[str, str], Counter[int]] = defaultdict(Counter)
    weights: dict[tuple[str, str], Counter[int]] = defaultdict(Counter)
    values: dict[tuple[str, str], Counter[int]] = defaultdict(Counter)
    restated: set[tuple[str, str]] = set()
    for row in writer.dicts("credits"):
        key, at = (row["conversion_id"], row["model"]), row["booked_at"]
        amounts[key][at] += cents(row["amount"])
        values[key][at] += cents(row["conversion_value"])
        weights[key][at] += int(row["weight"].replace(".", ""))
        if row["cause"] == "policy":
            restated.add(key)
    assert amounts == values
    for key, its in weights.items():
        instants = sorted(its)
        worth = [*accumulate(values[key][at] for at in instants)]
        standing = [*accumulate(its[at] for at in instants)]
        # While it does not stand it is worth nothing. So is what was reported at an instant that was corrected since.
        assert all(
            weight == 10**9 or weight == value == 0 for weight, value in zip(standing, worth, strict=True)
        )
        assert standing[-1] or key in restated or key[0] in over


OVER = ("lost", "reopened", "cancellation")
"""Causes by which conversions of these worlds stop standing."""


def cents(text: str) -> int:
    """Minor units of a two-decimal amount."""
    whole, _, rest = text.partition(".")
    return int(whole + rest.ljust(2, "0"))


def net(rows: list[dict[str, Any]], key: str) -> dict[str, Counter[Any]]:
    """Signed rows summed: id → the facts that stand."""
    standing: dict[str, Counter[Any]] = defaultdict(Counter)
    for row in rows:
        facts = {n: tuple(v) if isinstance(v, list) else v for n, v in row.items() if n not in IGNORED}
        standing[row[key]][tuple(sorted(facts.items()))] += row["sign"]
    return {
        i: Counter({f: n for f, n in facts.items() if n})
        for i, facts in standing.items()
        if any(facts.values())
    }


IGNORED = {"sign", "src_broker", "src_partition", "src_offset", "cause", "recorded_at"}


def assert_equals_oracle(writer: MemoryWriter, world: World) -> None:
    """What stands in the tables is what one pass over all hits says."""
    stored = Counter((r["site"], r["visitor_id"], r["event_id"]) for r in writer.dicts("hits"))
    assert Counter(world.hits.keys()) == stored

    sessions = net(writer.dicts("sessions"), "session_id")
    expected = {s.session_id: s for s in world.sessions}
    assert expected.keys() == sessions.keys()
    for session_id, facts in sessions.items():
        ((row, count),) = facts.items()
        found, want = dict(row), expected[session_id]
        assert count == 1
        assert (want.started_at, want.ended_at, want.hits, want.page_views, want.landing_page) == (
            found["started_at"],
            found["ended_at"],
            found["hits"],
            found["page_views"],
            found["landing_page"],
        )
        assert (want.acquisition.channel, want.acquisition.source, want.hours, want.hour_hits) == (
            found["channel"],
            found["source"],
            found["hours"],
            found["hour_hits"],
        )
        assert scene_names(want.scene) == (found["device"], found["country"])

    touchpoints = net(writer.dicts("touchpoints"), "touchpoint_id")
    assert {t.touchpoint_id for t in world.touchpoints} == touchpoints.keys()
    assert all(list(facts.values()) == [1] for facts in touchpoints.values())
    scenes = {touch.touchpoint_id: scene_names(touch.scene) for touch in world.touchpoints}
    for touchpoint_id, facts in touchpoints.items():
        ((row, _),) = facts.items()
        assert scenes[touchpoint_id] == (dict(row)["device"], dict(row)["country"])

    conversions = net(writer.dicts("conversions"), "conversion_id")
    assert world.conversions.keys() == conversions.keys()
    for conversion_id, facts in conversions.items():
        ((row, count),) = facts.items()
        want_fact = world.conversions[conversion_id]
        assert (1, want_fact.event_id, want_fact.visitor_id) == (
            count,
            dict(row)["event_id"],
            dict(row)["visitor_id"],
        )
        assert want_fact.net_minor == cents(dict(row)["value"])

    assert_paths_equal_oracle(writer, world)

    weights: Counter[Any] = Counter()
    amounts: Counter[Any] = Counter()
    for row in writer.dicts("credits"):
        key = (row["conversion_id"], row["model"], row["touchpoint_id"])
        weights[key] += int(row["weight"].replace(".", ""))
        amounts[key] += cents(row["amount"])
    standing = {k: (weights[k], amounts[k]) for k in weights if weights[k] or amounts[k]}
    assert {k: v for k, v in world.credits.items() if any(v)} == standing
    assert_booked_equals_oracle(writer, world)

    recorded: dict[str, int] = {}
    for row in writer.dicts("credits"):
        # As of any instant the ledger of a conversion is a beginning of it, so its books balance then too.
        assert recorded.get(row["conversion_id"], 0) <= row["recorded_at"]
        recorded[row["conversion_id"]] = row["recorded_at"]

    reasons: Counter[Any] = Counter()
    for row in writer.dicts("credits"):
        if not row["touchpoint_id"]:
            reasons[row["conversion_id"], row["model"], row["source"]] += int(row["weight"].replace(".", ""))
    assert {(*key, missing.source) for key, missing in world.missing.items()} == {
        k for k in reasons if reasons[k]
    }


def assert_booked_equals_oracle(writer: MemoryWriter, world: World) -> None:
    """Up to every instant at which something was booked the ledger adds up to what was credited then."""
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in writer.dicts("credits"):
        rows[row["conversion_id"]].append(row)
    assert {conversion_id for conversion_id, _ in world.booked} >= world.conversions.keys()
    for (conversion_id, at), due in world.booked.items():
        found: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
        for row in rows[conversion_id]:
            if row["booked_at"] <= at:
                total = found[row["model"], row["touchpoint_id"]]
                total[0] += int(row["weight"].replace(".", ""))
                total[1] += cents(row["amount"])
        stands = {key: (weight, amount) for key, (weight, amount) in found.items() if weight or amount}
        assert {key: amounts for key, amounts in due.items() if any(amounts)} == stands


def assert_paths_equal_oracle(writer: MemoryWriter, world: World) -> None:
    """Each conversion has one path that stands: the touchpoints that count, whatever the models say of them."""
    paths = net(writer.dicts("paths"), "conversion_id")
    assert world.conversions.keys() == paths.keys()
    for conversion_id, facts in paths.items():
        ((row, count),) = facts.items()
        fact, touches, found = world.conversions[conversion_id], world.paths[conversion_id], dict(row)
        at = fact.occurred_at
        assert (1, fact.site, fact.type, at, fact.currency, fact.net_minor) == (
            *(count, found["site"], found["conversion_type"], found["converted_at"], found["currency"]),
            cents(found["value"]),
        )
        assert tuple(touch.acquisition.channel for touch in touches) == found["channels"]
        ends = [touch.touched_at for touch in (*touches[:1], *touches[-1:])] or [at, at]
        assert ends == [found["first_touch_at"], found["last_touch_at"]]
    # As of any instant as well no path is taken back that was not there.
    changes: dict[str, Counter[int]] = defaultdict(Counter)
    for row in writer.dicts("paths"):
        changes[row["conversion_id"]][row["recorded_at"]] += row["sign"]
    for change in changes.values():
        assert all(stands in (0, 1) for stands in accumulate(change[at] for at in sorted(change)))


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[Hit], AttributionPolicy]:
    """Hits of a few visitors around the rules' edges, in order of time."""
    gap = 30 * MINUTE_MS
    step = st.sampled_from(
        [0, 1, 60_000, gap - 1, gap, gap + 1, 3 * gap, DAY_MS - 1, DAY_MS + 1, 31 * DAY_MS]
    )
    hits: list[Hit] = []
    for visitor in range(draw(st.integers(1, 3))):
        at = T0 + draw(st.integers(0, 3)) * 3_000_000
        for number in range(draw(st.integers(1, 8))):
            at += draw(step)
            event = draw(st.sampled_from(EVENTS))
            has_page = event != "purchase" or draw(st.booleans())
            hits.append(
                Hit(
                    event_id=f"e{number}",
                    site="s",
                    visitor_id=f"v{visitor}",
                    occurred_at=at,
                    received_at=at + 5,
                    event=event,
                    url=draw(st.sampled_from(URLS)) if has_page else "",
                    referrer=draw(st.sampled_from(REFERRERS)) if has_page else "",
                    value=draw(st.sampled_from([None, "10.00", "0.01", "99.99"]))
                    if event == "purchase"
                    else None,
                    currency="USD" if event == "purchase" else "",
                    gpc=event == "purchase" and draw(st.integers(0, 3)) == 3,
                    order_id=draw(st.sampled_from(["", "", "o1", "o2"])) if event == "purchase" else "",
                    user_agent=draw(st.sampled_from([LAPTOP, "Googlebot/2.1", PHONE]))
                    if draw(st.integers(0, 3)) == 0
                    else LAPTOP,
                    country=draw(st.sampled_from(["DE", "DE", "FR", ""])),
                )
            )
    policy = AttributionPolicy(
        session_switch=draw(st.sampled_from(list(SessionSwitch))),
        models=(*MODELS, *CUSTOM),
        custom_models=CUSTOM,
        **draw(rules(st.sampled_from([0, 1, gap, DAY_MS, 31 * DAY_MS, 90 * DAY_MS]))),
    )
    return hits, with_learnt(policy, {table.model: table.version for table in TABLES.values()})


CUSTOM = {
    "my_u": CustomModel(kind=CustomKind.weights, first=5, middle=2, last=3),
    "my_three": CustomModel(kind=CustomKind.positions, positions=(3, 2, 1), from_end=True),
    "my_week": CustomModel(kind=CustomKind.time_decay, half_life_ms=DAY_MS, window_ms=7 * DAY_MS),
    "my_day": CustomModel(kind=CustomKind.model, model="last_touch", window_ms=DAY_MS),
}
CHANNELS = ("Direct", "Email", "Referral", "Organic Search", "Podcast")


@st.composite
def rules(draw: st.DrawFn, spans: st.SearchStrategy[int]) -> dict[str, Any]:
    """Rules of a policy beside sessions, conversions and models; mostly a few of them, sometimes none."""
    drawn: dict[str, st.SearchStrategy[Any]] = {
        "kind_lookbacks_ms": st.dictionaries(
            st.sampled_from(["purchase", "lead", "opportunity"]),
            st.dictionaries(st.sampled_from(list(TouchKind)), spans, min_size=1),
        ),
        "views": st.sampled_from(list(ViewHandling)),
        "view_events": st.sampled_from(
            [("impression", "video_view"), ("impression",), ("video_view", "lead")]
        ),
        "view_lookback_ms": spans,
        "direct": st.sampled_from(list(DirectHandling)),
        "excluded_channels": st.lists(st.sampled_from(CHANNELS), max_size=2).map(tuple),
        "since_last_conversion": st.sampled_from(list(SinceLast)),
        "channel_rules": st.sampled_from([(PODCAST,), (PODCAST, NEWS), (NEWS,)]),
        "paid_channels": st.sampled_from([(), ("Podcast",)]),
        "ignored_referrers": st.sampled_from([(), ("example.org",), ("news.example.org", "google.com")]),
        "brand_words": st.sampled_from([("shop",), ("lamps", "shop brand")]),
        "brand": st.sampled_from(list(BrandHandling)),
        "lead_events": st.sampled_from([("lead", "sign_up"), ("lead", "purchase"), ()]),
        "opportunity_events": st.sampled_from([("opportunity",), ("lead", "opportunity")]),
    }
    names = draw(st.lists(st.sampled_from(sorted(drawn)), unique=True, max_size=len(drawn)))
    return {name: draw(drawn[name]) for name in names}


PODCAST = ChannelRule("Podcast", (Condition(ArrivalField.landing_page, Comparison.is_, ("/podcast",)),))
NEWS = ChannelRule(
    "Email",
    (
        Condition(ArrivalField.referrer_host, Comparison.ends_with, ("example.org",)),
        Condition(ArrivalField.landing_page, Comparison.matches, ("^/[ab]$",)),
    ),
)
