"""The collector's routes: limits before work, and answers only after the hit is durable. Knows no sockets."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import NamedTuple

import msgspec
import structlog

from attribution.consent import denies_analytics
from attribution.errors import Rejected, Transient
from attribution.hit import Hit, encode_hit
from collector.addresses import Client, Proxies, client_of
from collector.bodies import BodyRoom, check_declared, read_body
from collector.config import CollectorConfig
from collector.countries import Countries
from collector.description import openapi_json
from collector.feeds import Feeds
from collector.fields import MAX_LENGTH, Heard, too_long
from collector.identifiers import VisitorCookie, new_visitor_id
from collector.intake import House, Taken, take_body, user_of_basic
from collector.limits import RateLimit
from collector.metrics import CollectorMetrics, Counted, Gauged
from collector.outlets import Outlets
from collector.pixel import hit_of_query
from collector.reasons import Refusal, status_of
from collector.requests import Request, names_with
from collector.responses import (
    HEALTHY,
    JSON_HEADERS,
    PREFLIGHT_HEADERS,
    SUCCESS,
    TEXT_HEADERS,
    BatchAnswer,
    BatchProblem,
    EventResult,
    Headers,
    Ready,
    Response,
    json_bytes,
    pixel_response,
    problem_of,
    result_of,
)
from collector.routes import Route
from collector.segment import BATCH, POSTED
from streams.topics import partition_of

PIXEL = "/p.gif"
RETRY_SECONDS = {
    Refusal.rate_limited: "1",
    Refusal.too_busy: "1",
    Refusal.not_durable: "5",
    Refusal.state_away: "5",
    Refusal.too_many_connections: "5",
}
_CACHED_PARTITIONS = 65_536
_MAX_AGENT = MAX_LENGTH["user_agent"]
_NOT_DURABLE = Rejected(Refusal.not_durable, "The event could not be stored; send it again later.")
_NOT_FOUND = Rejected(Refusal.not_found, "There is nothing here. See /openapi.json.")
_INTERNAL = Rejected(Refusal.internal, "This is our fault; send it again later.")


class Sender(NamedTuple):
    """What headers and address say of whoever sends them."""

    network: str
    """What the rate limit counts."""
    said: tuple[str, str, bool, bool, str, str]
    """The fields of ``Heard`` in their order, without the time."""


log = structlog.get_logger("collector")


class CollectorApp:
    """One collector. ``start`` before the first request, ``stop`` after the last; nothing is shared between apps."""

    def __init__(self, config: CollectorConfig) -> None:
        self.config = config
        self.metrics = CollectorMetrics()
        self.outlets = Outlets(config, self.metrics)
        self.spool = self.outlets.hits.spool
        self.producer = self.outlets.hits.producer
        """Those of hits."""
        self._proxies = Proxies(config.trusted_proxies)
        self._countries = Countries(config.country_header, config.geoip_file, self._proxies)
        self._house = House(config.sites, config.default_currency, self._countries.of_network)
        self.header_names = names_with(self._countries.header)
        """Of the headers that are read."""
        self._rate_limit = RateLimit(config.rate_per_second)
        self._limits_rate = config.rate_per_second > 0
        self._site_limit = RateLimit(config.rate_per_site)
        self._hit_of_query = self._hit_within_rate if config.rate_per_site else hit_of_query
        self.body_room = BodyRoom()
        self._feeds = Feeds(config, self.outlets, self.metrics, self.body_room, self._admit)
        self._cookie = VisitorCookie(config.cookie_secure)
        self._partition = lru_cache(_CACHED_PARTITIONS)(partial(partition_of, partitions=config.partitions))
        self.routes: dict[str, Route] = {
            PIXEL: Route(("GET",), "p.gif", self._pixel),
            "/healthz": Route(("GET",), "healthz", self._healthz),
            "/readyz": Route(("GET",), "readyz", self._readyz),
            "/metrics": Route(("GET",), "metrics", self._metrics_text),
            "/openapi.json": Route(("GET",), "openapi.json", self._openapi),
            **{path: Route(("POST",), kind, partial(self._post, kind)) for path, kind in POSTED.items()},
            **self._feeds.routes,
        }
        self.metrics.gauge(Gauged.body_bytes, lambda: float(self.body_room.taken))

    async def start(self) -> None:
        """Open the spools and begin to send what they hold. Raises ``Misconfigured``."""
        await self.outlets.start()

    async def stop(self) -> None:
        """Make durable what was accepted, give Kafka ``drain_seconds`` to take it, and let go of everything."""
        drained = await self.outlets.stop(self.config.drain_seconds)
        await self._feeds.close()
        log.info("collector_stopped", drained=drained, spool_bytes=self.spool.stored_bytes)

    def sender_of(self, headers: Mapping[str, str], ip: str) -> Sender:
        """Who sends ``headers`` from ``ip``: the same for all requests that do."""
        client = self._client(headers, ip)
        get = headers.get
        said = (
            get("user-agent", ""),
            client.kept_ip,
            get("sec-gpc") == "1",
            get("dnt") == "1",
            self._cookie.read(get("cookie")),
            self._countries.of(headers, ip, client.kept_ip),
        )
        return Sender(client.network, said)

    def take_pixel(
        self, query: str, headers: Mapping[str, str], sender: Sender
    ) -> tuple[Headers | None, asyncio.Future[None] | None]:
        """What the GIF's headers say besides the usual, and what to wait for before it is sent. Never raises.

        Nothing to wait for: the request was no hit. Whoever has waited calls ``keep_pixels`` or ``lose_pixel``.
        """
        answer = None
        config = self.config
        try:
            heard = self._hear(sender)
            hit = self._hit_of_query(query, headers, heard, config.sites, config.default_currency)
            if not hit.visitor_id:
                answer = self._introduce([hit])
            return answer, self.spool.append(self._partition(hit.visitor_id), encode_hit(hit))
        except Rejected as error:
            return self._drop_pixel(error.reason), None
        except Transient:
            return self._drop_pixel(Refusal.not_durable), None
        except Exception:
            log.exception("request_failed", endpoint="p.gif")
            return self._drop_pixel(Refusal.internal), None

    def keep_pixels(self, count: int) -> None:
        """So many hits that ``take_pixel`` took are durable."""
        self.metrics.accepted["p.gif"] += count

    def lose_pixel(self) -> Headers:
        """What to say of a hit that could not be made durable after all."""
        return self._drop_pixel(Refusal.not_durable)

    def _drop_pixel(self, reason: str) -> Headers:
        """Count it. The page gets its GIF all the same; only who looks at the headers learns why."""
        self._count_refusal("p.gif", reason)
        return [("x-headwater-dropped", str(reason))]

    def refuse(self, method: str, path: str, error: Rejected) -> Response:
        """The answer to a request that is not carried out; counted. A page that asks for the pixel gets its GIF."""
        if path == PIXEL and method == "GET":
            return pixel_response(self._drop_pixel(error.reason))
        route = self.routes.get(path)
        self._count_refusal(route.endpoint if route else "other", error.reason)
        headers = JSON_HEADERS
        if error.reason in RETRY_SECONDS:
            headers = [*headers, ("retry-after", RETRY_SECONDS[Refusal(error.reason)])]
        if error.reason == Refusal.method_not_allowed and route:
            headers = [*headers, ("allow", ", ".join((*route.methods, "OPTIONS")))]
        return Response(status_of(error.reason), headers, json_bytes(problem_of(error)))

    async def answer(self, request: Request) -> Response:
        """The answer to any request. Never raises."""
        method, path = request.method, request.path
        if method == "OPTIONS":
            return Response(204, PREFLIGHT_HEADERS)
        try:
            route = self.routes.get(path)
            if route is None:
                raise _NOT_FOUND
            if method not in route.methods:
                raise Rejected(Refusal.method_not_allowed, f"Use {' or '.join(route.methods)}.")
            return await route.handler(request)
        except Rejected as error:
            return self.refuse(method, path, error)
        except Transient:
            return self.refuse(method, path, _NOT_DURABLE)
        except Exception:
            log.exception("request_failed", endpoint=path if path in self.routes else "other")
            return self.refuse(method, path, _INTERNAL)

    async def _pixel(self, request: Request) -> Response:
        sender = self.sender_of(request.headers, request.ip)
        headers, commit = self.take_pixel(request.query, request.headers, sender)
        if commit is not None:
            try:
                await commit
                self.keep_pixels(1)
            except Transient:
                headers = self.lose_pixel()
        return pixel_response(headers)

    async def _post(self, kind: str, request: Request) -> Response:
        with self.body_room.claim() as hold:
            return await self._take_post(kind, request, hold)

    async def _take_post(self, kind: str, request: Request, hold: Callable[[int], None]) -> Response:
        headers = request.headers
        heard = self._hear(self.sender_of(headers, request.ip))
        if not heard.user_agent.startswith("Mozilla/"):
            # A server's library: its agent and address say nothing about the visitor (and would look like a bot).
            heard = msgspec.structs.replace(heard, user_agent="", ip="", country="")
        is_gzip = check_declared(
            headers.get("content-type", ""),
            headers.get("content-encoding", ""),
            headers.get("content-length", ""),
        )
        site = user_of_basic(headers.get("authorization", ""))
        body = await read_body(request.body, is_gzip, hold) if request.body is not None else b""
        taken = take_body(kind, body, site, heard, self._house)
        hits, refusals = taken.hits, taken.refusals
        if self.config.rate_per_site:
            for site, count in Counter(hit.site for hit in hits).items():
                self._check_site_rate(site, count)
        if kind != BATCH and refusals:
            raise refusals[0]
        answer = JSON_HEADERS + self._introduce([hit for hit in hits if not hit.visitor_id])
        if hits:
            await self.spool.append_all((self._partition(hit.visitor_id), encode_hit(hit)) for hit in hits)
            self.metrics.accepted[kind] += len(hits)
        if kind != BATCH:
            return Response(200, answer, SUCCESS)
        for refusal in refusals:
            self._count_refusal(kind, refusal.reason)
        status, body = _batch_answer(taken)
        return Response(status, answer, body)

    def _hit_within_rate(
        self, query: str, headers: Mapping[str, str], heard: Heard, sites: frozenset[str], currency: str
    ) -> Hit:
        hit = hit_of_query(query, headers, heard, sites, currency)
        self._check_site_rate(hit.site, 1)
        return hit

    def _check_site_rate(self, site: str, hits: int) -> None:
        """Raise ``Rejected('rate_limited')`` when ``site`` has sent too much."""
        if not self._site_limit.admits_many(site, time.monotonic(), hits):
            raise Rejected(Refusal.rate_limited, "Too many hits of this site; slow down.", "site")

    def _hear(self, sender: Sender) -> Heard:
        """What ``sender`` says with a request that comes now. Raises ``Rejected`` (``too_long``, ``rate_limited``)."""
        said = sender.said
        if len(said[0]) > _MAX_AGENT:
            raise too_long("user_agent")
        if self._limits_rate and not self._rate_limit.admits(sender.network, time.monotonic()):
            raise Rejected(Refusal.rate_limited, "Too many requests from your network; slow down.")
        return Heard(time.time_ns() // 1_000_000, *said)

    def _admit(self, request: Request) -> str:
        """The address that ``request`` comes from, as far as proxies are trusted. Raises ``Rejected`` as ``_hear``."""
        self._hear(self.sender_of(request.headers, request.ip))
        return self._proxies.resolve(request.ip, request.headers.get("x-forwarded-for", ""))

    def _client(self, headers: Mapping[str, str], ip: str) -> Client:
        if not self._proxies:
            return client_of(ip)
        # All lines of it, joined: a client may send one of its own, and a proxy add another.
        return client_of(self._proxies.resolve(ip, headers.get("x-forwarded-for", "")))

    def _introduce(self, hits: list[Hit]) -> Headers:
        """Give hits without a visitor one new visitor; the cookie that keeps it, unless that is not wanted."""
        if not hits:
            return []
        visitor_id = new_visitor_id()
        for hit in hits:
            hit.visitor_id = visitor_id
        first = hits[0]
        if denies_analytics(first.consent, gpc=first.gpc, dnt=first.dnt):
            return []
        return [self._cookie.write(visitor_id)]

    def _count_refusal(self, endpoint: str, reason: str) -> None:
        self.metrics.count(Counted.rejected, endpoint, str(reason))

    async def _healthz(self, request: Request) -> Response:
        return Response(200, JSON_HEADERS, HEALTHY)

    async def _openapi(self, request: Request) -> Response:
        """Public: it tells what docs/collect.md does, and nothing of this installation."""
        return Response(200, JSON_HEADERS, openapi_json())

    async def _readyz(self, request: Request) -> Response:
        """Ready while hits can be made durable; a broker that is away is what the spool is for."""
        self.spool.probe()
        reason = (
            "the spool cannot be written"
            if self.spool.error
            else "the spool is full"
            if self.spool.is_full
            else ""
        )
        return Response(503 if reason else 200, JSON_HEADERS, json_bytes(Ready(not reason, reason)))

    async def _metrics_text(self, request: Request) -> Response:
        """For loopback and private networks only (OWASP ASVS 13.4.5)."""
        # A private address that forwards for others and is not trusted to say for whom may ask for anybody.
        is_forwarded = "x-forwarded-for" in request.headers and not self._proxies.trusts(request.ip)
        if is_forwarded or not self._client(request.headers, request.ip).is_private:
            raise _NOT_FOUND
        return Response(200, TEXT_HEADERS, self.metrics.text())


def _batch_answer(taken: Taken) -> tuple[int, bytes]:
    """Status and body of a batch: 200 if anything was kept, else the status that all events share, or 400."""
    results = [
        result_of(outcome, status_of(outcome.reason)) if isinstance(outcome, Rejected) else EventResult(200)
        for outcome in taken.outcomes
    ]
    refusals = taken.refusals
    if len(refusals) < len(results):
        return 200, json_bytes(BatchAnswer(True, results))
    statuses = {result.status for result in results}
    status = statuses.pop() if len(statuses) == 1 else 400
    first = refusals[0]
    return status, json_bytes(BatchProblem(first.reason, first.message, first.field, results))


def create_app(config: CollectorConfig) -> CollectorApp:
    """A collector of its own: state, metrics and spool are not shared with any other. Raises ``Misconfigured``."""
    return CollectorApp(config)
