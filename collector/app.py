"""The collector as an RSGI application: routes, limits before work, and answers only after the hit is durable."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import lru_cache, partial
from typing import Any

import msgspec
import structlog

from attribution.errors import Rejected, Transient
from attribution.hit import Hit, encode_hit
from collector.addresses import Client, Proxies, client_of, client_of_peer, peer_ip
from collector.bodies import check_declared, read_body
from collector.config import CollectorConfig
from collector.fields import MAX_LENGTH, Heard, too_long
from collector.identifiers import VisitorCookie, new_visitor_id
from collector.intake import Taken, take_body, user_of_basic
from collector.limits import RateLimit
from collector.metrics import CollectorMetrics, Counted, Gauged
from collector.pixel import hit_of_query
from collector.producer import Producer
from collector.reasons import Refusal, status_of
from collector.responses import (
    GIF,
    GIF_HEADERS,
    JSON_HEADERS,
    PREFLIGHT_HEADERS,
    SUCCESS,
    TEXT_HEADERS,
    Headers,
    HttpProtocol,
    HttpScope,
    error_of,
    json_bytes,
)
from collector.segment import BATCH, KINDS
from collector.spool import Spool
from streams.topics import partition_of

RETRY_SECONDS = {Refusal.rate_limited: "1", Refusal.not_durable: "5"}
_CACHED_PARTITIONS = 65_536
_NOT_DURABLE = Rejected(Refusal.not_durable, "The event could not be stored; send it again later.")
_INTERNAL = Rejected(Refusal.internal, "This is our fault; send it again later.")

Handler = Callable[[HttpScope, HttpProtocol], Awaitable[None]]

log = structlog.get_logger("collector")


class CollectorApp:
    """One collector. ``start`` before the first request, ``stop`` after the last; nothing is shared between apps."""

    def __init__(self, config: CollectorConfig) -> None:
        self.config = config
        self.metrics = CollectorMetrics()
        self.spool = Spool(config.spool_dir, config.spool_max_bytes, self.metrics)
        self.producer = Producer(config, self.spool, self.metrics)
        self._proxies = Proxies(config.trusted_proxies)
        self._rate_limit = RateLimit(config.rate_per_second)
        self._cookie = VisitorCookie(config.cookie_secure)
        self._partition = lru_cache(_CACHED_PARTITIONS)(partial(partition_of, partitions=config.partitions))
        self._routes: dict[str, tuple[str, Handler]] = {
            "/p.gif": ("GET", self.__rsgi__),
            "/healthz": ("GET", self._healthz),
            "/readyz": ("GET", self._readyz),
            "/metrics": ("GET", self._metrics_text),
            **{f"/v1/{kind}": ("POST", partial(self._post, kind)) for kind in (*KINDS, BATCH)},
        }
        self.metrics.gauge(Gauged.spool_bytes, lambda: float(self.spool.stored_bytes))
        self.metrics.gauge(Gauged.spool_oldest, lambda: self.spool.oldest_seconds(time.time()))
        self.metrics.gauge(Gauged.spool_limit, lambda: float(config.spool_max_bytes))

    async def start(self) -> None:
        """Open the spool and begin to send what it holds. Raises ``Misconfigured``."""
        await self.spool.open()
        self.producer.start()

    async def stop(self) -> None:
        """Make durable what was accepted, give Kafka ``drain_seconds`` to take it, and let go of everything."""
        drained = await self.producer.drain(self.config.drain_seconds)
        await self.producer.stop()
        await self.spool.close()
        log.info("collector_stopped", drained=drained, spool_bytes=self.spool.stored_bytes)

    async def __rsgi__(self, scope: HttpScope, proto: HttpProtocol) -> None:
        if scope.path != "/p.gif" or scope.method != "GET":
            await self._route(scope, proto)
            return
        answer, commit = self.take_pixel(scope)
        if commit is not None:
            try:
                await commit
                self.metrics.accepted["p.gif"] += 1
            except Transient:
                answer = self.lose_pixel()
        proto.response_bytes(200, answer, GIF)

    def take_pixel(self, scope: HttpScope) -> tuple[Headers, asyncio.Future[None] | None]:
        """Headers of the answer, and what to wait for before giving it if the request was a hit. Never raises."""
        answer = GIF_HEADERS
        config = self.config
        try:
            headers = scope.headers
            heard = self._heard(scope, headers, headers.get("user-agent", ""))
            hit = hit_of_query(scope.query_string, headers, heard, config.sites, config.default_currency)
            if not hit.visitor_id:
                answer = answer + self._introduce([hit])
            return answer, self.spool.append(self._partition(hit.visitor_id), encode_hit(hit))
        except Rejected as error:
            return self._drop_pixel(error.reason), None
        except Transient:
            return self._drop_pixel(Refusal.not_durable), None
        except Exception:
            log.exception("request_failed", endpoint="p.gif")
            return self._drop_pixel(Refusal.internal), None

    def lose_pixel(self) -> Headers:
        """Headers of the answer to a hit that could not be made durable after all."""
        return self._drop_pixel(Refusal.not_durable)

    def _drop_pixel(self, reason: str) -> Headers:
        """Count it. The page gets its GIF all the same; only who looks at the headers learns why."""
        self._count_refusal("p.gif", reason)
        return [*GIF_HEADERS, ("x-headwater-dropped", str(reason))]

    async def _route(self, scope: HttpScope, proto: HttpProtocol) -> None:
        method, path = scope.method, scope.path
        if method == "OPTIONS":
            proto.response_empty(204, PREFLIGHT_HEADERS)
            return
        endpoint = "other"
        try:
            allowed, handler = self._routes.get(path, ("", None))
            if handler is None:
                raise Rejected(Refusal.not_found, "There is nothing here.")
            endpoint = path.rpartition("/")[2]
            if method != allowed:
                raise Rejected(Refusal.method_not_allowed, f"Use {allowed}.")
            await handler(scope, proto)
        except Rejected as error:
            self._refuse(proto, endpoint, error)
        except Transient:
            self._refuse(proto, endpoint, _NOT_DURABLE)
        except Exception:
            log.exception("request_failed", endpoint=endpoint)
            self._refuse(proto, endpoint, _INTERNAL)

    async def _post(self, kind: str, scope: HttpScope, proto: HttpProtocol) -> None:
        headers = scope.headers
        agent = headers.get("user-agent", "")
        heard = self._heard(scope, headers, agent)
        if not agent.startswith("Mozilla/"):
            # A server's library: its agent and address say nothing about the visitor (and would look like a bot).
            heard = msgspec.structs.replace(heard, user_agent="", ip="")
        is_gzip = check_declared(
            headers.get("content-type", ""),
            headers.get("content-encoding", ""),
            headers.get("content-length", ""),
        )
        site = user_of_basic(headers.get("authorization", ""))
        body = await read_body(proto, is_gzip)
        taken = take_body(kind, body, site, heard, self.config.sites, self.config.default_currency)
        hits, refusals = taken.hits, taken.refusals
        if kind != BATCH and refusals:
            raise refusals[0]
        answer = JSON_HEADERS + self._introduce([hit for hit in hits if not hit.visitor_id])
        if hits:
            await self.spool.append_all((self._partition(hit.visitor_id), encode_hit(hit)) for hit in hits)
            self.metrics.accepted[kind] += len(hits)
        if kind != BATCH:
            proto.response_bytes(200, answer, SUCCESS)
            return
        for refusal in refusals:
            self._count_refusal(kind, refusal.reason)
        status, body = _batch_answer(taken)
        proto.response_bytes(status, answer, body)

    def _heard(self, scope: HttpScope, headers: Any, user_agent: str) -> Heard:
        """What the request's headers say. Raises ``Rejected('rate_limited')``."""
        if len(user_agent) > MAX_LENGTH["user_agent"]:
            raise too_long("user_agent")
        client = self._client(scope, headers)
        if not self._rate_limit.admits(client.network, time.monotonic()):
            raise Rejected(Refusal.rate_limited, "Too many requests from your network; slow down.")
        get = headers.get
        return Heard(
            time.time_ns() // 1_000_000,
            user_agent,
            client.kept_ip,
            get("sec-gpc") == "1",
            get("dnt") == "1",
            self._cookie.read(get("cookie")),
        )

    def _client(self, scope: HttpScope, headers: Any) -> Client:
        if not self._proxies:
            return client_of_peer(scope.client)
        # All lines of it: a client may send one of its own, and a proxy add another.
        forwarded = ",".join(headers.get_all("x-forwarded-for"))
        return client_of(self._proxies.resolve(peer_ip(scope.client), forwarded))

    def _introduce(self, hits: list[Hit]) -> Headers:
        """Give hits without a visitor one new visitor; the cookie that keeps it, unless that is not wanted."""
        if not hits:
            return []
        visitor_id = new_visitor_id()
        for hit in hits:
            hit.visitor_id = visitor_id
        first = hits[0]
        if first.gpc or first.dnt or (first.consent and "analytics" not in first.consent.split(",")):
            return []
        return [self._cookie.write(visitor_id)]

    def _count_refusal(self, endpoint: str, reason: str) -> None:
        self.metrics.count(Counted.rejected, endpoint, str(reason))

    def _refuse(self, proto: HttpProtocol, endpoint: str, error: Rejected) -> None:
        self._count_refusal(endpoint, error.reason)
        answer = JSON_HEADERS
        if error.reason in RETRY_SECONDS:
            answer = [*answer, ("retry-after", RETRY_SECONDS[Refusal(error.reason)])]
        if error.reason == Refusal.method_not_allowed:
            answer = [*answer, ("allow", f"{error.message.removeprefix('Use ').rstrip('.')}, OPTIONS")]
        proto.response_bytes(status_of(error.reason), answer, json_bytes(error_of(error)))

    async def _healthz(self, scope: HttpScope, proto: HttpProtocol) -> None:
        proto.response_bytes(200, JSON_HEADERS, b'{"healthy":true}')

    async def _readyz(self, scope: HttpScope, proto: HttpProtocol) -> None:
        """Ready while hits can be made durable; a broker that is away is what the spool is for."""
        self.spool.probe()
        reason = (
            "the spool cannot be written"
            if self.spool.error
            else "the spool is full"
            if self.spool.is_full
            else ""
        )
        body = json_bytes({"ready": not reason, "reason": reason})
        proto.response_bytes(503 if reason else 200, JSON_HEADERS, body)

    async def _metrics_text(self, scope: HttpScope, proto: HttpProtocol) -> None:
        """For loopback and private networks only (OWASP ASVS 13.4.5)."""
        if not self._client(scope, scope.headers).is_private:
            raise Rejected(Refusal.not_found, "There is nothing here.")
        proto.response_bytes(200, TEXT_HEADERS, self.metrics.text())


def _batch_answer(taken: Taken) -> tuple[int, bytes]:
    """Status and body of a batch: 200 if anything was kept, else the status that all events share, or 400."""
    results: list[dict[str, Any]] = []
    for outcome in taken.outcomes:
        if isinstance(outcome, Rejected):
            results.append({"status": status_of(outcome.reason), **error_of(outcome)})
        else:
            results.append({"status": 200})
    refusals = taken.refusals
    if len(refusals) < len(results):
        return 200, json_bytes({"success": True, "results": results})
    statuses = {result["status"] for result in results}
    status = statuses.pop() if len(statuses) == 1 else 400
    return status, json_bytes({**error_of(refusals[0]), "results": results})


def create_app(config: CollectorConfig) -> CollectorApp:
    """A collector of its own: state, metrics and spool are not shared with any other. Raises ``Misconfigured``."""
    return CollectorApp(config)
