"""What a batch of hits means for visitors other than its own: their conversions may be credited differently now.

A batch knows its visitors only. That a visitor was linked, or what a linked visitor did, concerns everybody who is (or
was) one person with him. This is noted by the batch's commit, and told afterwards, in this order:

1. the ids' ends of the links that changed are written;
2. whoever may be concerned is looked for;
3. their conversions are dirty, in one step with forgetting the note: those of their timelines, and those that a CRM
   told of them or of their ids (``streams.abouts``).

It is repeated until it is done. Of two workers whose batches concern each other, one always sees both: each writes
both ends of its own facts before it looks for those of others, so whoever writes his last end later finds all of the
other's. And credit reads a person after it was told of the conversion: what it does not see yet is written later, and
whoever writes it finds the conversion.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from attribution.identity import ACCOUNT
from attribution.linked import NOBODY, LinkedVisitor
from attribution.persons import (
    Graph,
    IdentityRules,
    SiteId,
    Visitor,
    accounts_of,
    circle_of,
    component_of,
    is_blocked,
    people_of,
)
from attribution.timeline import Timeline
from streams.abouts import VISITOR
from streams.link_store import LinkEnd
from streams.news import News
from streams.people import People
from streams.triggers import Trigger

_LARGER_THAN_A_PERSON = 10
"""Components of so many times the visitors of a person are not looked through to their end."""
_MORE_AT_ONCE = 2_000
"""Companies of so many visitors more than a company may have are not looked through."""

Seen = Timeline | LinkedVisitor


async def spread(
    people: People,
    news: Sequence[News],
    rules: IdentityRules,
    partition: int,
    nonce: str,
    known: Mapping[Visitor, Timeline],
) -> list[Trigger]:
    """Write the ids' ends of changed links, and find the conversions that the news concern.

    ``known``: timelines as the batch's commit has left them, so far as they are still at hand.
    """
    await people.links.write(
        [LinkEnd(one.site, one.visitor_id, change.id, change.fact) for one in news for change in one.links]
    )
    # Only now may anybody be looked for: see above.
    graph: Graph[Seen] = Graph({**known})
    concerned: dict[int, set[Visitor]] = {}
    left: Sequence[int] = range(len(news))
    while left:
        unknown = []
        for number in left:
            visitors, is_final = graph.ask(partial(_concerned, news[number], graph, rules))
            if is_final:
                concerned[number] = visitors
            else:
                unknown.append(number)
        left = unknown
        if left:
            await people.read(graph, _seen)
    found: dict[bytes, Trigger] = {}
    ids = [_ids_of(one, concerned[number], graph) for number, one in enumerate(news)]
    about = await people.abouts.read({place for places in ids for place in places})
    for number, one in enumerate(news):
        since = 0 if one.links else one.since
        wanted = [
            (conversion.conversion_id, visitor)
            for visitor in sorted(concerned[number])
            for conversion in graph.visitors[visitor].conversions
            if conversion.converted_at >= since
        ]
        wanted += [
            (conversion_id, (one.site, one.visitor_id))
            for place in sorted(ids[number])
            for conversion_id, converted_at in about.get(place, {}).items()
            if converted_at >= since
        ]
        for conversion_id, visitor in wanted:
            trigger = Trigger(
                conversion_id=conversion_id,
                site=visitor[0],
                visitor_id=visitor[1],
                hits_partition=partition,
                recorded_at=one.recorded_at,
                nonce=nonce,
                cause=one.cause,
                policy=one.policy,
            )
            found[trigger.field] = trigger
    return list(found.values())


def _ids_of(news: News, concerned: Iterable[Visitor], graph: Graph[Seen]) -> set[SiteId]:
    """What a conversion may be told to be about, of everybody whom ``news`` concern: their ids, and they themselves."""
    ids: set[SiteId] = {(news.site, change.id) for change in news.links}
    for visitor in {(news.site, news.visitor_id), *concerned}:
        ids.add((visitor[0], VISITOR + visitor[1]))
        known = graph.visitors.get(visitor)
        ids.update((visitor[0], id_) for id_ in (known.linked_ids if known is not None else ()))
    return ids


def _seen(stored: bytes | None, _: Visitor) -> Seen:
    return NOBODY if stored is None else LinkedVisitor.from_bytes(stored)


def _concerned(news: News, graph: Graph[Seen], rules: IdentityRules) -> set[Visitor]:
    """The visitors whose circle ``news`` may have changed, or changed the past of. Provisional as the graph is.

    Without changed links it is the circle of the visitor, whose own conversions his batch has seen to.

    A changed link may have joined the visitor with others, parted him from them, made him a shared device or his ids
    hubs, or the component too large; or the opposite of each. Whoever that concerns is or was connected with him, so
    he is reached, without passing the visitor himself or his ids, from somebody whom one of these ids was ever linked
    with; and of what lies on that way nothing depends on the visitor's links. Components are not asked whether they
    are small enough for a person, for that depends on them; they are only not followed without end.
    """
    visitor: Visitor = (news.site, news.visitor_id)
    if not news.links:
        return set(circle_of(visitor, graph, rules) - {visitor})
    timeline = graph.visitors.get(visitor)
    if timeline is None:
        graph.missing_visitors.add(visitor)
        return set()
    ids: set[SiteId] = {(news.site, id_) for id_ in timeline.linked_ids if not id_.startswith(ACCOUNT)}
    found = {visitor}
    for place in sorted(ids):
        members = graph.members.get(place)
        if members is None:
            graph.missing_ids.add(place)
            continue
        if news.visitor_id not in members.ever:
            continue  # It was closed before the visitor came: he never was one of its members.
        for start in sorted((news.site, member) for member in members.ever):
            if start in found:
                continue
            most = _LARGER_THAN_A_PERSON * rules.max_visitors_per_person
            component = component_of(start, graph, rules, most, {visitor}, ids)
            found |= component or {start}
    if rules.account_view:
        found |= _colleagues(visitor, timeline, found, graph, rules)
    return found


def _colleagues(
    visitor: Visitor, timeline: Seen, found: set[Visitor], graph: Graph[Seen], rules: IdentityRules
) -> set[Visitor]:
    """The people of all companies of which somebody in ``found`` is, and of those that ``visitor`` was ever of.

    One of his companies may be too large just now, by what he and others said at the same time: its people are looked
    for, unless it is far too large. Of other companies nothing but their people's persons depends on his links.
    """
    site, visitor_id = visitor
    colleagues: set[Visitor] = set()
    for id_ in timeline.linked_ids:
        place = (site, id_)
        if not id_.startswith(ACCOUNT) or is_blocked(id_, rules):
            continue
        members = graph.members.get(place)
        if members is None:
            graph.missing_ids.add(place)
        elif visitor_id in members.ever:
            colleagues |= people_of(place, graph, rules, _MORE_AT_ONCE)
    return colleagues.union(*(people_of(place, graph, rules) for place in accounts_of(found, graph, rules)))
