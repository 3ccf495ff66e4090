"""What is known of the currencies that money here is in: whether anything has to be converted, and what can be.

Most installations have one currency, and their questions shall not pay for the others.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from api.plan import Conversion
from api.queries import load_sql
from sinks.names import qualify

EURO = "EUR"
_DAY_S = 86_400
_HORIZON_DAYS = 366
"""How far into the future the last rate is taken to hold: clocks of senders are ahead by minutes, not by years."""
_RATES_SECONDS = 60.0
"""How long it may take until rates of a currency that had none are seen."""

Ask = Callable[[str, Mapping[str, Any]], Sequence[Sequence[Any]]]


class Exchange:
    """Of one database. Threads may share it: what is written is whole, and true whichever of them wrote last."""

    def __init__(self, database: str, clock: Callable[[], float] = time.time) -> None:
        """``clock``: seconds since 1970."""
        self._database = database
        self._clock = clock
        self._used: frozenset[str] | None = None
        self._rated: frozenset[str] = frozenset()
        self._rated_at = float("-inf")

    def conversion(self, wanted: str, ask: Ask) -> Conversion | None:
        """What has to be converted into ``wanted``, and can be; ``None`` if that is nothing."""
        if self._used is None:
            self._used = self.in_use(ask)
        others = self._used - {wanted}
        if not others:
            return None
        rated = self._with_rates(ask)
        convertible = others & rated
        if wanted not in rated or not convertible:
            return None
        horizon = int(self._clock() // _DAY_S) + _HORIZON_DAYS
        return Conversion((*sorted(convertible), wanted), horizon)

    def in_use(self, ask: Ask) -> frozenset[str]:
        """Every currency that money here is in just now."""
        metrics = qualify(self._database, "channel_metrics")
        return frozenset(row[0] for row in ask(load_sql("currencies", channel_metrics=metrics), {}))

    def learn(self, seen: frozenset[str]) -> bool:
        """Whether ``seen``, the currencies of an answer, has one that was not known to be used: it is from now on."""
        used = self._used or frozenset()
        self._used = used | seen
        return not seen <= used

    def _with_rates(self, ask: Ask) -> frozenset[str]:
        if self._clock() - self._rated_at >= _RATES_SECONDS:
            rows = ask(load_sql("rated", fx_rates=qualify(self._database, "fx_rates")), {})
            self._rated = frozenset((EURO, *(row[0] for row in rows)))
            self._rated_at = self._clock()
        return self._rated
