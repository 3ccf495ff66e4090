"""Routes of what is not a hit: spend, webhooks, postbacks. Limits before work, answers after it is durable."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from attribution.deals.delivery import POSTBACK, Delivery, encode_delivery
from attribution.errors import Rejected
from collector import postbacks
from collector.bodies import BodyRoom, check_declared, check_plain, read_body
from collector.config import CollectorConfig
from collector.intake import user_of_basic
from collector.metrics import CollectorMetrics, Counted
from collector.outlets import Outlets
from collector.reasons import Refusal, status_of
from collector.requests import Request
from collector.responses import (
    JSON_HEADERS,
    NO_STORE_HEADERS,
    SUCCESS,
    Response,
    SpendAnswer,
    SpendProblem,
    json_bytes,
)
from collector.routes import Route
from collector.spend import SpendIntake, check_key
from collector.webhooks import receiving
from collector.webhooks.verified import WebhookSender
from streams.topics import DEALS, partition_of

SPEND_PATH = "/v1/spend"
WEBHOOKS = {receiving.PATH.format(sender=sender.value): sender for sender in WebhookSender}
"""Senders by path."""
MAX_RECORD = 1_000_000
"""Bytes of a delivery as it is kept, in base64: what frames of the spool and Kafka take."""
_SPEND = "spend"
_TOO_LARGE = Rejected(Refusal.body_too_large, "A webhook may have about 700,000 bytes.")


class Feeds:
    """What connectors, CRMs and shops send to one app."""

    def __init__(
        self,
        config: CollectorConfig,
        outlets: Outlets,
        metrics: CollectorMetrics,
        body_room: BodyRoom,
        admit: Callable[[Request], str],
    ) -> None:
        """``admit`` gives the address that a request comes from, or raises ``Rejected`` when it sends too much."""
        self._config = config
        self._metrics = metrics
        self._body_room = body_room
        self._admit = admit
        self._spend = SpendIntake(config, outlets)
        self._outlets = outlets
        self.routes = {
            SPEND_PATH: Route(("POST",), _SPEND, self._post_spend),
            postbacks.PATH: Route(("GET", "POST"), POSTBACK, self._take_postback),
            **{
                path: Route(("POST",), sender.value, partial(self._post_webhook, sender))
                for path, sender in WEBHOOKS.items()
            },
        }

    async def close(self) -> None:
        """After the last request."""
        await self._spend.close()

    async def _post_spend(self, request: Request) -> Response:
        self._admit(request)
        headers = request.headers
        authorization = headers.get("authorization", "")
        check_key(authorization, self._config.spend_key)
        is_gzip = check_declared(
            headers.get("content-type", ""),
            headers.get("content-encoding", ""),
            headers.get("content-length", ""),
        )
        with self._body_room.claim() as hold:
            body = await read_body(request.body, is_gzip, hold) if request.body is not None else b""
            taken = await self._spend.take(body, user_of_basic(authorization))
        for _, refusal in taken.refusals:
            self._metrics.count(Counted.rejected, _SPEND, str(refusal.reason))
        self._metrics.accepted[_SPEND] += taken.accepted
        if not taken.accepted:
            errors = [refusal for _, refusal in taken.refusals]
            first = errors[0]
            problem = SpendProblem(first.reason, first.message, first.field, taken.refused)
            return Response(_shared_status(errors), JSON_HEADERS, json_bytes(problem))
        counts = taken.counts
        answer = SpendAnswer(counts["new"], counts["replaced"], counts["unchanged"], taken.refused)
        return Response(200, JSON_HEADERS, json_bytes(answer))

    async def _post_webhook(self, sender: WebhookSender, request: Request) -> Response:
        peer = self._admit(request)
        check_plain(request.headers)
        with self._body_room.claim() as hold:
            body = await read_body(request.body, False, hold) if request.body is not None else b""
            delivery = receiving.receive(sender, request, body, peer, self._config.webhooks, _now_ms())
            await self._keep(delivery)
        answer = receiving.answer_to(delivery)
        content = [("content-type", answer.content_type)] if answer.content_type else []
        return Response(answer.status, [*content, *NO_STORE_HEADERS], answer.body)

    async def _take_postback(self, request: Request) -> Response:
        self._admit(request)
        check_plain(request.headers)
        config = self._config
        with self._body_room.claim() as hold:
            body = await read_body(request.body, False, hold) if request.body is not None else b""
            content_type = request.headers.get("content-type", "")
            delivery = postbacks.receive_postback(
                request.query, body, content_type, config.sites, config.webhooks, _now_ms()
            )
            await self._keep(delivery)
        return Response(200, JSON_HEADERS, SUCCESS)

    async def _keep(self, delivery: Delivery) -> None:
        """Make it durable. Raises ``Transient``, and ``Rejected`` for one that is too large."""
        record = encode_delivery(delivery)
        if len(record) > MAX_RECORD:
            raise _TOO_LARGE
        spool = await self._outlets.spool_of(DEALS)
        await spool.append(partition_of(delivery.site, self._config.partitions), record)
        self._metrics.accepted[delivery.source] += 1


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _shared_status(errors: list[Rejected]) -> int:
    statuses = {status_of(error.reason) for error in errors}
    return statuses.pop() if len(statuses) == 1 else 400
