"""People against the real engine: visitors whom identity joined count once."""

from __future__ import annotations

from typing import Any

import pytest
from api_recount import World
from api_store import Store, session
from clickhouse_connect.driver.client import Client

import api.order
import api.people
from attribution.errors import Rejected
from attribution.persons import IdentityRules
from attribution.policy import AttributionPolicy


def store_of(clean: tuple[Client, str], **rules: Any) -> Store:
    return Store(*clean, AttributionPolicy(identity=IdentityRules(**rules)))


def link(visitor_id: str, id_: str, sign: int = 1, site: str = "s") -> dict[str, Any]:
    return {"site": site, "visitor_id": visitor_id, "id": id_, "sign": sign}


def visit(store: Store, *visitors: str, channel: str = "Email", site: str = "s") -> None:
    for visitor in visitors:
        name = f"{site} {channel} {visitor}"
        store.put("sessions", session(name, visitor_id=visitor, site=site, channel=channel))


def test_devices_of_one_person_count_once_until_a_link_is_withdrawn(clean: tuple[Client, str]) -> None:
    """The next question knows."""
    store = store_of(clean)
    visit(store, "phone", "laptop", "stranger")
    visit(store, "phone", "user:ann", channel="Direct")
    assert store.rows("visitors people") == [[4, 4]]
    store.put("identity_links", link("phone", "user:ann"), link("laptop", "user:ann"))
    assert store.rows("people visitors") == [[3, 4]]
    store.put("identity_links", link("user:ann", "user:ann"))
    assert store.rows("people") == [[2]]
    assert store.rows("visitors people", "channel") == [["Email", 3, 2], ["Direct", 2, 1]]
    assert store.rows("people", filters=[["channel", "is", ["Email"]]]) == [[2]]
    store.put("identity_links", link("laptop", "user:ann", -1))
    assert store.rows("people") == [[3]]
    store.put("identity_links", link("laptop", "user:ann"))
    assert store.rows("people") == [[2]]


def test_a_person_is_of_one_site(clean: tuple[Client, str]) -> None:
    store = store_of(clean)
    for site in ("s", "t"):
        visit(store, "phone", "laptop", site=site)
        store.put(
            "identity_links",
            link("phone", "email:e", site=site),
            link("laptop", "email:e", site=site),
            link("phone", "account:acme", site=site),
        )
    assert store.rows("visitors people") == [[4, 2]]


def test_shared_devices_hubs_blocked_ids_and_companies_join_nobody(clean: tuple[Client, str]) -> None:
    store = store_of(clean, blocked_ids=("münzer",), max_visitors_per_id=2, max_visitors_per_person=3)
    visit(store, "a", "b", "c", "d")
    assert store.rows("people") == [[4]]
    store.put("identity_links", link("a", "account:x"), link("b", "account:x"))
    store.put("identity_links", link("a", "user:MÜNZER"), link("b", "user:MÜNZER"))
    assert store.rows("people") == [[4]]
    store.put("identity_links", link("a", "user:1"), link("b", "user:1"))
    assert store.rows("people") == [[3]]
    store.put("identity_links", link("c", "user:1"))  # a hub now
    assert store.rows("people") == [[4]]
    store.put("identity_links", link("c", "user:1", -1), link("b", "email:e"), link("c", "email:e"))
    assert store.rows("people") == [[2]]
    store.put("identity_links", link("b", "user:2"))  # a shared device now
    assert store.rows("people") == [[4]]
    store.put("identity_links", link("b", "user:2", -1), link("c", "crm:1"), link("d", "crm:1"))
    assert store.rows("people") == [[4]]  # four visitors are too many for a person


def test_random_questions_equal_a_plain_recount(clean: tuple[Client, str]) -> None:
    """With links that come and go between them, and guards that they trip over."""
    rules = IdentityRules(max_visitors_per_id=3, max_visitors_per_person=6, blocked_ids=("till",))
    store, world = Store(*clean, AttributionPolicy(identity=rules)), World(20261123, rules)
    world.fill(store)
    fewer = 0
    for _ in range(24):
        world.link(store, 10)
        question = world.question()
        question["metrics"] = ["people", *world.random.sample(["visitors", "hits"], 2)]
        question["dimensions"] = question["dimensions"][: world.random.randint(0, 2)]
        width = len(question["dimensions"])
        given = {key: value for key, value in question.items() if key not in ("metrics", "dimensions")}
        rows = store.rows(" ".join(question["metrics"]), " ".join(question["dimensions"]), **given)
        got = {tuple(str(cell) for cell in row[:width]): row[width:] for row in rows}
        assert got == world.recount(question), question
        place = question["metrics"].index("visitors")
        fewer += sum(row[0] < row[place] for row in got.values())
        by_people = sorted(rows, key=lambda row: [str(cell) for cell in row[:width]])
        by_people.sort(key=lambda row: row[width], reverse=True)
        if "hour" not in question["dimensions"] and "day" not in question["dimensions"]:
            assert rows == by_people
    assert fewer > 10


def test_pages_in_the_order_of_people(clean: tuple[Client, str]) -> None:
    """Not in that of visitors, which is all that SQL knows."""
    store = store_of(clean)
    visit(store, "a", "b", "c", channel="Email")
    visit(store, "a", "d", channel="Direct")
    visit(store, "e", channel="Audio")
    store.put("identity_links", *(link(visitor, "user:1") for visitor in "abc"))
    everything = [["Direct", 2], ["Audio", 1], ["Email", 1]]
    assert store.rows("people", "channel") == everything
    for offset in range(4):
        page = store.ask("people", "channel", limit=2, offset=offset)
        assert page.rows == everything[offset : offset + 2]
        assert page.meta.next_offset == (offset + 2 if offset == 0 else None)
    by = [["people", "asc"], ["channel", "desc"]]
    assert store.rows("people", "channel", order_by=by) == [["Email", 1], ["Audio", 1], ["Direct", 2]]
    assert store.rows("people", "channel", order_by=[["channel", "asc"]], limit=1) == [["Audio", 1]]
    mixed = store.rows(
        "people cr aov", "channel", order_by=[["aov", "desc"], ["cr", "asc"], ["people", "asc"]]
    )
    assert [row[0] for row in mixed] == ["Audio", "Email", "Direct"]


def test_people_stand_beside_spread_and_conversion_types(clean: tuple[Client, str]) -> None:
    store, world = store_of(clean), World(7)
    world.fill(store)
    for _ in range(3):
        world.link(store, 40)
        answer = store.ask("people revenue", "conversion_type channel", spread=True)
        people = {tuple(row[:2]): row[2] for row in answer.rows if row[2]}
        expected = world.recount(
            world.question()
            | {
                **{"metrics": ["people"], "dimensions": ["conversion_type", "channel"], "filters": []},
                "date_range": None,
            }
        )
        assert people == {key: found[0] for key, found in expected.items()}
        for row, ranges in zip(answer.rows, answer.spread or [], strict=True):
            assert ranges["revenue"].low <= ranges["revenue"].high or row[3]


def test_what_would_take_too_much_is_refused_by_name(
    clean: tuple[Client, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_of(clean)
    visit(store, "a", "b", channel="Email")
    visit(store, "a", channel="Direct")
    store.put("identity_links", link("a", "user:1"), link("b", "user:1"))
    monkeypatch.setattr(api.order, "MOST_IN_ORDER", 1)
    with pytest.raises(Rejected, match="order of people") as rejected:
        store.rows("people", "channel")
    assert (rejected.value.reason, rejected.value.field) == ("bad_order", "order_by")
    assert store.rows("visitors people", "channel") == [["Email", 2, 1], ["Direct", 1, 1]]
    monkeypatch.setattr(api.people, "MOST_LINKS", 1)
    with pytest.raises(Rejected, match="here are 2") as rejected:
        store_of(clean).rows("people")
    assert (rejected.value.reason, rejected.value.field) == ("not_available", "metrics")
    with pytest.raises(Rejected, match="as_of"):
        store.rows("people", as_of="2026-10-01")
