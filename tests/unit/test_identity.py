"""What a hit claims, what a visitor's links come to, and who is one person."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from itertools import permutations
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attribution.enrich import enrich
from attribution.hit import Hit
from attribution.identity import Claim, claim_of
from attribution.links import MAX_LINKS, LinkFact, changes, held_ids, tell
from attribution.marks import mark_of
from attribution.oracle_persons import circles, persons
from attribution.persons import (
    ACCOUNT_CLOSED_AT,
    CLOSED_AT,
    Graph,
    IdentityRules,
    Members,
    Visitor,
    circle_of,
    component_of,
    is_shared,
    person_of,
)
from attribution.policy import AttributionPolicy
from attribution.timeline import Timeline

EMAIL = "ab" * 32


def hit(**given: Any) -> Hit:
    props = given.pop("props", None)
    fields = {"event_id": "e", "site": "s", "visitor_id": "v", "occurred_at": 5, "received_at": 5, **given}
    if props is not None:
        fields["props"] = msgspec.Raw(msgspec.json.encode(props))
    return Hit(**fields)


@pytest.mark.parametrize(
    ("fields", "ids"),
    [
        ({"user_id": "42"}, ("user:42",)),
        ({"user_id": " 42 "}, ("user:42",)),
        ({"email_sha256": EMAIL}, (f"email:{EMAIL}",)),
        ({"props": {"crm_contact_id": "0031"}}, ("crm:0031",)),
        ({"props": {"crm_contact_id": 31}}, ("crm:31",)),
        ({"user_id": "u", "event": "alias"}, ("user:u", "user:v")),
        ({"user_id": "u", "event": "alias", "visitor_id": "user:old"}, ("user:u", "user:old")),
        ({"user_id": "u", "event": "group", "props": {"group_id": "acme"}}, ("user:u", "account:acme")),
        ({"user_id": "u", "event": "purchase", "props": {"group_id": "shoes"}}, ("user:u",)),
    ],
)
def test_a_hit_links_its_visitor_with_every_id_that_it_names(
    fields: dict[str, Any], ids: tuple[str, ...]
) -> None:
    claim = claim_of(hit(**fields))
    assert claim is not None
    assert set(claim.ids) == set(ids)
    assert (claim.is_withdrawn, claim.refused) == (False, 0)


@pytest.mark.parametrize("props", [None, {"plan": "pro"}, {"crm_contact_id": None}, {"crm_contact_id": [1]}])
def test_a_hit_that_names_nobody_claims_nothing(props: Any) -> None:
    assert claim_of(hit(props=props) if props is not None else hit()) is None


@pytest.mark.parametrize(
    "value",
    ["null", "NULL", " Undefined ", "0", "00000000-0000-0000-0000-000000000000", "guest", "[object Object]"],
)
def test_values_that_stand_for_nobody_link_nobody(value: str) -> None:
    assert claim_of(hit(user_id=value)) == Claim((), refused=1)
    assert claim_of(hit(user_id=value, email_sha256=EMAIL)) == Claim((f"email:{EMAIL}",), refused=1)


@pytest.mark.parametrize("address", ["", "test@test.com", "noreply@example.com", "null"])
def test_the_hash_of_an_address_of_nobody_links_nobody(address: str) -> None:
    assert claim_of(hit(email_sha256=hashlib.sha256(address.encode()).hexdigest())) == Claim((), refused=1)


def test_a_hash_that_is_none_links_nobody() -> None:
    """Other producers write to the topic, too."""
    assert claim_of(hit(email_sha256="ann@example.com")) == Claim((), refused=1)


def test_blocked_ids_of_the_policy_join_nobody_and_make_nobody_shared() -> None:
    links = {
        ("s", v, id_): True for v in ("a", "b") for id_ in ("user:Shop-Till", f"email:{EMAIL}", "user:u" + v)
    }
    assert walk(("s", "a"), links, IdentityRules(max_users_per_visitor=2)) == {("s", "a"), ("s", "b")}
    blocked = IdentityRules(blocked_ids=("shop-till",))
    assert walk(("s", "a"), links, blocked) == {("s", "a"), ("s", "b")}
    assert walk(("s", "a"), links, IdentityRules(blocked_ids=("shop-till", EMAIL))) == {("s", "a")}


def test_unlink_withdraws_what_it_names_and_is_no_visit() -> None:
    told = hit(event="unlink", user_id="u", url="https://shop.example/", props={"group_id": "acme"})
    assert claim_of(told) == Claim(("user:u", "account:acme"), is_withdrawn=True)
    assert not enrich(told).in_session


SAID = [
    (1, 5, True),
    (2, 5, False),
    (2, 9, True),
    (3, 1, False),
    (3, 1, True),
]


def test_the_latest_word_holds_in_any_order() -> None:
    """Of two by one event in one instant the withdrawal."""
    ends = set()
    for order in permutations(SAID):
        links: dict[str, LinkFact] = {}
        for said in (*order, *order):
            tell(links, ["user:u"], LinkFact(*said), {})
        ends.add(links["user:u"])
    assert ends == {LinkFact(3, 1, False)}


def test_a_visitor_has_room_for_so_many_ids() -> None:
    links: dict[str, LinkFact] = {}
    names = [f"user:{number}" for number in range(MAX_LINKS + 1)]
    lost = [tell(links, [name], LinkFact(1, number, True), {}) for number, name in enumerate(names)]
    assert (lost[-1], sum(lost), len(links)) == (1, 1, MAX_LINKS)
    assert tell(links, ["user:3"], LinkFact(2, 0, False), {}) == 0
    assert len(held_ids(links)) == MAX_LINKS - 1


def test_changes_are_links_that_came_or_went_and_ids_that_are_new() -> None:
    links = {"a": LinkFact(1, 1, True), "b": LinkFact(1, 1, False), "c": LinkFact(1, 1, True)}
    links |= {"f": LinkFact(1, 1, True), "g": LinkFact(9, 9, True)}
    before: dict[str, LinkFact | None] = {}
    tell(links, ["a", "b", "d", "f", "g"], LinkFact(2, 2, False), before)
    tell(links, ["c", "e", "f"], LinkFact(3, 3, True), before)
    assert [(c.id, c.is_flipped) for c in changes(before, links)] == [("a", True), ("d", False), ("e", True)]
    assert links["f"] == LinkFact(3, 3, True)
    assert links["g"] == LinkFact(9, 9, True)


def timeline_of(*hits: Hit) -> Timeline:
    policy = AttributionPolicy()
    timeline = Timeline.empty("s", "v")
    timeline.apply([mark_of(one, enrich(one), policy) for one in hits], policy)
    return timeline


def test_an_anonymous_visitor_takes_not_a_byte_more() -> None:
    """The stored form ends where it ended before there were links."""
    visits = [hit(event_id=str(n), occurred_at=n, url="https://shop.example/") for n in range(3)]
    stored = timeline_of(*visits).to_bytes()
    assert len(msgspec.msgpack.decode(stored)) == 11
    linked = timeline_of(*visits, hit(event_id="4", event="identify", user_id="u"))
    assert Timeline.from_bytes(linked.to_bytes(), "s", "v").held_ids() == ["user:u"]
    assert Timeline.from_bytes(stored, "s", "v").held_ids() == ()


def test_stored_links_depend_on_what_was_said_only() -> None:
    said = [
        hit(event_id="1", event="identify", user_id="u", occurred_at=1),
        hit(event_id="2", event="unlink", user_id="u", occurred_at=2),
        hit(event_id="3", event="identify", email_sha256=EMAIL, occurred_at=3),
        hit(event_id="4", event="identify", user_id="u", occurred_at=4),
    ]
    stored = {timeline_of(*order).to_bytes() for order in permutations(said)}
    (only,) = stored
    assert Timeline.from_bytes(only, "s", "v").held_ids() == [f"email:{EMAIL}", "user:u"]


def test_a_visitors_own_name_is_no_second_user() -> None:
    rules = IdentityRules()
    assert not is_shared("user:u", ["user:u", "user:new"], rules)
    assert not is_shared("old", ["user:old", "user:new"], rules)
    assert is_shared("v", ["user:a", "user:b"], rules)
    assert not is_shared("v", ["user:a", "account:x", "account:y"], rules)


def test_an_id_that_was_ever_linked_with_too_many_is_closed() -> None:
    rules = IdentityRules()
    few = frozenset(("a", "b"))
    assert not Members(few, few).is_hub(rules)
    assert Members(few, frozenset(map(str, range(CLOSED_AT + 1)))).is_hub(rules)


class Known:
    def __init__(self, *ids: str) -> None:
        self._ids = ids

    def held_ids(self) -> tuple[str, ...]:
        return self._ids


def walk(
    start: Visitor,
    links: dict[tuple[str, str, str], bool],
    rules: IdentityRules,
    ask: Callable[[Visitor, Graph[Known], IdentityRules], frozenset[Visitor]] = person_of,
) -> frozenset[Visitor]:
    """The person (or what else is asked for) of ``start``, of whose links only what is missing is told."""
    graph: Graph[Known] = Graph()
    while True:
        found = ask(start, graph, rules)
        if graph.is_enough:
            return found
        graph.told(
            {
                place: Known(*(link[2] for link, is_held in links.items() if is_held and link[:2] == place))
                for place in graph.missing_visitors
            },
            {place: members(place, links) for place in graph.missing_ids},
        )


def members(place: tuple[str, str], links: dict[tuple[str, str, str], bool]) -> Members:
    its = {link: is_held for link, is_held in links.items() if (link[0], link[2]) == place}
    return Members(
        frozenset(link[1] for link, is_held in its.items() if is_held), frozenset(link[1] for link in its)
    )


links_of_worlds = st.dictionaries(
    st.tuples(
        st.sampled_from(["s", "t"]),
        st.sampled_from(["v0", "v1", "v2", "v3", "v4", "v5", "user:a"]),
        st.sampled_from(
            ["user:a", "user:b", "user:c", f"email:{EMAIL}", "crm:1", "crm:2", "account:x", "account:y"]
        ),
    ),
    st.sampled_from([True, True, True, False]),
    max_size=16,
)


@settings(max_examples=600, deadline=None)
@given(
    links=links_of_worlds,
    users=st.integers(0, 3),
    contacts=st.integers(0, 2),
    per_id=st.integers(1, 6),
    per_person=st.integers(1, 7),
    blocked=st.sampled_from([(), (), ("a",), (EMAIL, "1")]),
)
def test_the_walk_finds_whom_the_oracle_joins(
    links: dict[tuple[str, str, str], bool],
    users: int,
    contacts: int,
    per_id: int,
    per_person: int,
    blocked: tuple[str, ...],
) -> None:
    """From wherever one starts, read piece by piece; guards trip all the time."""
    rules = IdentityRules(
        max_users_per_visitor=users,
        max_crm_contacts_per_visitor=contacts,
        max_visitors_per_id=per_id,
        max_visitors_per_person=per_person,
        blocked_ids=blocked,
    )
    visitors = {link[:2] for link in links} | {("s", "lonely")}

    joined = persons(visitors, links, rules)
    for visitor in visitors:
        assert walk(visitor, links, rules) == joined[visitor]


@settings(max_examples=600, deadline=None)
@given(
    links=links_of_worlds,
    users=st.integers(0, 3),
    per_person=st.sampled_from([7, 7, 3, 1]),
    per_account=st.sampled_from([7, 7, 3, 2, 1]),
    blocked=st.sampled_from([(), (), ("x",)]),
    account_view=st.sampled_from([True, True, True, False]),
)
def test_the_walk_finds_the_circle_that_the_oracle_finds(
    links: dict[tuple[str, str, str], bool],
    users: int,
    per_person: int,
    per_account: int,
    blocked: tuple[str, ...],
    account_view: bool,
) -> None:
    """People and their companies; whoever is in somebody's circle has him in his own."""
    rules = IdentityRules(
        max_users_per_visitor=users,
        max_visitors_per_person=per_person,
        max_visitors_per_account=per_account,
        blocked_ids=blocked,
        account_view=account_view,
    )
    visitors = {link[:2] for link in links} | {("s", "lonely")}
    expected = circles(visitors, links, rules)
    found = {visitor: walk(visitor, links, rules, circle_of) for visitor in visitors}
    assert found == expected
    assert all(visitor in found[other] for visitor in visitors for other in found[visitor])
    assert all(walk(visitor, links, rules) <= found[visitor] for visitor in visitors)


COMPANIES = {
    ("s", "buyer-phone", "user:ann"): True,
    ("s", "buyer", "user:ann"): True,
    ("s", "buyer-phone", "account:acme"): True,
    ("s", "bob", "account:acme"): True,
    ("s", "bob", "user:bob"): True,
    ("s", "bob-home", "user:bob"): True,
    ("s", "bob-home", "account:club"): True,
    ("s", "club-mate", "account:club"): True,
    ("s", "left", "account:acme"): False,
    ("other", "bob", "account:acme"): True,
}


def names_in_circle(start: str, rules: IdentityRules) -> set[str]:
    return {name for _, name in walk(("s", start), COMPANIES, rules, circle_of)}


def test_companies_of_a_person_are_one_step_and_bring_no_further_companies() -> None:
    """Bob is in the circle with all his devices, and so is the company that his other device belongs to, for him."""
    rules = IdentityRules(account_view=True)
    assert names_in_circle("buyer", rules) == {"buyer", "buyer-phone", "bob", "bob-home"}
    assert names_in_circle("bob", rules) == {"buyer", "buyer-phone", "bob", "bob-home", "club-mate"}
    assert names_in_circle("club-mate", rules) == {"club-mate", "bob", "bob-home"}
    assert names_in_circle("left", rules) == {"left"}
    assert names_in_circle("buyer", IdentityRules()) == {"buyer", "buyer-phone"}


def test_a_company_of_too_many_gives_nobody_anything() -> None:
    """Visitors whose link holds are counted, not those whom it brings with it."""
    exact = IdentityRules(account_view=True, max_visitors_per_account=2)
    assert names_in_circle("buyer", exact) == {"buyer", "buyer-phone", "bob", "bob-home"}
    below = IdentityRules(account_view=True, max_visitors_per_account=1)
    assert names_in_circle("buyer", below) == {"buyer", "buyer-phone"}
    few = frozenset(("a",))
    assert Members(few, frozenset(map(str, range(ACCOUNT_CLOSED_AT + 1)))).is_crowd(exact)
    assert not Members(few, frozenset(map(str, range(ACCOUNT_CLOSED_AT)))).is_crowd(exact)


def test_without_the_account_view_no_company_is_looked_up() -> None:
    graph: Graph[Known] = Graph({("s", "v"): Known("account:acme")})
    assert circle_of(("s", "v"), graph, IdentityRules()) == {("s", "v")}
    assert graph.is_enough


def test_a_link_holds_only_when_both_ends_say_so() -> None:
    """Between two writes one end is behind."""
    graph: Graph[Known] = Graph(
        {("s", "a"): Known("user:u"), ("s", "b"): Known(), ("s", "c"): Known("user:u")},
        {("s", "user:u"): Members(frozenset("abc"), frozenset("abc"))},
    )
    assert person_of(("s", "a"), graph, IdentityRules()) == {("s", "a"), ("s", "c")}
    assert graph.is_enough


def test_a_component_that_is_too_large_is_nobodys() -> None:
    chain = {("s", str(n)): Known(f"crm:{n}", f"crm:{n + 1}") for n in range(9)}
    ends = {
        ("s", f"crm:{n}"): Members(*(frozenset(str(v) for v in (n - 1, n) if 0 <= v < 9),) * 2)
        for n in range(10)
    }
    graph: Graph[Known] = Graph(dict(chain), ends)
    start = ("s", str(random.Random(1).randrange(9)))
    assert len(person_of(start, graph, IdentityRules(max_visitors_per_person=9))) == 9
    assert person_of(start, graph, IdentityRules(max_visitors_per_person=8)) == {start}
    assert component_of(start, graph, IdentityRules(), 8) is None
