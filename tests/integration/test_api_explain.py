"""Explanations against a real engine: what counted, what did not and why, and every correction."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from api_store import Store
from clickhouse_connect.driver.client import Client
from sinks_rows import DAY, HOUR, NOON

from api.explain import Explanation, Share
from attribution.conversions import conversion_id_of
from attribution.errors import Rejected
from attribution.hit import Hit
from attribution.persons import IdentityRules
from attribution.policy import AttributionPolicy, SinceLast

POLICY = AttributionPolicy(conversion_lookbacks_ms={"purchase": 10 * DAY, "lead": DAY})


@pytest.fixture
def store(clean: tuple[Client, str]) -> Store:
    return Store(*clean, POLICY)


def order(**given: Any) -> dict[str, Any]:
    base = {
        "conversion_id": "c1",
        "visitor_id": "v",
        "type": "purchase",
        "order_id": "o/1 ä",
        "value": "10",
        "currency": "USD",
    }
    return {**base, **given}


def touch(name: str, at: int, **given: Any) -> dict[str, Any]:
    return {"touchpoint_id": name, "visitor_id": "v", "touched_at": at, "channel": name, **given}


def credit(name: str, amount: str, weight: str, value: str = "0", **given: Any) -> dict[str, Any]:
    base = {
        "conversion_id": "c1",
        "model": "linear",
        "touchpoint_id": name,
        "channel": name or "(unattributed)",
    }
    money = {
        "amount": amount,
        "weight": weight,
        "conversion_value": value,
        "currency": "USD",
        "cause": "conversion",
    }
    return {**base, **money, **given}


def judged(explanation: Explanation) -> dict[str, tuple[str, str]]:
    return {one.touchpoint_id: (one.decision, one.reason) for one in explanation.touchpoints}


def test_each_touchpoint_is_in_or_out_with_its_reason(store: Store) -> None:
    """On both edges of the window, one millisecond beyond each, of another visitor, and taken back."""
    store.put("conversions", order(converted_at=NOON))
    store.put(
        "touchpoints",
        touch("at the conversion", NOON),
        touch("just after", NOON + 1),
        touch("oldest that counts", NOON - 10 * DAY),
        touch("too old", NOON - 10 * DAY - 1),
        touch("taken back", NOON - HOUR),
        touch("taken back", NOON - HOUR, sign=-1),
        touch("somebody else's", NOON - HOUR, visitor_id="w"),
        touch("another site's", NOON - HOUR, site="other"),
    )
    explanation = store.explain("c1")
    assert judged(explanation) == {
        "too old": ("out", "before_window"),
        "oldest that counts": ("in", "in_window"),
        "at the conversion": ("in", "in_window"),
        "just after": ("out", "after_conversion"),
    }
    # In time order.
    assert list(judged(explanation)) == ["too old", "oldest that counts", "at the conversion", "just after"]
    assert explanation.touchpoints[2].touched_at == "2026-10-02T12:00:00.000Z"


def test_credit_is_net_and_every_correction_is_listed(store: Store) -> None:
    """A late touchpoint took half: the sum stands, and the ledger tells how it came to that."""
    store.put("conversions", order(recorded_at=NOON))
    store.put("touchpoints", touch("a", NOON - 2 * HOUR), touch("b", NOON - HOUR))
    store.put(
        "credits",
        credit("a", "10", "1", "10", recorded_at=NOON),
        credit("a", "10", "1", "10", model="last_touch"),
    )
    late = {"cause": "late_touch", "recorded_at": NOON + HOUR}
    store.put("credits", credit("a", "-5", "-0.5", **late), credit("b", "5", "0.5", **late))
    explanation = store.explain("c1")
    half = Share(Decimal("0.5"), "5.00")
    assert [one.credits for one in explanation.touchpoints] == [
        {"linear": half, "last_touch": Share(Decimal(1), "10.00")},
        {"linear": half},
    ]
    assert explanation.balanced == {"linear": True, "last_touch": True}
    assert explanation.unattributed == {}
    assert [(one.recorded_at, one.cause, len(one.entries)) for one in explanation.corrections] == [
        ("2026-10-02T12:00:00.000Z", "conversion", 2),
        ("2026-10-02T13:00:00.000Z", "late_touch", 2),
    ]
    assert [(one.touchpoint_id, one.amount) for one in explanation.corrections[1].entries] == [
        ("a", "-5.00"),
        ("b", "5.00"),
    ]


def test_revenue_without_touchpoint_is_shown_as_unattributed(store: Store) -> None:
    store.put("conversions", order())
    store.put("credits", credit("", "10", "1", "10"))
    explanation = store.explain("c1")
    assert explanation.unattributed == {"linear": Share(Decimal(1), "10.00")}
    assert explanation.touchpoints == []
    assert explanation.balanced == {"linear": True}


@pytest.mark.parametrize(
    "entries",
    [
        [credit("a", "9.99", "1", "10")],
        [credit("a", "10", "0.9", "10")],
        [credit("a", "9", "1", "9")],
        [credit("a", "10", "1", "10"), credit("a", "1", "0", "1", currency="EUR")],
        [credit("a", "10", "1", "10", currency="EUR")],
    ],
    ids=["a cent", "weight", "another value", "another currency besides", "another currency"],
)
def test_books_that_do_not_balance_are_not_called_balanced(
    store: Store, entries: list[dict[str, Any]]
) -> None:
    store.put("conversions", order())
    store.put("credits", *entries)
    assert store.explain("c1").balanced == {"linear": False}


def test_a_corrected_conversion_shows_the_facts_that_stand(store: Store) -> None:
    store.put("conversions", order(recorded_at=NOON))
    change = {"recorded_at": NOON + HOUR, "cause": "earlier_fact"}
    store.put(
        "conversions", order(sign=-1, **change), order(value="12.5", currency="EUR", visitor_id="w", **change)
    )
    facts = store.explain("c1").conversion
    assert (facts.value, facts.currency, facts.visitor_id, facts.status) == ("12.50", "EUR", "w", "stands")


def test_a_withdrawn_conversion_says_so_and_balances_at_zero(store: Store) -> None:
    store.put("conversions", order(recorded_at=NOON))
    store.put("conversions", order(sign=-1, recorded_at=NOON + HOUR))
    store.put("credits", credit("a", "10", "1", "10"))
    store.put("credits", credit("a", "-10", "-1", "-10", recorded_at=NOON + HOUR))
    explanation = store.explain("c1")
    assert explanation.conversion.status == "withdrawn"
    assert explanation.conversion.value == "10.00"
    assert explanation.balanced == {"linear": True}


def test_credit_of_a_touchpoint_that_is_gone_is_not_hidden(store: Store) -> None:
    """Between the withdrawal of a touchpoint and the correction of its credit."""
    store.put("conversions", order())
    store.put("credits", credit("gone", "10", "1", "10", touched_at=NOON - HOUR))
    explanation = store.explain("c1")
    assert judged(explanation) == {"gone": ("out", "withdrawn")}
    assert explanation.touchpoints[0].credits == {"linear": Share(Decimal(1), "10.00")}


def test_a_type_without_window_counts_nothing(store: Store) -> None:
    store.put("conversions", order(type="download"))
    store.put("touchpoints", touch("a", NOON))
    explanation = store.explain("c1")
    assert judged(explanation) == {"a": ("out", "no_window")}
    assert explanation.conversion.lookback_days is None


def test_an_order_id_finds_the_conversion_too(store: Store) -> None:
    store.put("conversions", order())
    assert store.explain("o/1 ä").conversion.conversion_id == "c1"


def test_an_id_goes_before_an_order_id(store: Store) -> None:
    store.put("conversions", order(), order(conversion_id="c2", order_id="c1"))
    assert store.explain("c1").conversion.order_id == "o/1 ä"


def test_an_order_id_of_several_conversions_names_them(store: Store) -> None:
    store.put("conversions", order(), order(conversion_id="c2", site="other"))
    with pytest.raises(Rejected, match="c1, c2") as caught:
        store.explain("o/1 ä")
    assert caught.value.reason == "ambiguous"


@pytest.mark.parametrize("reference", ["nothing", "", "' OR 1=1 --", "c1'", "%", "C1", "{reference:String}"])
def test_an_unknown_reference_is_not_found(store: Store, reference: str) -> None:
    """Conversions without order id are not found by the empty one."""
    store.put("conversions", order(order_id=""))
    with pytest.raises(Rejected) as caught:
        store.explain(reference)
    assert caught.value.reason == "not_found"


def test_touchpoints_are_judged_by_the_policy_that_credited(store: Store) -> None:
    """Not by that of today: a week was the window when it was credited, ten days are now."""
    then = AttributionPolicy(conversion_lookbacks_ms={"purchase": 7 * DAY})
    stored = msgspec.json.encode(then).decode()
    store.put("policies", {"version": then.version, "policy": stored, "recorded_at": NOON})
    store.put("conversions", order(converted_at=NOON))
    store.put("touchpoints", touch("a", NOON - 8 * DAY))
    store.put("credits", credit("", "10", "1", "10", policy_version=then.version))
    explanation = store.explain("c1")
    assert judged(explanation) == {"a": ("out", "before_window")}
    assert (explanation.conversion.policy_version, explanation.conversion.lookback_days) == (then.version, 7)


def test_a_previous_order_is_what_the_persons_own_hits_reported(clean: tuple[Client, str]) -> None:
    """As in the stream: not where the report of somebody else won, and no event that was no conversion when heard."""
    policy = msgspec.structs.replace(POLICY, since_last_conversion=SinceLast.any_type)
    store = Store(*clean, policy)
    mine = Hit(
        event_id="e2",
        site="s",
        visitor_id="v",
        occurred_at=NOON - 2 * HOUR,
        received_at=NOON,
        event="purchase",
        order_id="o2",
    )
    store.put(
        "hits",
        *(
            {"site": "s", "visitor_id": "v", "received_at": NOON, **hit}
            for hit in (
                {"event_id": "e2", "event": "purchase", "order_id": "o2", "occurred_at": NOON - 2 * HOUR},
                {"event_id": "e1", "event": "lead", "order_id": "", "occurred_at": NOON - HOUR // 4},
                {"event_id": "e0", "event": "purchase", "order_id": "o2", "occurred_at": NOON - HOUR // 8},
            )
        ),
    )
    store.put(
        "conversions",
        order(site="s", converted_at=NOON),
        order(
            site="s",
            conversion_id=conversion_id_of(mine),
            visitor_id="shop",
            order_id="o2",
            converted_at=NOON - 5 * HOUR,
        ),
    )
    store.put(
        "touchpoints", touch("before", NOON - 3 * HOUR, site="s"), touch("since", NOON - HOUR, site="s")
    )
    assert judged(store.explain("c1")) == {
        "before": ("out", "before_last_conversion"),
        "since": ("in", "in_window"),
    }


def test_the_touchpoints_of_all_visitors_of_the_person_are_judged_with_the_evidence(store: Store) -> None:
    """Phone and laptop by one user id, the laptop and a tablet by an address; a withdrawn link joins nobody."""

    def link(visitor_id: str, id_: str, sign: int = 1, **given: Any) -> dict[str, Any]:
        return {"visitor_id": visitor_id, "id": id_, "sign": sign, "event_id": f"{visitor_id} says", **given}

    store.put("conversions", order(converted_at=NOON))
    store.put(
        "identity_links",
        *(
            link("v", "user:42"),
            link("laptop", "user:42"),
            link("laptop", "email:aa"),
            link("tablet", "email:aa"),
        ),
        *(link("gone", "user:42"), link("gone", "user:42", -1, said_at=NOON + 1, event_id="withdrawn")),
        *(
            link("elsewhere", "user:42", site="other"),
            link("colleague", "account:acme"),
            link("v", "account:acme"),
        ),
    )
    store.put(
        "touchpoints",
        *(
            touch(name, NOON - HOUR, visitor_id=name)
            for name in ("v", "laptop", "tablet", "gone", "colleague")
        ),
        touch("elsewhere", NOON - HOUR, visitor_id="elsewhere", site="other"),
    )
    explanation = store.explain("c1")
    assert explanation.person.visitor_ids == ["laptop", "tablet", "v"]
    assert {touch.visitor_id for touch in explanation.touchpoints} == {"laptop", "tablet", "v"}
    evidence = {
        (link.visitor_id, link.id): link.event_id for link in explanation.person.links if link.is_held
    }
    assert evidence == {
        ("v", "user:42"): "v says",
        ("v", "account:acme"): "v says",
        ("laptop", "user:42"): "laptop says",
        ("laptop", "email:aa"): "laptop says",
        ("tablet", "email:aa"): "tablet says",
    }


def test_in_the_account_view_the_touchpoints_of_colleagues_are_judged_and_shown(
    store: Store, clean: tuple[Client, str]
) -> None:
    """One step: not those of the colleague's other company, nor of somebody who left."""

    def link(visitor_id: str, id_: str, sign: int = 1, **given: Any) -> dict[str, Any]:
        return {"visitor_id": visitor_id, "id": id_, "sign": sign, "event_id": f"{visitor_id} says", **given}

    store.put("conversions", order(converted_at=NOON))
    store.put(
        "identity_links",
        *(link("v", "user:42"), link("laptop", "user:42"), link("laptop", "account:acme")),
        *(link("bob", "account:acme"), link("bob", "user:b"), link("bob-home", "user:b")),
        *(link("bob-home", "account:club"), link("club-mate", "account:club")),
        *(link("left", "account:acme"), link("left", "account:acme", -1, said_at=NOON + 1)),
    )
    store.put(
        "touchpoints",
        *(
            touch(name, NOON - HOUR, visitor_id=name)
            for name in ("v", "laptop", "bob", "bob-home", "club-mate", "left")
        ),
    )
    for is_on, colleagues in ((True, ["bob", "bob-home"]), (False, [])):
        policy = AttributionPolicy(identity=IdentityRules(account_view=is_on))
        explanation = Store(*clean, policy).explain("c1")
        assert explanation.person.visitor_ids == ["laptop", "v"]
        assert explanation.person.colleague_ids == colleagues
        judged_of = {touch.visitor_id for touch in explanation.touchpoints}
        assert judged_of == {"laptop", "v", *colleagues}
        says = {link.visitor_id for link in explanation.person.links if link.id == "account:acme"}
        assert says == ({"laptop", "bob"} if is_on else {"laptop"})


def test_each_correction_says_what_it_moved_per_channel(store: Store) -> None:
    store.put("conversions", order())
    store.put("credits", credit("a", "10", "1", "10", recorded_at=NOON))
    late = {"cause": "late_touch", "recorded_at": NOON + HOUR}
    store.put("credits", credit("a", "-6", "-0.6", **late), credit("b", "6", "0.6", **late))
    merge = {"cause": "merge", "recorded_at": NOON + 2 * HOUR}
    store.put("credits", credit("b", "-1", "-0.1", **merge), credit("a", "1", "0.1", **merge))
    moved = [
        {(move.channel, move.before, move.after, move.weight_after) for move in correction.moves}
        for correction in store.explain("c1").corrections
    ]
    assert moved == [
        {("a", "0.00", "10.00", 1)},
        {("a", "10.00", "4.00", Decimal("0.4")), ("b", "0.00", "6.00", Decimal("0.6"))},
        {("b", "6.00", "5.00", Decimal("0.5")), ("a", "4.00", "5.00", Decimal("0.5"))},
    ]


def test_bookings_are_told_with_their_dates_and_causes(store: Store) -> None:
    """Won, refunded in part, and a late touch that moved both: its entries book nothing."""
    store.put("conversions", order(value="6", recorded_at=NOON + DAY))
    refunded = {"booked_at": NOON + DAY, "recorded_at": NOON + DAY, "cause": "refund"}
    late = {"recorded_at": NOON + 2 * DAY, "cause": "late_touch"}
    store.put("credits", credit("a", "10", "1", "10"), credit("a", "-4", "0", "-4", **refunded))
    store.put("credits", credit("a", "-10", "-1", "0", **late), credit("b", "10", "1", "0", **late))
    store.put(
        "credits",
        credit("a", "4", "0", "0", **(late | {"booked_at": NOON + DAY})),
        credit("b", "-4", "0", "0", **(late | {"booked_at": NOON + DAY})),
    )
    found = store.explain("c1")
    told = [(one.booked_at[:10], one.cause, one.value, one.value_after) for one in found.bookings]
    assert told == [("2026-10-02", "conversion", "10.00", "10.00"), ("2026-10-03", "refund", "-4.00", "6.00")]
    assert [str(one.conversions) for one in found.bookings] == ["1", "0"]
    assert found.balanced == {"linear": True}
    assert {entry.booked_at[:10] for one in found.corrections for entry in one.entries} == {
        "2026-10-02",
        "2026-10-03",
    }


def test_books_that_balance_in_the_end_only_are_not_called_balanced(store: Store) -> None:
    """An entry at the wrong instant."""
    store.put("conversions", order(value="6"))
    store.put(
        "credits",
        credit("a", "10", "1", "10"),
        credit("a", "-4", "0", "0", booked_at=NOON + DAY),
        credit("a", "0", "0", "-4", booked_at=NOON + 2 * DAY),
    )
    assert store.explain("c1").balanced == {"linear": False}


def test_a_deal_without_visitor_shows_the_people_whom_its_sender_names(store: Store) -> None:
    """They never told of it themselves."""
    store.put("conversions", order(visitor_id="", ids=["crm:1"]))
    link = {"site": "site1", "visitor_id": "laptop", "id": "crm:1", "event_id": "e9"}
    store.put("identity_links", link)
    store.put(
        "touchpoints", touch("a", NOON - HOUR, visitor_id="laptop"), touch("b", NOON, visitor_id="else")
    )
    found = store.explain("c1")
    assert found.person.visitor_ids == ["laptop"]
    assert judged(found) == {"a": ("in", "in_window")}
