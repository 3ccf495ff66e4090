"""The funnel against the real engine: a world worked out by hand, and random worlds recounted."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from api_sales import sell
from api_store import Store, session
from clickhouse_connect.driver.client import Client
from funnel_recount import CREDITED, FUNNEL, RULES, FunnelWorld
from sinks_rows import DAY, HOUR, NOON

import api.funnel_reading
import api.people
from api.funnel import FunnelAnswer, StageLine
from attribution.booked import cause_of_bookings
from attribution.conversions import BookedValue, Conversion, ConversionFact
from attribution.errors import Rejected
from attribution.ledger import credit
from attribution.paths import Path
from attribution.persons import IdentityRules
from attribution.policy import DAY_MS, AttributionPolicy
from streams.recredit import Correction, CreditState
from streams.told import told as told_of

OCTOBER = {"from": "2026-10-02", "to": "2026-10-31"}
MINUTE = 60_000
THIRD, TWO_THIRDS = Decimal("0.333333"), Decimal("0.666667")


def hit(visitor_id: str, event: str, at: int, **given: Any) -> dict[str, Any]:
    return {"visitor_id": visitor_id, "event": event, "occurred_at": at, "in_session": 1, **given}


def told(type_: str, at: int, *ids: str, **given: Any) -> dict[str, Any]:
    facts = {
        "type": type_,
        "converted_at": at,
        "ids": list(ids),
        "conversion_id": f"{type_} {at}",
        "value": "0",
    }
    return {**facts, "cause": "conversion", **given}


def fill(store: Store) -> None:
    """Ann clicks an ad on her phone, signs up on her laptop and is won by sales. Bob visits, reports a lead and is
    lost. Cat is known to the CRM alone. Eve buys in the shop. Dan bought long after he first came, before October. And
    deals that name nobody are won.
    """
    paid, direct = {"channel": "Paid Search"}, {"channel": "Direct"}
    store.put(
        "sessions",
        session("1", visitor_id="phone", **paid),
        session(
            "2", visitor_id="laptop", started_at=NOON + 2 * DAY, ended_at=NOON + 2 * DAY, channel="Email"
        ),
        session("3", visitor_id="bob", started_at=NOON + DAY, ended_at=NOON + DAY, **direct),
        session("4", visitor_id="eve", started_at=NOON + 2 * DAY, ended_at=NOON + 2 * DAY, **paid),
        session("5", visitor_id="dan", started_at=NOON - 40 * DAY, ended_at=NOON - 40 * DAY, **paid),
    )
    store.put(
        "hits",
        hit("phone", "page_view", NOON),
        hit("phone", "page_view", NOON + HOUR),
        hit("laptop", "page_view", NOON + 2 * DAY),
        hit("laptop", "sign_up", NOON + 2 * DAY + HOUR),
        hit("bob", "page_view", NOON + DAY),
        hit("bob", "lead", NOON + DAY + 30 * MINUTE, order_id="L1"),
        hit("eve", "page_view", NOON + 2 * DAY),
        hit("eve", "add_to_cart", NOON + 2 * DAY + 10 * MINUTE),
        hit("eve", "add_to_cart", NOON + 2 * DAY + 15 * MINUTE),
        # The page and the shop's server, which knows no visitor of ours, report one order.
        hit("eve", "purchase", NOON + 2 * DAY + 20 * MINUTE, order_id="O1"),
        hit("user:9", "purchase", NOON + 2 * DAY + 21 * MINUTE, order_id="O1"),
        # A server's hit comes from nowhere.
        hit("dan", "purchase", NOON - 41 * DAY, channel="Unassigned", source="(not set)", in_session=0),
        hit("dan", "page_view", NOON - 40 * DAY),
        hit("dan", "purchase", NOON + DAY),
    )
    store.put(
        "identity_links",
        {"site": "site1", "visitor_id": "phone", "id": "email:ann"},
        {"site": "site1", "visitor_id": "laptop", "id": "email:ann"},
        {"site": "site1", "visitor_id": "bob", "id": "crm:2"},
    )
    opportunity = told("opportunity", NOON + 9 * DAY, "crm:2")
    store.put(
        "conversions",
        told("sign_up", NOON + 2 * DAY + HOUR, visitor_id="laptop"),
        told("lead", NOON + 3 * DAY, "email:ann", "crm:1"),
        told("sql", NOON + 5 * DAY, "email:ann", "crm:1"),
        told("opportunity", NOON + 8 * DAY, "email:ann", "crm:1"),
        told("deal_won", NOON + 18 * DAY, "email:ann", "crm:1"),
        told("lead", NOON + DAY + 30 * MINUTE, visitor_id="bob", order_id="L1"),
        opportunity,
        {**opportunity, "sign": -1, "cause": "lost", "recorded_at": NOON + 20 * DAY},
        told("lead", NOON + DAY, "email:cat", "crm:7"),
        told("deal_won", NOON + 4 * DAY, "crm:7"),
        told("purchase", NOON + 2 * DAY + 20 * MINUTE, visitor_id="eve", order_id="O1"),
        told("deal_won", NOON + 6 * DAY),
        told("deal_won", NOON + 7 * DAY, "account:acme"),
    )
    spent = {"currency": "USD", "cause": "report", "level": "campaign"}
    store.put(
        "spend",
        {**spent, "channel": "Paid Search", "amount": "300"},
        {**spent, "channel": "Display", "amount": "50"},
        {**spent, "channel": "Paid Search", "amount": "1000", "day": "2026-11-01"},
    )


def lines(stages: list[StageLine]) -> dict[str, tuple[Any, ...]]:
    """By stage: persons, of the first, of the previous, skipped, lost, median since previous, since first, cost."""
    return {
        one.stage: (
            *(one.persons, one.share_of_first, one.share_of_previous, one.skipped_previous, one.lost),
            *(one.median_seconds, one.median_seconds_from_first, one.cost_per_person),
        )
        for one in stages
    }


def test_a_world_by_hand_over_two_devices_and_a_crm(clean: tuple[Client, str]) -> None:
    store = Store(*clean)
    fill(store)
    answer = store.funnel(**OCTOBER, by="channel")
    assert (answer.totals.persons, answer.totals.spend) == (
        4,
        "350.00",
    )  # Ann, Bob, Cat, Eve; not November's 1000
    day = DAY // 1000
    # Ann's way: visit noon, sign-up 2 d 1 h, lead 3 d, qualified 5 d, opportunity 8 d, won 18 d.
    assert lines(answer.stages) == {
        "visit": (3, 1, None, 0, 0, None, None, "116.67"),
        "add_to_cart": (1, THIRD, THIRD, 0, 0, 600, 600, "350.00"),
        "sign_up": (1, THIRD, 0, 1, 0, None, 2 * day + 3600, "350.00"),
        # Ann after 3 d, Bob after half an hour: 130,500 s between. Cat never visited.
        "lead": (3, TWO_THIRDS, 1, 2, 0, 23 * 3600, 130_500, "116.67"),
        "mql": (0, 0, 0, 0, 0, None, None, None),
        "qualified_lead": (1, THIRD, None, 1, 0, None, 5 * day, "350.00"),
        "opportunity": (2, TWO_THIRDS, 1, 1, 1, 3 * day, 8 * day, "175.00"),
        # Ann after 18 d and Eve after 20 min; Cat came to it from nowhere.
        "customer": (3, TWO_THIRDS, Decimal("0.5"), 2, 0, 10 * day, 778_200, "116.67"),
    }
    assert [(one.stage, one.conversions) for one in answer.meta.without_person] == [("customer", 2)]
    by_channel = {one.channel: one for one in answer.channels}
    assert {name: (one.persons, one.spend) for name, one in by_channel.items()} == {
        "Paid Search": (2, "300.00"),
        "Direct": (1, "0.00"),
        "(unattributed)": (1, "0.00"),
        "Display": (0, "50.00"),
    }
    assert answer.channels[0].channel == "Paid Search"
    assert lines(by_channel["Paid Search"].stages)["customer"] == (2, 1, 1, 1, 0, 10 * day, 778_200, "150.00")
    assert lines(by_channel["(unattributed)"].stages)["customer"] == (1, None, None, 1, 0, None, None, "0.00")
    assert lines(by_channel["Display"].stages)["visit"][-1] is None
    for place, stage in enumerate(answer.stages):
        assert stage.persons == sum(one.stages[place].persons for one in answer.channels)
    assert sum(Decimal(one.spend) for one in answer.channels) == Decimal(answer.totals.spend)
    assert (answer.meta.currency, answer.meta.order) == ("USD", "any")


def test_stages_in_strict_order_one_channel_and_another_time(clean: tuple[Client, str]) -> None:
    store = Store(*clean)
    fill(store)
    strict = store.funnel(**OCTOBER, order="strict")
    assert [one.persons for one in strict.stages] == [3, 1, 0, 0, 0, 0, 0, 0]
    assert strict.totals.persons == 4
    only = store.funnel(**OCTOBER, channel=["Direct"])
    assert [one.persons for one in only.stages] == [1, 0, 0, 1, 0, 0, 1, 0]
    assert (only.totals.persons, only.totals.spend, only.channels) == (1, "0.00", [])
    everything = store.funnel(by="channel")
    assert everything.totals.persons == 5  # Dan, too: his first session came after he had bought
    assert [one.persons for one in everything.channels if one.channel == "(unattributed)"] == [2]
    assert everything.totals.spend == "1350.00"
    assert store.funnel(site=["other"], by="channel").stages[0].persons == 0
    assert store.funnel(**OCTOBER, currency="EUR", convert=False).totals.spend == "0.00"


def test_who_is_one_person_is_a_matter_of_now(clean: tuple[Client, str]) -> None:
    store = Store(*clean)
    fill(store)
    store.put("identity_links", {"site": "site1", "visitor_id": "laptop", "id": "email:ann", "sign": -1})
    apart = store.funnel(**OCTOBER, by="channel")
    assert apart.totals.persons == 5
    assert [one.persons for one in apart.stages] == [4, 1, 1, 3, 0, 1, 2, 3]
    assert {one.channel for one in apart.channels} >= {"Email"}
    # A contact who turns out to be Eve: the CRM's lead and deal are hers.
    store.put("identity_links", {"site": "site1", "visitor_id": "eve", "id": "crm:7"})
    assert store.funnel(**OCTOBER).totals.persons == 4
    assert [one.persons for one in store.funnel(**OCTOBER).stages] == [4, 1, 1, 3, 0, 1, 2, 2]


def test_ids_that_stand_for_nobody_make_nobody_a_customer(clean: tuple[Client, str]) -> None:
    """A role mailbox, a till: of a contact beside them the deal is."""
    rules = IdentityRules(max_visitors_per_id=1, blocked_ids=("till",))
    store = Store(*clean, AttributionPolicy(identity=rules))
    store.put("hits", hit("a", "page_view", NOON), hit("b", "page_view", NOON))
    links = ({"site": "site1", "visitor_id": name, "id": "email:info"} for name in "ab")
    store.put("identity_links", *links)
    hub, till = told("deal_won", NOON + HOUR, "email:info"), told("deal_won", NOON + 2 * HOUR, "crm:TILL")
    store.put("conversions", hub, till)
    nobodys = store.funnel()
    assert [one.persons for one in nobodys.stages] == [2, 0, 0, 0, 0, 0, 0, 0]
    assert [one.conversions for one in nobodys.meta.without_person] == [2]
    store.put("conversions", told("deal_won", NOON + 3 * HOUR, "email:info", "crm:TILL", "user:7"))
    assert store.funnel().stages[-1].persons == 1


def test_a_contact_whom_nobody_saw_is_one_person_and_one_customer(clean: tuple[Client, str]) -> None:
    """Whichever of his ids is told: the funnel and the metric of new customers agree on who he is."""
    store = Store(*clean)
    sell(store, "early", 0, (0, "10"), ids=("email:cat",), type_="deal_won")
    sell(store, "both", 1, (1, "10"), ids=("crm:7", "email:cat"), type_="deal_won")
    sell(store, "late", 2, (2, "10"), ids=("crm:7",), type_="deal_won")
    store.put("conversions", told("lead", NOON - DAY, "email:cat"))
    assert store.rows("new_customers") == [[1]]
    stages = store.funnel().stages
    assert [one.persons for one in stages if one.persons] == [1, 1]
    assert stages[-1].from_previous == 0
    # He turns out to be a visitor: still one of each.
    store.put("hits", hit("a", "page_view", NOON - 2 * DAY))
    store.put("identity_links", {"site": "site1", "visitor_id": "a", "id": "crm:7"})
    assert store.rows("new_customers") == [[1]]
    assert [one.persons for one in store.funnel().stages if one.persons] == [1, 1, 1]
    assert store.funnel().totals.persons == 1


def test_a_purchase_on_a_shared_device_is_whose_id_is_told(clean: tuple[Client, str]) -> None:
    store = Store(*clean)
    links = ({"site": "site1", "visitor_id": "till", "id": f"user:{name}"} for name in "ab")
    store.put("identity_links", *links)
    store.put("hits", hit("till", "page_view", NOON - DAY))
    for number in range(3):
        sell(store, f"{number}", number, (number, "10"), visitor="till", ids=(f"email:{number}",))
    assert store.rows("new_customers") == [[3]]
    answer = store.funnel()
    assert (answer.totals.persons, answer.stages[-1].persons) == (4, 3)


def test_who_came_before_is_not_new_by_a_conversion_with_ids(clean: tuple[Client, str]) -> None:
    """Nobody linked the visitor; a sender names both him and ids."""
    store = Store(*clean)
    store.put("hits", hit("a", "page_view", NOON - 40 * DAY))
    store.put("conversions", told("deal_won", NOON, "crm:7", visitor_id="a"))
    assert store.funnel(**OCTOBER).totals.persons == 0
    assert store.funnel().stages[-1].from_previous == 0
    assert [one.persons for one in store.funnel().stages if one.persons] == [1, 1]


def test_a_lost_deal_that_never_stood_after_all_was_at_no_stage(clean: tuple[Client, str]) -> None:
    """Rows as the credit stage tells them."""
    store = Store(*clean)
    conversion, refused = BookedValue(NOON, "conversion", 0, 1), BookedValue(NOON + 9, "lost", 0, 0)
    before: CreditState | None = None
    seen = []
    histories: list[tuple[BookedValue, ...]] = [
        (conversion, refused),
        (),
        (conversion, refused),
        (conversion,),
        (),
    ]
    for number, bookings in enumerate(histories):
        fact = ConversionFact(
            conversion_id="d",
            site="site1",
            type="opportunity",
            order_id="d",
            visitor_id="",
            event_id="e",
            occurred_at=NOON,
            received_at=NOON,
            value_minor=None,
            currency="USD",
            bookings=bookings,
            revision=number + 1,
            ids=("crm:7",),
        )
        policy = AttributionPolicy()
        packed = credit(fact, Path((), NOON, "opportunity"), policy).to_bytes()
        after = CreditState(Conversion.of(fact), packed, policy.version, NOON + number, True)
        cause = "conversion" if before is None else cause_of_bookings(before.conversion.credited, fact)
        store.put_rows("conversions", told_of([Correction(cause, before, after)]).conversions, f"{number}")
        before = after
        opportunity = store.funnel().stages[6]
        seen.append((opportunity.persons, opportunity.lost))
    assert seen == [(1, 1), (0, 0), (1, 1), (1, 0), (0, 0)]


def test_random_worlds_equal_a_plain_recount(clean: tuple[Client, str]) -> None:
    lookbacks = dict.fromkeys(CREDITED, 30 * DAY_MS)
    policy = AttributionPolicy(identity=RULES, conversion_lookbacks_ms=lookbacks)
    store, world = Store(*clean, policy, FUNNEL), FunnelWorld(20261123)
    world.fill(store)
    seen: set[str] = set()
    for _ in range(14):
        world.link(store, 3)
        question = world.question()
        answer, expected = store.funnel(**question), world.recount(question)
        without = {one.stage: one.conversions for one in answer.meta.without_person}
        assert [without.get(name, 0) for name in FUNNEL.names] == expected.pop("without"), question
        got = {"": (answer.totals.persons, counts(answer, ""))}
        got |= {one.channel: (one.persons, counts(answer, one.channel)) for one in answer.channels}
        assert got == expected, question
        seen |= {name for name, _ in got.items()}
        seen |= {
            f"{place} {number > 0}" for line in counts(answer, "") for place, number in enumerate(line[:5])
        }
    assert seen >= {"", "Paid Search", "Direct", "Display", "(unattributed)"}
    assert seen >= {"0 True", "1 True", "2 True", "3 True", "4 True"}


def counts(answer: FunnelAnswer, channel: str) -> list[tuple[Any, ...]]:
    stages = answer.stages
    if channel:
        (stages,) = (one.stages for one in answer.channels if one.channel == channel)
    found = []
    for place, one in enumerate(stages):
        of_first = Decimal(0) if one.share_of_first is None else one.share_of_first * stages[0].persons
        medians = (one.median_seconds, one.median_seconds_from_first)
        found.append(
            (
                *(one.persons, round(of_first), one.from_previous if place else one.persons),
                *(one.before_previous, one.lost),
                *(None if median is None else float(median) for median in medians),
            )
        )
    return found


def test_what_cannot_be_told_is_refused_by_name(
    clean: tuple[Client, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(*clean)
    fill(store)
    for given, field in (
        ({"from": "October"}, "from"),
        ({"from": "2026-10-03", "to": "2026-10-02"}, "from, to"),
        ({"currency": "XXY"}, "currency"),
    ):
        with pytest.raises(Rejected) as rejected:
            store.funnel(**given)
        assert rejected.value.field == field
    monkeypatch.setattr(api.funnel_reading, "MOST_STEPS", 3)
    with pytest.raises(Rejected, match="up to 3 first steps") as rejected:
        store.funnel()
    assert (rejected.value.reason, rejected.value.field) == ("not_available", "from, to")
    monkeypatch.setattr(api.people, "MOST_LINKS", 1)
    with pytest.raises(Rejected, match="here are 3") as rejected:
        Store(*clean).funnel()
    assert (rejected.value.reason, rejected.value.field) == ("not_available", "")
