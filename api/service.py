"""Questions answered without HTTP: what the endpoints and the command line share."""

from __future__ import annotations

import time
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import Error

from api.answers import Cell, Coverage, OtherCurrency, QueryAnswer, QueryMeta
from api.catalog import RATIO_DIGITS, money_text, plain_number
from api.explain import Explanation, explain
from api.plan import Plan, build_plan
from api.requests import QueryRequest
from attribution.policy import AttributionPolicy
from sinks.engine_errors import explain_error

_COUNTS = frozenset({"hits", "page_views", "impressions", "sessions", "sessions_base", "visitors"})
_ZERO = Decimal(0)
MAX_RESULT_ROWS = 1_000_000
"""Of one statement: far more than any answer has. A conversion with a long history needs the most."""
MAX_RESULT_BYTES = 256 * 1024 * 1024


class QueryService:
    """Answers questions about one database. Blocking; threads may share it."""

    def __init__(
        self,
        client: Client,
        database: str,
        policy: AttributionPolicy,
        *,
        currency: str = "USD",
        max_seconds: int = 30,
    ) -> None:
        """``currency`` is used when a question names none; ``max_seconds`` limits each statement."""
        self._client = client
        self._database = database
        self._policy = policy
        self._currency = currency
        self._settings = _limits(client, max_seconds)

    def query(self, request: QueryRequest) -> QueryAnswer:
        """The answer to ``request``, in one round trip.

        Raises ``Rejected`` (the question names something that is not there), ``Transient`` or
        ``Misconfigured``.
        """
        started = time.perf_counter()
        plan = build_plan(request, self._database, self._policy.models, self._currency)
        try:
            found = self._client.query(
                plan.sql, parameters=plan.parameters, settings=self._settings
            ).result_rows
        except Error as error:
            raise explain_error(error) from error
        asked = sorted((row for row in found if row[0] == 0), key=lambda row: row[1])
        rows = [_row(plan, dimensions, measures) for _, _, dimensions, measures in asked]
        if not rows and not plan.dimensions and request.offset == 0:
            # A total over nothing is zero, not absent.
            rows = [_row(plan, [], ["0"] * len(plan.measures))]
        more = len(rows) > plan.limit
        coverage = _coverage([(d[0], m) for part, _, d, m in found if part == 1], plan.currency)
        return QueryAnswer(
            (*(d.name for d in plan.dimensions), *(m.name for m in plan.metrics)),
            rows[: plan.limit],
            QueryMeta(
                model=request.model,
                basis=request.basis,
                currency=plan.currency,
                as_of=None,
                timezone="UTC",
                bases={metric.name: metric.base for metric in plan.metrics if metric.base},
                coverage=coverage,
                next_offset=request.offset + plan.limit if more else None,
                elapsed_ms=round((time.perf_counter() - started) * 1000, 1),
            ),
        )

    def explain(self, reference: str) -> Explanation:
        """Everything about the conversion with that id or, if there is none, that order id.

        Raises ``Rejected`` with reason ``not_found`` or ``ambiguous``, ``Transient`` or ``Misconfigured``.
        """
        return explain(self._client, self._database, self._policy, reference, self._settings)


def _limits(client: Client, max_seconds: int) -> dict[str, Any]:
    """Settings of every statement that answers a question: it may only read, and only so much and so long.

    ``readonly = 1`` forbids table functions that reach files and other hosts too. An account that is read-only by its
    profile cannot be told so again.
    """
    given = client.server_settings.get("readonly")
    read_only = {"readonly": 1} if given is None or given.value == "0" else {}
    return {
        **read_only,
        "max_execution_time": max_seconds,
        "max_result_rows": MAX_RESULT_ROWS,
        "max_result_bytes": MAX_RESULT_BYTES,
        "result_overflow_mode": "throw",
    }


def _row(plan: Plan, dimensions: Sequence[str], measures: Sequence[str]) -> list[Cell]:
    values: dict[str, Any] = {
        name: int(text) if name in _COUNTS else Decimal(text)
        for name, text in zip(plan.measures, measures, strict=True)
    }
    computed = (
        metric.value(*(values[name] for name in metric.measures), plan.currency) for metric in plan.metrics
    )
    return [*(dimensions if plan.dimensions else ()), *computed]


def _coverage(found: Sequence[tuple[str, Sequence[str]]], currency: str) -> Coverage:
    sums = {code: [Decimal(text) for text in texts] for code, texts in found}
    attributed, unattributed = sums.get(currency, [_ZERO] * 4)[:2]
    whole = attributed + unattributed
    others = tuple(
        OtherCurrency(code, money_text(given[0] + given[1], code), plain_number(given[2] + given[3]))
        for code, given in sorted(sums.items())
        if code != currency and any(given)
    )
    conversions = [sum((given[place] for given in sums.values()), _ZERO) for place in (2, 3)]
    return Coverage(
        revenue=money_text(whole, currency),
        attributed_revenue=money_text(attributed, currency),
        unattributed_revenue=money_text(unattributed, currency),
        attributed_share=plain_number((attributed / whole).quantize(RATIO_DIGITS)) if whole else None,
        conversions=plain_number(sum(conversions, _ZERO)),
        attributed_conversions=plain_number(conversions[0]),
        unattributed_conversions=plain_number(conversions[1]),
        other_currencies=others,
    )
