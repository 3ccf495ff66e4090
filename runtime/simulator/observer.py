"""What the system says about the simulated world: reports by the query API, drops from ClickHouse."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

import aiohttp

from attribution.errors import Misconfigured, Transient
from attribution.policy import AttributionPolicy
from runtime.simulator.crm import CURRENCY
from sinks.client import connect

MODELS = AttributionPolicy().models
MAX_ROWS = 10_000

Place = tuple[str, str, str]
"""(channel, source, campaign)."""


@dataclass(frozen=True)
class Amounts:
    """Sums of one place. Money in US cents, conversions with all their digits."""

    hits: int = 0
    sessions: int = 0
    conversions: Decimal = Decimal(0)
    revenue: int = 0

    def __add__(self, other: Amounts) -> Amounts:
        return Amounts(
            self.hits + other.hits,
            self.sessions + other.sessions,
            self.conversions + other.conversions,
            self.revenue + other.revenue,
        )

    def __neg__(self) -> Amounts:
        return Amounts(-self.hits, -self.sessions, -self.conversions, -self.revenue)


@dataclass(frozen=True)
class Snapshot:
    """Everything reported at one moment."""

    traffic: Mapping[Place, Amounts]
    """Hits and sessions."""
    credit: Mapping[str, Mapping[Place, Amounts]]
    """Conversions and revenue by model."""
    drops: Mapping[str, int]
    """Hits dropped by the workers, by reason."""

    def since(self, before: Snapshot) -> Snapshot:
        """What has come since ``before``; places where nothing did are left out."""
        credit = {model: _since(after, before.credit.get(model, {})) for model, after in self.credit.items()}
        drops = {reason: count - before.drops.get(reason, 0) for reason, count in self.drops.items()}
        return Snapshot(_since(self.traffic, before.traffic), credit, drops)


NOTHING = Snapshot({}, {}, {})


class Observer:
    """Asks one running system. Use ``async with open_observer(...)``."""

    def __init__(self, session: aiohttp.ClientSession, run: Mapping[str, Any]) -> None:
        self._session = session
        self._api = str(run["api"])
        self._url = f"{self._api}/v1/query"
        self._site = str(run["site_key"])
        self._headers = {"Authorization": f"Bearer {run['read_key']}"}
        self._client = connect(str(run["clickhouse"]), str(run.get("database", "headwater")))

    async def snapshot(self, models: Sequence[str] = MODELS) -> Snapshot:
        """Traffic, credit under each of ``models``, drops. Raises ``Transient``."""
        traffic = await self._places(["hits", "sessions"], MODELS[0])
        credit = {model: await self._places(["conversions", "revenue"], model) for model in models}
        return Snapshot(traffic, credit, await self.drops())

    async def models(self) -> list[str]:
        """Every model that something is credited under. Raises ``Transient``."""
        url = f"{self._api}/v1/models"
        try:
            async with self._session.get(url, headers=self._headers) as response:
                answer = _decode(await response.text())
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Transient(f"No answer from the query API at {url}: {error}.") from error
        return [model["name"] for model in answer["models"] if model["is_credited"]]

    async def by_channel(self, model: str) -> dict[str, Amounts]:
        """All metrics by channel under one model: what a dashboard shows. Raises ``Transient``."""
        metrics = ["hits", "sessions", "conversions", "revenue"]
        return {row[0]: _amounts(metrics, row[1:]) for row in await self.ask(metrics, ["channel"], model)}

    async def drops(self) -> dict[str, int]:
        """Hits of the site that workers dropped, by reason."""
        sql = "SELECT reason, sum(count) FROM drops WHERE site = {site:String} GROUP BY reason"
        answer = await asyncio.to_thread(self._client.query, sql, {"site": self._site})
        return {str(reason): int(count) for reason, count in answer.result_rows}

    async def _places(self, metrics: list[str], model: str) -> dict[Place, Amounts]:
        rows = await self.ask(metrics, ["channel", "source", "campaign"], model)
        return {(row[0], row[1], row[2]): _amounts(metrics, row[3:]) for row in rows}

    async def rates(self) -> dict[date, Decimal]:
        """Dollars for one euro by day, as the system converts: own rates count before those of the ECB."""
        sql = (
            "SELECT toString(day), toString(rate) FROM fx_rates WHERE currency = {currency:String}"
            " ORDER BY day, source = 'own', recorded_at"
        )
        answer = await asyncio.to_thread(self._client.query, sql, {"currency": CURRENCY})
        return {date.fromisoformat(day): Decimal(rate) for day, rate in answer.result_rows}

    async def ask(
        self, metrics: Sequence[str], dimensions: Sequence[str], model: str, **more: Any
    ) -> list[list[Any]]:
        """Rows of the site, dimensions first; ``more``: other fields of the question. Raises ``Transient``."""
        question = question_of(self._site, metrics, dimensions, model, **more)
        try:
            async with self._session.post(self._url, json=question, headers=self._headers) as response:
                # Decimals keep their digits: a float would hide a missing billionth.
                text = await response.text()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Transient(f"No answer from the query API at {self._url}: {error}.") from error
        if response.status in (429, 503):
            raise Transient(f"The query API is busy: {text[:300]}.")
        if response.status != 200:
            raise Misconfigured(
                f"The query API refuses: HTTP {response.status} {text[:300]}.", "Check the read key."
            )
        answer = _decode(text)
        columns = answer["columns"]
        names = [column["name"] if isinstance(column, dict) else column for column in columns]
        order = [names.index(name) for name in (*dimensions, *metrics)]
        return [[row[index] for index in order] for row in answer["rows"]]


def question_of(
    site: str, metrics: Sequence[str], dimensions: Sequence[str], model: str, **more: Any
) -> dict[str, Any]:
    """A question about one site.

    Nothing is converted unless ``more`` says so: all that the simulated shop takes is in its own currency, and every
    model is asked for, again and again.
    """
    return {
        "metrics": list(metrics),
        "dimensions": list(dimensions),
        "filters": [["site", "is", [site]]],
        "model": model,
        "basis": "conversion",
        "currency": CURRENCY,
        "convert": False,
        "limit": MAX_ROWS,
        **more,
    }


@asynccontextmanager
async def open_observer(run: Mapping[str, Any]) -> AsyncIterator[Observer]:
    """An observer of the system that ``run`` (as in run.json) describes."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=15)) as session:
        yield await asyncio.to_thread(Observer, session, run)


def _decode(text: str) -> dict[str, Any]:
    decoded: dict[str, Any] = json.loads(text, parse_float=Decimal)
    return decoded


def _amounts(metrics: list[str], values: list[Any]) -> Amounts:
    by_name = dict(zip(metrics, values, strict=True))
    return Amounts(
        int(by_name.get("hits") or 0),
        int(by_name.get("sessions") or 0),
        Decimal(str(by_name.get("conversions") or 0)),
        int(Decimal(str(by_name.get("revenue") or 0)) * 100),
    )


def _since(after: Mapping[Place, Amounts], before: Mapping[Place, Amounts]) -> dict[Place, Amounts]:
    nothing = Amounts()
    changes = {
        place: after.get(place, nothing) + -before.get(place, nothing) for place in {**before, **after}
    }
    return {place: change for place, change in changes.items() if change != nothing}
