"""Who reached which stage of a funnel when: steps of visitors and of ids, read from ClickHouse, as steps of people."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from api.measures import UNATTRIBUTED_CHANNEL
from api.people import People
from api.queries import load_sql
from attribution.bulk.customers import About, persons_about
from attribution.bulk.persons import Joined, Names, Numbers
from attribution.bulk.reached import NEVER, Reached, Steps, reached_by
from attribution.errors import Rejected
from attribution.funnel import Funnel
from attribution.policy import AttributionPolicy
from sinks.names import qualify

MOST_STEPS = 3_000_000
"""Rows of one statement: first steps of visitors, ids of conversions. About 300 MB of memory while they are counted."""
_STEP, _STAGE, _PLACE = 64, 2, 65_536
"""How an instant, a stage and more are one number (``sql/funnel_visitors.sql``, ``sql/funnel_channels.sql``)."""

Ask = Callable[[str, Mapping[str, Any]], Sequence[Sequence[Any]]]
Numbered = Callable[[str, int, Mapping[str, Any]], Names]
"""A statement, how many rows it may have and its parameters, to its rows of whole numbers as one array."""


class Cohort(NamedTuple):
    """The people who entered a funnel in some time."""

    reached: Reached
    channel_of: Numbers
    """Beside each person the place of his channel in ``channels``."""
    channels: tuple[str, ...]
    """None unless asked for by channel."""
    without_person: tuple[int, ...]
    """By stage, conversions of that time that name nobody."""


class FunnelReader:
    """Reads the funnel of one database. Threads may share it."""

    def __init__(self, database: str, funnel: Funnel, policy: AttributionPolicy, people: People) -> None:
        self._tables = {
            name: qualify(database, name) for name in ("hits", "sessions", "conversions", "identity_links")
        }
        self._funnel = funnel
        self._credited = tuple(policy.conversion_lookbacks_ms)
        """Types of conversions that hits report."""
        self._rules = policy.identity
        self._people = people

    def cohort(
        self, span: tuple[int, int], sites: Sequence[str], ask: Ask, numbered: Numbered, *, by_channel: bool
    ) -> Cohort:
        """Those who entered within ``span``, epoch ms.

        Raises ``Rejected`` (``not_available``) for more than ``MOST_STEPS``, and what ``ask`` and ``numbered`` raise.
        """
        joined = self._people.joined("", "A funnel cannot be told without them.")
        places = self._funnel.places
        values: dict[str, Any] = {
            **{"events": list(places), "event_stages": list(places.values())},
            **{"types": list(places), "type_stages": list(places.values())},
            **{"credited": list(self._credited), "sites": list(sites)},
            **{"from": span[0], "to": span[1], "most": MOST_STEPS + 1},
        }
        of_sites = "site IN {sites:Array(String)}" if sites else "1"
        conversions = load_sql(
            "funnel_conversions", conversions=self._tables["conversions"], of_sites=of_sites
        )
        parts = {**self._tables, "of_sites": of_sites, "all_conversions": self._tables["conversions"]}

        def rows(name: str, width: int) -> Sequence[Names]:
            found = numbered(load_sql(name, **parts), MOST_STEPS + 1, values).reshape(-1, width)
            if len(found) > MOST_STEPS:
                raise Rejected(
                    "not_available",
                    f"A funnel is told of up to {MOST_STEPS:,} first steps of visitors; here are more. Ask for a"
                    " shorter time or one site.",
                    "from, to",
                )
            return list(found.T)

        parts["conversions"] = conversions
        visitors, steps = rows("funnel_visitors", 2)
        of_visitors = _steps(joined.persons_of(visitors), steps)
        of_ids, nobodys = self._told(rows("funnel_told", 4), joined)
        both = Steps(*(np.concatenate(pair) for pair in zip(of_visitors, _steps(*of_ids), strict=True)))
        reached = reached_by(both, len(self._funnel.stages))
        entered = reached.entered
        reached = reached.of((entered >= span[0]) & (entered < span[1]))
        channels: tuple[str, ...] = ()
        channel_of = np.zeros(len(reached.persons), dtype=np.int64)
        if by_channel:
            names = [str(row[0]) for row in ask(load_sql("funnel_channel_names", **self._tables), {})]
            values["channels"] = names
            channels = (UNATTRIBUTED_CHANNEL, *names)
            channel_of = _channels_of(reached, joined, *rows("funnel_channels", 2))
        return Cohort(reached, channel_of, channels, self._without(nobodys, span))

    def _told(self, told: Sequence[Names], joined: Joined) -> tuple[tuple[Names, Names], Names]:
        """(people, their steps) of told conversions; and the steps of those that name nobody."""
        names, visitors, links, steps = told
        names, first, place = np.unique(names, return_index=True, return_inverse=True)
        names_somebody = (links != 0) & ~np.isin(links, self._people.told_blocked())
        about = About(visitors[first], place[names_somebody], links[names_somebody])
        places, people = persons_about(about, names, joined, self._rules)
        steps = steps[first]
        are_nobodys = np.ones(len(names), dtype=np.bool_)
        are_nobodys[places] = False
        return (people, steps[places]), steps[are_nobodys]

    def _without(self, steps: Names, span: tuple[int, int]) -> tuple[int, ...]:
        at = steps // _STEP
        stages = (steps // _STAGE % (_STEP // _STAGE)).astype(np.int64)
        within = (at >= span[0]) & (at < span[1])
        return tuple(np.bincount(stages[within], minlength=len(self._funnel.stages)).tolist())


def _steps(people: Names, steps: Names) -> Steps:
    return Steps(
        people,
        (steps // _STAGE % (_STEP // _STAGE)).astype(np.int64),
        (steps // _STEP).astype(np.int64),
        np.equal(steps % _STAGE, 1),
    )


def _channels_of(reached: Reached, joined: Joined, visitors: Names, firsts: Names) -> Numbers:
    """The place of each person's channel: that of what brought him first, 0 if that was after he entered, or nothing
    did."""
    people = reached.persons
    if not len(people):
        return np.zeros(0, dtype=np.int64)
    of = joined.persons_of(visitors)
    places = np.minimum(np.searchsorted(people, of), len(people) - 1)
    are_here = people[places] == of
    earliest = np.full(len(people), NEVER, dtype=np.int64)
    np.minimum.at(earliest, places[are_here], firsts[are_here].astype(np.int64))
    return np.where(earliest // _PLACE <= reached.entered, earliest % _PLACE, 0)
