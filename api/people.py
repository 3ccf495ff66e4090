"""Who is one person with whom, by the links that stand: how many people visitors are, and whose a conversion is.

Only visitors whom ids name can be one person with others. The statement that counts visitors lists these by hash, group
by group; how many people they are is told here, from all links at once, which are read again when any has come or gone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from api.queries import load_sql
from api.selection import known_by
from attribution.bulk.persons import Joined, LinkColumns, Names, joined_by
from attribution.errors import Rejected
from attribution.persons import IdentityRules, is_blocked
from sinks.names import qualify

MOST_LINKS = 3_000_000
"""Links whose people are told: about 150 MB of memory while they are read."""

Rows = Callable[[str, dict[str, Any]], Sequence[Sequence[Any]]]
"""A statement and its parameters to its rows."""
Numbers = Callable[[str, int, Mapping[str, Any]], Names]
"""A statement, how many rows it may have and its parameters, to its rows of whole numbers as one array."""


class People:
    """The people of one database. Threads may share it."""

    def __init__(self, database: str, rules: IdentityRules, rows: Rows, numbers: Numbers) -> None:
        self._links = qualify(database, "identity_links")
        self._conversions = qualify(database, "conversions")
        self._rules = rules
        self._rows = rows
        self._numbers = numbers
        self._known: tuple[Sequence[Any], Joined] | None = None
        self._reading = threading.Lock()

    def joined(
        self, field: str = "metrics", instead: str = "Ask for visitors.", as_of: int | None = None
    ) -> Joined:
        """Who is one person with whom just now, or by the links recorded by an instant (epoch milliseconds).

        Guards are those of now.
        Raises ``Rejected`` (``not_available``), naming ``field`` and what to do ``instead``, when there are more than
        ``MOST_LINKS`` links.
        """
        with self._reading:
            state = tuple(self._rows(load_sql("people_state", identity_links=self._links), {})[0])
            if as_of is None and self._known is not None and self._known[0] == state:
                return self._known[1]
            statements = int(state[0])
            if statements > MOST_LINKS:
                raise Rejected(
                    "not_available",
                    f"people are told of up to {MOST_LINKS:,} links between visitors and ids; here are"
                    f" {statements:,}. {instead}",
                    field,
                )
            joined = self._read(as_of)
            if as_of is None:
                self._known = (state, joined)
            return joined

    def told_blocked(self) -> Names:
        """Ids that senders of deals told and that stand for nobody by the rules, by hash."""
        return self._blocked(load_sql("told_blocked", conversions=self._conversions))

    def _read(self, as_of: int | None) -> Joined:
        sql = load_sql("people_links", identity_links=self._links, known=known_by(as_of))
        visitors, ids, about = self._numbers(sql, MOST_LINKS, {"as_of": as_of or 0}).reshape(-1, 3).T
        blocked = self._blocked(load_sql("people_blocked", identity_links=self._links))
        links = LinkColumns(
            visitors,
            ids,
            (about & 3).astype(np.uint8),
            (about & 4) > 0,
            np.isin(ids, blocked),
            (about & 8) > 0,
        )
        return joined_by(links, self._rules)

    def _blocked(self, sql: str) -> Names:
        found: Sequence[Sequence[Any]] = ()
        if self._rules.blocked_ids:
            found = self._rows(sql, {"blocked": list(self._rules.blocked_ids)})
        return np.array([link for id_, link in found if is_blocked(id_, self._rules)], dtype=np.uint64)
