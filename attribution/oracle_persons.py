"""The oracle's part on persons: who is one with whom, once every hit has arrived.

As plain as the rules read, and apart from the stream's code: it shares only what a single hit says of who its visitor
is, as the oracle shares the enrichment of a hit.
"""

from __future__ import annotations

from collections.abc import Iterable

from attribution.hit import Hit
from attribution.identity import claim_of
from attribution.ids import event_hash
from attribution.persons import ACCOUNT_CLOSED_AT, CLOSED_AT, IdentityRules

Visitor = tuple[str, str]
"""(site, visitor_id)."""
Link = tuple[str, str, str]
"""(site, visitor_id, id)."""


def links_of(hits: Iterable[Hit]) -> dict[Link, bool]:
    """Every link that any of ``hits`` (each once) names: True if it holds, False if it was withdrawn."""
    said: dict[Link, list[tuple[int, int, bool]]] = {}
    for hit in hits:
        claim = claim_of(hit)
        for id_ in claim.ids if claim else ():
            statement = (hit.occurred_at, event_hash(hit.event_id), hit.event == "unlink")
            said.setdefault((hit.site, hit.visitor_id, id_), []).append(statement)
    return {link: not max(statements)[2] for link, statements in said.items()}


def persons(
    visitors: Iterable[Visitor], links: dict[Link, bool], rules: IdentityRules
) -> dict[Visitor, frozenset[Visitor]]:
    """For each of ``visitors`` everybody who is one person with him, himself included."""
    everybody = list(visitors)
    leader: dict[object, object] = {visitor: visitor for visitor in everybody}

    def find(node: object) -> object:
        while leader.setdefault(node, node) != node:
            node = leader[node]
        return node

    for site, visitor_id, id_ in _joining(links, rules):
        leader[find((site, visitor_id))] = find((site, "", id_))

    found = {}
    for visitor in everybody:
        members = frozenset(other for other in everybody if find(other) == find(visitor))
        found[visitor] = members if len(members) <= rules.max_visitors_per_person else frozenset((visitor,))
    return found


def named(
    site: str,
    visitor_ids: Iterable[str],
    ids: Iterable[str],
    circle_of: dict[Visitor, frozenset[Visitor]],
    links: dict[Link, bool],
    rules: IdentityRules,
) -> frozenset[Visitor]:
    """Everybody whose past a conversion is credited with of which a sender says that it is theirs."""
    starts = {(site, visitor_id) for visitor_id in visitor_ids if visitor_id}
    for its_site, visitor_id, id_ in _joining(links, rules):
        if its_site == site and id_ in ids:
            starts.add((site, visitor_id))
    return frozenset(starts).union(*(circle_of.get(start, frozenset()) for start in starts))


def _joining(links: dict[Link, bool], rules: IdentityRules) -> list[Link]:
    """The links that join their visitor with others."""
    held = _held(links, rules)
    found = []
    for site, visitor_id, id_ in held:
        if id_.startswith("account:"):
            continue
        if _is_shared(visitor_id, [link[2] for link in held if link[:2] == (site, visitor_id)], rules):
            continue
        has = len([link for link in held if (link[0], link[2]) == (site, id_)])
        ever_had = len([link for link in links if (link[0], link[2]) == (site, id_)])
        if has <= rules.max_visitors_per_id and ever_had <= CLOSED_AT:
            found.append((site, visitor_id, id_))
    return found


def circles(
    visitors: Iterable[Visitor], links: dict[Link, bool], rules: IdentityRules
) -> dict[Visitor, frozenset[Visitor]]:
    """For each of ``visitors`` everybody whose past his conversions are credited with, himself included."""
    person_of = persons(visitors, links, rules)
    if not rules.account_view:
        return person_of
    held = _held(links, rules)
    accounts: dict[tuple[str, str], set[Visitor]] = {}
    for site, visitor_id, id_ in held:
        if not id_.startswith("account:"):
            continue
        if _is_shared(visitor_id, [link[2] for link in held if link[:2] == (site, visitor_id)], rules):
            continue
        has = len([link for link in held if (link[0], link[2]) == (site, id_)])
        ever_had = len([link for link in links if (link[0], link[2]) == (site, id_)])
        if has <= rules.max_visitors_per_account and ever_had <= ACCOUNT_CLOSED_AT:
            accounts.setdefault((site, id_), set()).add((site, visitor_id))
    found = {}
    for visitor, person in person_of.items():
        circle = set(person)
        for its in accounts.values():
            if its & person:
                circle |= {other for member in its for other in person_of[member]}
        found[visitor] = frozenset(circle)
    return found


def _held(links: dict[Link, bool], rules: IdentityRules) -> list[Link]:
    """The links that hold and are not blocked."""
    return sorted(
        link
        for link, is_held in links.items()
        if is_held and link[2].partition(":")[2].lower() not in rules.blocked_ids
    )


def _is_shared(visitor_id: str, ids: list[str], rules: IdentityRules) -> bool:
    """More user ids (his own name left out), addresses or contacts than one person has."""
    users = [id_ for id_ in ids if id_.startswith("user:") and id_ not in (f"user:{visitor_id}", visitor_id)]
    emails = [id_ for id_ in ids if id_.startswith("email:")]
    contacts = [id_ for id_ in ids if id_.startswith("crm:")]
    return (
        len(users) > rules.max_users_per_visitor
        or len(emails) > rules.max_emails_per_visitor
        or len(contacts) > rules.max_crm_contacts_per_visitor
    )
