"""The journeys that learnt models learn from: counted by ClickHouse, by site and sequence of channels.

Journeys that converted are the paths that credit saw (table ``paths``). Those that did not are put together here of the
touches of persons that no conversion reached, by the rules by which paths are (``attribution.paths``). Both are counted
a slice at a time, so that neither ClickHouse nor the reader ever holds all touchpoints. Every method blocks and raises
``Transient`` or ``Misconfigured``.
"""

from __future__ import annotations

import re
import secrets
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import msgspec
import numpy as np
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import Error

from attribution.acquisition import DIRECT
from attribution.channel_rules import MAY_BE_BRAND, words_of
from attribution.learnt.journeys import JourneyCounter
from attribution.learnt.people import Links, joined
from attribution.persons import ACCOUNT_CLOSED_AT, CLOSED_AT
from attribution.policy import AttributionPolicy, BrandHandling, DirectHandling, SinceLast, ViewHandling
from attribution.touchpoints import TouchKind
from sinks.checks import ask
from sinks.engine_errors import explain_error
from sinks.names import qualify
from sinks.queries import load_sql
from sinks.tables import LEARNT_PERSONS_COLUMNS
from sinks.writer import RowWriter

SLICE_ROWS = 1_000_000
"""About how many touchpoints ClickHouse brings into order at once."""
LONGEST = 100
"""Touchpoints of a journey that are learnt from: the last ones."""
QUERY_SECONDS = 600
LIMITS: dict[str, Any] = {
    "max_threads": 1,
    "max_execution_time": QUERY_SECONDS,
    "max_memory_usage": 2 << 30,
    "max_bytes_before_external_group_by": 512 << 20,
}
"""Settings of the learner's own connection: reports and inserts keep the other cores."""
_SEPARATOR = "\x1f"
_KINDS = (TouchKind.visit, TouchKind.view, TouchKind.click)
"""In the order of ``sql/learnt_lost.sql``."""
_ROWS_AT_ONCE = 100_000
_GAP = r"[^\p{L}\p{N}]"
"""Neither letter nor digit."""


class JourneyRange(msgspec.Struct, frozen=True, dict=True):
    """Which journeys: those that ended in ``[from_ms, to_ms)``, epoch milliseconds, judged by ``policy``."""

    from_ms: int
    to_ms: int
    policy: AttributionPolicy
    types: tuple[str, ...] = ()
    """Conversions that are learnt from; none = all that the policy knows."""
    site: str = ""
    """"" = all."""

    @cached_property
    def learnt_types(self) -> tuple[str, ...]:
        """In order of name."""
        return tuple(sorted(set(self.types) or self.policy.conversion_lookbacks_ms))

    @cached_property
    def waited_for(self) -> str:
        """The type that lost journeys did not come to: that which looks back furthest."""
        return max(self.learnt_types, key=lambda type_: (max(self.windows_ms(type_)), type_))

    def windows_ms(self, type_: str) -> tuple[int, ...]:
        """How old visits, views and clicks may be at a conversion of ``type_``."""
        return tuple(self.policy.lookback_ms(type_, kind) for kind in _KINDS)

    @property
    def pause_ms(self) -> int:
        """A lost journey has ended when nothing more came of it for so long."""
        return max(self.windows_ms(self.waited_for))

    @property
    def low_ms(self) -> int:
        """Nothing before this is read. Not before 1970, where ClickHouse's hours begin."""
        return max(0, self.from_ms - self.pause_ms)

    @property
    def high_ms(self) -> int:
        """No touch from here on is read: so long after its last touch a journey that ended in the period is over."""
        return self.to_ms + self.pause_ms + 1


class JourneyReader:
    """Reads journeys. ``client`` should be one of its own, with ``LIMITS``."""

    def __init__(self, client: Client, database: str, *, slice_rows: int = SLICE_ROWS) -> None:
        self._client = client
        self._database = database
        self._slice_rows = slice_rows

    def types_of_value(self, wanted: JourneyRange) -> tuple[str, ...]:
        """The types that the policy knows whose conversions of the period brought money."""
        period = {"from": wanted.from_ms, "to": wanted.to_ms, "site": wanted.site}
        found = {row[0] for row in self._ask("learnt_types", period)}
        return tuple(sorted(found & wanted.policy.conversion_lookbacks_ms.keys()))

    def slices(self, wanted: JourneyRange) -> int:
        """Into how many slices ``read`` cuts the work."""
        window = {"low": wanted.low_ms, "high": wanted.high_ms, "site": wanted.site}
        return 1 + int(self._ask("learnt_size", window)[0][0]) // self._slice_rows

    def read(
        self, wanted: JourneyRange, slices: int, tick: Callable[[], None] = lambda: None
    ) -> dict[str, JourneyCounter]:
        """Journeys by site, counted by sequence; ``tick`` is called after each slice."""
        counters: defaultdict[str, JourneyCounter] = defaultdict(JourneyCounter)
        with self._persons(wanted) as run:
            for slice_ in range(slices):
                part = {"slices": slices, "slice": slice_}
                for site, journey, count in self._ask("learnt_converted", _of_converted(wanted) | part):
                    counters[site].add(journey.split(_SEPARATOR), count, 0)
                for site, journey, count in self._ask("learnt_lost", _of_lost(wanted) | part | {"run": run}):
                    counters[site].add(journey.split(_SEPARATOR), 0, count)
                tick()
        return counters

    @contextmanager
    def _persons(self, wanted: JourneyRange) -> Iterator[int]:
        """While inside, ``learnt_persons`` says under this number who is one person."""
        run = secrets.randbits(64)
        visitors, persons = joined(self._links(wanted), wanted.policy.identity)
        writer = RowWriter(self._client, self._database)
        now = int(time.time())
        for start in range(0, len(visitors), _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            rows = [
                (run, visitor, person, now)
                for visitor, person in zip(visitors[part].tolist(), persons[part].tolist(), strict=True)
            ]
            writer.insert("learnt_persons", LEARNT_PERSONS_COLUMNS, rows, f"learnt_persons:{run}:{start}")
        yield run

    def _links(self, wanted: JourneyRange) -> Links:
        rules = wanted.policy.identity
        parameters = {
            "site": wanted.site,
            "blocked": f"(?i)^(?:{'|'.join(map(re.escape, rules.blocked_ids))})$"
            if rules.blocked_ids
            else "",
            "users": rules.max_users_per_visitor,
            "emails": rules.max_emails_per_visitor,
            "contacts": rules.max_crm_contacts_per_visitor,
            "per_id": rules.max_visitors_per_id,
            "closed": CLOSED_AT,
            "accounts": int(rules.account_view),
            "per_account": rules.max_visitors_per_account,
            "account_closed": ACCOUNT_CLOSED_AT,
        }
        sql = load_sql("learnt_links", identity_links=qualify(self._database, "identity_links"))
        try:
            found = self._client.query_np(sql, parameters=parameters)
        except Error as error:
            raise explain_error(error) from error
        table = np.asarray(found, dtype=np.uint64).reshape(-1, 3)
        return Links(table[:, 0], table[:, 1], table[:, 2] == 1)

    def _ask(self, query: str, parameters: dict[str, Any]) -> Any:
        return ask(self._client, self._database, query, parameters)


def _of_converted(wanted: JourneyRange) -> dict[str, Any]:
    """What both questions are asked with."""
    policy = wanted.policy
    without_direct = [DIRECT.channel] if policy.direct is DirectHandling.never else []
    return {
        "from": wanted.from_ms,
        "to": wanted.to_ms,
        "types": list(wanted.learnt_types),
        "excluded": [*policy.excluded_channels, *without_direct],
        "direct_alone": int(policy.direct is DirectHandling.only_if_alone),
        "site": wanted.site,
        "longest": LONGEST,
        "separator": _SEPARATOR,
    }


def _of_lost(wanted: JourneyRange) -> dict[str, Any]:
    policy = wanted.policy
    is_any_type = policy.since_last_conversion is SinceLast.any_type
    # Where any conversion takes what came before it, those that are not learnt from have to be known as well.
    types = sorted(policy.conversion_lookbacks_ms) if is_any_type else list(wanted.learnt_types)
    nowhere = (-1,) * len(_KINDS)
    windows = [wanted.windows_ms(type_) if type_ in wanted.learnt_types else nowhere for type_ in types]
    waited_for = 1 + types.index(wanted.waited_for)
    cutting = {
        SinceLast.off: [],
        SinceLast.same_type: [waited_for],
        SinceLast.any_type: list(range(1, 1 + len(types))),
    }
    is_brand_excluded = policy.brand is BrandHandling.exclude
    return _of_converted(wanted) | {
        "low": wanted.low_ms,
        "high": wanted.high_ms,
        "types": types,
        "windows": [window for of_type in windows for window in of_type],
        "any_type": int(is_any_type),
        "cutting": cutting[policy.since_last_conversion],
        "waited_for": waited_for,
        "pause": wanted.pause_ms,
        "without_views": int(policy.views is ViewHandling.never),
        "views_give_way": int(policy.views is ViewHandling.unless_clicked),
        "brand": _pattern_of(policy.brand_words) if is_brand_excluded and policy.brand_words else "",
        "brand_channels": sorted(MAY_BE_BRAND),
    }


def _pattern_of(brand_words: Sequence[str]) -> str:
    """What ``attribution.channel_rules.is_brand`` looks for in a term or campaign, for ClickHouse's ``match``."""
    phrases = (f"{_GAP}+".join(map(re.escape, words_of(word).split())) for word in brand_words)
    return f"(?i)(?:^|{_GAP})(?:{'|'.join(phrases)})(?:$|{_GAP})"
