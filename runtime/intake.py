"""A patient client of the collector: sends a hit until it is acknowledged, always under the same ``event_id``.

What was sent but not acknowledged is sent again, so a hit may arrive twice; the system counts it once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from attribution.errors import Misconfigured, Transient

MAX_BATCH = 200
"""Hits in one ``POST /v1/batch``; the collector takes up to 500 hits and a megabyte."""
MAX_BATCH_BYTES = 700_000
REQUEST_TIMEOUT_S = 15.0
PATIENCE_S = 90.0
"""How long one request is repeated before giving up."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 2.0


@dataclass(frozen=True)
class Refusal:
    """Why the collector did not take one hit of a batch."""

    code: str
    message: str
    field: str


class Intake:
    """One collector and one site. Use ``async with open_intake(...)``."""

    def __init__(self, session: aiohttp.ClientSession, url: str, site_key: str) -> None:
        self._session = session
        self._url = url.rstrip("/")
        self._site_key = site_key
        self.retries = 0
        """Requests that had to be repeated: each hit in them may have arrived twice."""
        self.repeated_hits = 0
        """Hits in requests that may have been taken although no answer came."""

    async def pixel(self, fields: Mapping[str, str], user_agent: str) -> None:
        """``GET /p.gif``; returns when the hit is acknowledged. Raises ``Transient`` after ``PATIENCE_S``."""
        params = {"site": self._site_key, **fields}
        headers = {"User-Agent": user_agent}
        await self._send("GET", "/p.gif", 1, params=params, headers=headers)

    async def batch(self, hits: Sequence[Mapping[str, Any]]) -> list[Refusal | None]:
        """``POST /v1/batch``; one entry per hit: None = durable, else why not.

        Raises ``Transient`` after ``PATIENCE_S``, ``Misconfigured`` when the whole batch is refused.
        """
        body = {"batch": [_batch_item(hit, self._site_key) for hit in hits]}
        answer = await self._send("POST", "/v1/batch", len(hits), json=body)
        refusals: list[Refusal | None] = [None] * len(hits)
        for error in answer.get("errors", ()):
            refusals[int(error["index"])] = Refusal(
                str(error.get("code", "")), str(error.get("message", "")), str(error.get("field", "") or "")
            )
        return refusals

    async def _send(self, method: str, path: str, hits: int, **options: Any) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PATIENCE_S
        pause = _FIRST_PAUSE_S
        while True:
            try:
                async with self._session.request(method, self._url + path, **options) as response:
                    body = await response.read()
                    problem = f"HTTP {response.status}"
                    if response.status < 400:
                        return await response.json() if method == "POST" else {}
                    if response.status not in (429, 408) and response.status < 500:
                        raise Misconfigured(
                            f"The collector refuses {path}: {problem} {body[:300].decode(errors='replace')}.",
                            "Check the site key and that collector and client are of one version.",
                        )
                    pause = max(pause, _retry_after(response))
            except (aiohttp.ClientError, TimeoutError) as error:
                problem = f"{type(error).__name__}: {error}"
                self.repeated_hits += hits
            if loop.time() + pause > deadline:
                raise Transient(
                    f"No answer from the collector at {self._url} for {PATIENCE_S:.0f} s: {problem}."
                )
            self.retries += 1
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_S)


async def carry_all(carriers: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run ``carriers`` side by side; the first error stops the others and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            for carrier in carriers:
                group.create_task(carrier)
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from errors


@asynccontextmanager
async def open_intake(url: str, site_key: str, *, connections: int = 32) -> AsyncIterator[Intake]:
    """A client with at most ``connections`` requests under way. Environment proxies are not used."""
    timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S)
    # The collector's visitor cookie must not travel from one simulated browser to the next.
    jar = aiohttp.DummyCookieJar()
    connector = aiohttp.TCPConnector(limit=connections)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, cookie_jar=jar) as session:
        yield Intake(session, url, site_key)


def _batch_item(hit: Mapping[str, Any], site_key: str) -> dict[str, Any]:
    """A hit of the contract's fields; what a pixel takes from its request stands in ``context``."""
    item: dict[str, Any] = {"type": "track", "site": site_key, **hit}
    context = {"userAgent": item.pop("user_agent", None), "ip": item.pop("ip", None)}
    item["context"] = {name: value for name, value in context.items() if value}
    return item


def _retry_after(response: aiohttp.ClientResponse) -> float:
    """Seconds of a ``Retry-After`` header, at most five; 0 without one."""
    text = response.headers.get("Retry-After", "")
    return min(float(text), 5.0) if text.replace(".", "", 1).isdecimal() else 0.0
