"""A patient client of the collector: sends a hit until it is acknowledged, always under the same ``event_id``.

What was sent but not acknowledged is sent again, so a hit may arrive twice; the system counts it once.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import aiohttp

from attribution.errors import Misconfigured, Transient

MAX_BATCH = 200
"""Hits in one ``POST /v1/batch``; the collector takes up to 500 hits and a megabyte."""
MAX_BATCH_BYTES = 700_000
REQUEST_TIMEOUT_S = 15.0
PATIENCE_S = 90.0
"""How long one request is repeated before giving up."""
PIXELS_PER_SECOND = 1_200
PIXEL_BURST_S = 0.1
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 2.0
_DROPPED = "X-Headwater-Dropped"
"""Why the collector has not kept a pixel, which gets its GIF and a 200 all the same."""
_FOR_NOW = frozenset({"not_durable", "rate_limited", "internal"})
"""Reasons to ask again."""


@dataclass(frozen=True)
class Refusal:
    """Why the collector did not take one hit of a batch."""

    code: str
    message: str
    field: str


@dataclass(frozen=True)
class SpendCounts:
    """What became of facts of spend."""

    counts: Mapping[str, int]
    """``new``, ``replaced``, ``unchanged``: durable."""
    refused: list[tuple[int, Refusal]]
    """Index and why."""


class Intake:
    """One collector and one site. Use ``async with open_intake(...)``."""

    def __init__(
        self, session: aiohttp.ClientSession, url: str, site_key: str, patience: float | None = None
    ) -> None:
        """``patience``: seconds for which one request is repeated (None: ``PATIENCE_S``)."""
        self._session = session
        self._patience = patience
        self._url = url.rstrip("/")
        self._site_key = site_key
        self._next_pixel_at = 0.0
        self.retries = 0
        """Requests that had to be repeated: each hit in them may have arrived twice."""
        self.repeated_hits = 0
        """Hits in requests that may have been taken although no answer came."""

    async def pixel(self, fields: Mapping[str, str], user_agent: str) -> None:
        """``GET /p.gif``; returns when the hit is acknowledged.

        Raises ``Transient`` when patience ends, ``Misconfigured`` when the hit is refused.
        """
        await self._pace()
        params = {"site": self._site_key, **fields}
        headers = {"User-Agent": user_agent}
        status, body = await self._send("GET", "/p.gif", 1, params=params, headers=headers)
        if status != 200 or not body.startswith(b"GIF"):
            raise _refused(status, body)

    async def batch(self, hits: Sequence[Mapping[str, Any]]) -> list[Refusal | None]:
        """``POST /v1/batch``; one entry per hit: None = durable, else why not.

        Raises ``Transient`` when patience ends, ``Misconfigured`` when the whole batch is refused.
        """
        body = {"batch": [_batch_item(hit, self._site_key) for hit in hits]}
        results = _results_of(*await self._send("POST", "/v1/batch", len(hits), json=body))
        if len(results) != len(hits):
            raise Misconfigured(
                f"The collector answered {len(results)} of {len(hits)} hits of a batch.",
                "Use client and collector of one version.",
            )
        return [_refusal_of(result) for result in results]

    async def spend(self, facts: Sequence[Mapping[str, Any]], key: str = "") -> SpendCounts:
        """``POST /v1/spend``; ``key`` is its secret, if it has one.

        Raises ``Transient`` when patience ends, ``Misconfigured`` when the whole body is refused.
        """
        body = {"site": self._site_key, "facts": facts}
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        status, text = await self._send("POST", "/v1/spend", len(facts), json=body, headers=headers)
        answer = _object_of(text)
        if status == 401 or not isinstance(answer.get("refused"), list):
            raise _refused(status, text, "HEADWATER_SPEND_KEY and the site key")
        return SpendCounts(
            {kind: int(answer.get(kind, 0)) for kind in ("new", "replaced", "unchanged")},
            [(int(each["index"]), _why(each)) for each in answer["refused"]],
        )

    async def webhook(self, sender: str, body: bytes, headers: Mapping[str, str]) -> None:
        """``POST /webhooks/<sender>``; returns when the delivery is acknowledged.

        Raises ``Transient`` when patience ends, ``Misconfigured`` when the delivery is refused.
        """
        path = f"/webhooks/{sender}?site={self._site_key}"
        status, text = await self._send("POST", path, 0, data=body, headers=headers)
        if status // 100 != 2:
            raise _refused(status, text, "HEADWATER_WEBHOOKS_FILE")

    async def _pace(self) -> None:
        """Keep under the collector's rate limit: over it the pixel answers its GIF and keeps nothing."""
        now = asyncio.get_running_loop().time()
        self._next_pixel_at = max(self._next_pixel_at, now - PIXEL_BURST_S) + 1 / PIXELS_PER_SECOND
        if (wait := self._next_pixel_at - now) > 0:
            await asyncio.sleep(wait)

    async def _send(self, method: str, path: str, hits: int, **options: Any) -> tuple[int, bytes]:
        """Status and body of the answer that counts; in place of a GIF that was dropped, why."""
        loop = asyncio.get_running_loop()
        patience = PATIENCE_S if self._patience is None else self._patience
        deadline = loop.time() + patience
        pause = _FIRST_PAUSE_S
        while True:
            try:
                async with self._session.request(method, self._url + path, **options) as response:
                    body = await response.read()
                    dropped = response.headers.get(_DROPPED, "")
                    problem = f"HTTP {response.status} {dropped}".strip()
                    if (
                        response.status not in (408, 429)
                        and response.status < 500
                        and dropped not in _FOR_NOW
                    ):
                        return response.status, dropped.encode() or body
                    pause = max(pause, _retry_after(response))
            except (aiohttp.ClientError, TimeoutError) as error:
                problem = f"{type(error).__name__}: {error}"
                self.repeated_hits += hits
            if loop.time() + pause > deadline:
                raise Transient(
                    f"No answer from the collector at {self._url} for {patience:.0f} s: {problem}."
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
async def open_intake(
    url: str, site_key: str, *, connections: int = 32, patience: float | None = None
) -> AsyncIterator[Intake]:
    """A client with at most ``connections`` requests under way. Environment proxies are not used."""
    timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S)
    # The collector's visitor cookie must not travel from one simulated browser to the next.
    jar = aiohttp.DummyCookieJar()
    connector = aiohttp.TCPConnector(limit=connections)
    async with aiohttp.ClientSession(
        connector=connector, timeout=timeout, cookie_jar=jar, json_serialize=_to_json
    ) as session:
        yield Intake(session, url, site_key, patience)


_to_json = partial(json.dumps, ensure_ascii=False, separators=(",", ":"))


def _results_of(status: int, body: bytes) -> list[dict[str, Any]]:
    """One entry per hit of a batch. Raises ``Misconfigured`` when the batch as a whole was refused."""
    # All hits refused: the status is theirs, and the results say which is which.
    if isinstance(results := _object_of(body).get("results"), list) and status != 401:
        return results
    raise _refused(status, body)


def _object_of(body: bytes) -> dict[str, Any]:
    """The JSON object of an answer; empty if it is none."""
    try:
        answer = json.loads(body)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _refused(status: int, body: bytes, settings: str = "the site key") -> Misconfigured:
    return Misconfigured(
        f"The collector refuses this: HTTP {status} {body.decode(errors='replace')[:300]}.",
        f"Check {settings}, and that collector and client are of one version.",
    )


def _refusal_of(result: Mapping[str, Any]) -> Refusal | None:
    return None if result.get("status") == 200 else _why(result)


def _why(result: Mapping[str, Any]) -> Refusal:
    return Refusal(str(result.get("code", "")), str(result.get("message", "")), str(result.get("field", "")))


def _batch_item(hit: Mapping[str, Any], site_key: str) -> dict[str, Any]:
    """A hit of the contract's fields; what a pixel takes from its request stands in ``context``."""
    item: dict[str, Any] = {"type": "track", "site": site_key, **hit}
    country = item.pop("country", None)
    location = {"country": country} if country else None
    context = {
        "userAgent": item.pop("user_agent", None),
        "ip": item.pop("ip", None),
        "location": location,
    }
    item["context"] = {name: value for name, value in context.items() if value}
    return item


def _retry_after(response: aiohttp.ClientResponse) -> float:
    """Seconds of a ``Retry-After`` header, at most five; 0 without one."""
    text = response.headers.get("Retry-After", "")
    return min(float(text), 5.0) if text.replace(".", "", 1).isdecimal() else 0.0
