"""Questions answered without HTTP: what the endpoints and the command line share."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import numpy as np
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import Error
from msgspec import UNSET

from api.answers import Cell, CustomersMeta, LearntShare, LearntTable, Maturity, QueryAnswer, QueryMeta
from api.campaign_names import campaign_names
from api.changes import ChangesAnswer, ChangesRequest, changes_answer, plan_changes
from api.coverage import coverage_of, spend_of
from api.customers import Customers, Known
from api.exchange import Exchange
from api.explain import Explanation, explain
from api.funnel import FunnelAnswer, FunnelRequest, funnel_answer, span_of
from api.funnel_reading import FunnelReader
from api.instants import instant_text
from api.maturity import maturity_of
from api.models import LEARNT, ModelAbout, models_about
from api.numbers import plain_number
from api.order import in_order
from api.path_report import PathsAnswer, PathsRequest, paths_answer, plan_paths
from api.people import People
from api.plan import QUALIFIED_LEADS, Conversion, Plan, Terms, build_plan
from api.queries import load_sql
from api.rates import RateBook
from api.reach import reach_of
from api.requests import QueryRequest
from api.rows import cells_of, groups_of, ranges_of
from api.selection import END_OF_TIME, parse_range, wanted_currency
from api.spend_matching import MatchingAnswer, MatchingRequest, spend_matching
from attribution.bulk.persons import Names
from attribution.funnel import DEFAULT_FUNNEL, Funnel
from attribution.policy import AttributionPolicy
from sinks.engine_errors import explain_error
from sinks.names import qualify

_MONEY_PARTS = frozenset({1, 3, 4})
"""Parts of the answer of ``query.sql`` that begin with a currency."""
_OF_CLAIMS = 5
"""The part that says how many rows ``dropped_conversions`` has."""
_OF_RATES = 6
"""The part that says how many rates there are."""
_IN_BOOKS = frozenset({1, 4})
"""Parts that say of all money in the books, by currency, if it is converted also its first day."""
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
        qualified_leads: tuple[str, ...] = QUALIFIED_LEADS,
        funnel: Funnel = DEFAULT_FUNNEL,
        margin: Decimal = Decimal(1),
        max_seconds: int = 30,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``currency`` is used when a question names none, ``qualified_leads`` are conversion types, ``margin`` is the
        part of revenue that is margin, 0 to 1; ``max_seconds`` limits each statement. ``clock``: seconds since 1970,
        for how old touches are.
        """
        self._client = client
        self._database = database
        self._policy = policy
        self._currency = currency
        self._clock = clock
        leads = (*policy.lead_events, *policy.valueless)
        self._terms = Terms(currency, qualified_leads, policy.opportunity_events, leads, funnel)
        self._exchange = Exchange(database)
        self._book = RateBook(database)
        self._settings = _limits(client, max_seconds)
        self._has_claims = False
        """Table ``dropped_conversions`` has been seen to have rows."""
        self._people = People(database, policy.identity, self._ask, self._ask_numbers)
        self._funnel = FunnelReader(database, funnel, policy, self._people)
        self._customers = Customers(database, policy.identity, self._people, self._ask, self._ask_numbers)
        self._margin = margin

    def query(self, request: QueryRequest) -> QueryAnswer:
        """The answer to ``request``, in one round trip; the first one of all that finds dropped conversions takes two.

        Raises ``Rejected`` (the question names something that is not there), ``Transient`` or
        ``Misconfigured``.
        """
        started = time.perf_counter()
        credited = self._credited("" if request.spread else request.model)
        plan, maturity, found = self._planned(request, credited)
        columns = (*(d.name for d in plan.dimensions), *(m.name for m in plan.metrics))
        joined = self._people.joined() if plan.has_people else None
        known = self._customers.known(plan) if plan.customers else None
        groups = groups_of(plan, found, joined, known, self._margin)
        offset = 0
        if plan.own_order:
            offset = request.offset
            everything = [cells_of(plan, group) for group in groups]
            groups = [groups[place] for place in in_order(everything, columns, plan.own_order)]
        more = len(groups) > offset + plan.limit
        groups = groups[offset : offset + plan.limit]
        rows = [cells_of(plan, group) for group in groups]
        return QueryAnswer(
            columns,
            rows,
            QueryMeta(
                model=request.model,
                basis=request.basis,
                currency=plan.currency,
                as_of=None if plan.as_of is None else instant_text(plan.as_of),
                timezone="UTC",
                bases={metric.name: metric.base for metric in plan.metrics if metric.base},
                coverage=coverage_of(
                    [row[:4] for row in found if row[0] > 0], plan.currency, has_drops=plan.as_of is None
                ),
                spend=spend_of([row[:4] for row in found], plan.currency) if plan.has_cost else None,
                reach=reach_of(group.values for group in groups) if "reach" in columns else None,
                maturity=maturity,
                customers=None if known is None else self._of_customers(known),
                campaign_names=self._campaign_names(columns, rows),
                spread_models=plan.spread,
                learnt=self._learnt(request.model) if request.model in LEARNT else None,
                next_offset=request.offset + plan.limit if more else None,
                elapsed_ms=round((time.perf_counter() - started) * 1000, 1),
            ),
            [ranges_of(plan, group) for group in groups] if plan.spread else UNSET,
        )

    def paths(self, request: PathsRequest) -> PathsAnswer:
        """The paths before conversions. Raises ``Rejected``, ``Transient`` or ``Misconfigured``."""
        started = time.perf_counter()
        plan = plan_paths(request, self._database, self._currency, self._terms.pipeline)
        return paths_answer(plan, request, plan.read(request.limit, self._ask), started)

    def funnel(self, request: FunnelRequest) -> FunnelAnswer:
        """Who reached which stage, and what it cost. Raises ``Rejected``, ``Transient`` or ``Misconfigured``."""
        started = time.perf_counter()
        cohort = self._funnel.cohort(
            span_of(request), request.site, self._ask, self._ask_numbers, by_channel=request.is_by_channel
        )
        return funnel_answer(request, self._terms.funnel, cohort, self._spend, started)

    def _spend(self, request: QueryRequest) -> tuple[Mapping[str, str], str]:
        """By channel, or under "" of all; and the currency of it."""
        answer = self.query(request)
        return {
            str(row[0]) if len(row) > 1 else "": str(row[-1]) for row in answer.rows
        }, answer.meta.currency

    def spend_matching(self, request: MatchingRequest) -> MatchingAnswer:
        """Spend and touches that did not meet. Raises ``Rejected``, ``Transient`` or ``Misconfigured``."""
        return spend_matching(request, self._database, self._ask)

    def changes(self, request: ChangesRequest) -> ChangesAnswer:
        """What a report changed by between two instants. Raises ``Rejected``, ``Transient`` or ``Misconfigured``."""
        started = time.perf_counter()
        terms, credited = self._terms, self._credited(request.model)
        plan = plan_changes(request, self._database, credited, terms.currency, terms.pipeline, terms.funnel)
        return changes_answer(plan, request, self._ask(plan.sql, plan.parameters), started)

    def _planned(
        self, request: QueryRequest, credited: Sequence[str]
    ) -> tuple[Plan, Maturity | None, Sequence[Sequence[Any]]]:
        """The plan and what it found; asked anew if that has money of a currency that was not known to be used."""
        is_again = False
        while True:
            wanted = wanted_currency(request.currency or self._currency)
            conversion = self._exchange.conversion(wanted, self._ask) if request.convert else None
            if conversion is not None and request.as_of is None:
                conversion = self._with_rates(conversion, request, wanted, anew=is_again)
            plan = build_plan(request, self._database, credited, self._terms, conversion)
            plan, maturity = self._with_maturity(plan)
            found = self._found(plan)
            if not is_again and conversion is not None and conversion.rates is not None:
                is_again = not conversion.rates.hold(*_of_rates(found))
                if is_again:
                    continue
            seen = frozenset(row[2][0] for row in found if row[0] in _MONEY_PARTS) - {""}
            if plan.customers:
                # What they have brought since may be in a currency that nothing of the time asked for is in.
                seen |= self._exchange.in_use(self._ask)
            if not self._exchange.learn(seen) or not request.convert:
                return plan, maturity, found

    def _with_rates(
        self, conversion: Conversion, request: QueryRequest, wanted: str, *, anew: bool
    ) -> Conversion:
        """As of an instant the roll-ups do not tell which day is the first, so no rates are given then."""
        days = conversion.days(*parse_range(request.date_range))
        rates = self._book.rates(wanted, conversion.currencies, days, self._ask, anew=anew)
        return replace(conversion, rates=rates)

    def _with_maturity(self, plan: Plan) -> tuple[Plan, Maturity | None]:
        if not plan.has_maturity:
            return plan, None
        at_ms = int(self._clock() * 1000) if plan.as_of is None else plan.as_of
        maturity, arrived = maturity_of(plan, self._database, self._policy, at_ms, self._ask)
        return replace(
            plan, parameters={**plan.parameters, "at": at_ms // 1000, "arrived": arrived}
        ), maturity

    def _found(self, plan: Plan) -> Sequence[Sequence[Any]]:
        if self._has_claims:
            return self._ask(f"{plan.sql}\nUNION ALL\n{plan.claims}", plan.parameters)
        found = self._ask(plan.sql, plan.parameters)
        self._has_claims = any(row[0] == _OF_CLAIMS and int(row[3][0]) for row in found)
        return [*found, *self._ask(plan.claims, plan.parameters)] if self._has_claims else found

    def _ask(
        self, sql: str, parameters: Mapping[str, Any], settings: Mapping[str, Any] = MappingProxyType({})
    ) -> Sequence[Sequence[Any]]:
        try:
            rows: Sequence[Sequence[Any]] = self._client.query(
                sql, parameters=dict(parameters), settings={**settings, **self._settings}
            ).result_rows
        except Error as error:
            raise explain_error(error) from error
        return rows

    def _ask_numbers(
        self, sql: str, most: int, parameters: Mapping[str, Any] = MappingProxyType({})
    ) -> Names:
        """Up to ``most`` rows, all of them whole numbers, as one array."""
        settings = {**self._settings, "max_result_rows": most}
        try:
            found = self._client.query_np(sql, parameters=dict(parameters), settings=settings)
            return np.asarray(found, dtype=np.uint64)
        except Error as error:
            raise explain_error(error) from error

    def _of_customers(self, known: Known) -> CustomersMeta:
        return CustomersMeta(len(known.firsts), known.without_person, plain_number(self._margin))

    def _campaign_names(
        self, columns: Sequence[str], rows: Sequence[Sequence[Cell]]
    ) -> dict[str, str] | None:
        if "campaign" not in columns:
            return None
        place = columns.index("campaign")
        return campaign_names((row[place] for row in rows), self._database, self._ask)

    def _learnt(self, model: str) -> LearntTable | None:
        sql = load_sql("learnt", learnt_models=qualify(self._database, "learnt_models"))
        rows = self._ask(sql, {"model": model})
        if not rows:
            return None
        shares = (LearntShare(row[1], *(plain_number(Decimal(text)) for text in row[2:])) for row in rows)
        return LearntTable(rows[0][0], tuple(shares))

    def models(self) -> list[ModelAbout]:
        """Every model that can be asked for, or could be. Raises ``Transient`` or ``Misconfigured``."""
        return models_about(self._credited())

    def _credited(self, wanted: str = "") -> Sequence[str]:
        """Models that an answer can be under: those of the policy and those that have rows.

        What the policy names already is not looked for.
        """
        if wanted in self._policy.models:
            return self._policy.models
        sql = load_sql("models", channel_metrics=qualify(self._database, "channel_metrics"))
        found = self._ask(sql, {})
        return tuple(dict.fromkeys((*self._policy.models, *(row[0] for row in found))))

    def explain(self, reference: str) -> Explanation:
        """Everything about the conversion with that id or, if there is none, that order id.

        Raises ``Rejected`` with reason ``not_found`` or ``ambiguous``, ``Transient`` or ``Misconfigured``.
        """
        return explain(self._client, self._database, self._policy, reference, self._settings)


def _of_rates(found: Sequence[Sequence[Any]]) -> tuple[int, int]:
    """How many rates there are, and the first day (since 1970) of all money that was found in the books."""
    ((rows,),) = [row[3] for row in found if row[0] == _OF_RATES]
    return int(rows), min((int(row[3][6]) for row in found if row[0] in _IN_BOOKS), default=END_OF_TIME)


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
