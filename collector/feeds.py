"""Routes of what is not a hit: spend. Limits before work, answers after it is durable."""

from __future__ import annotations

from collections.abc import Callable

from attribution.errors import Rejected
from collector.bodies import BodyRoom, check_declared, read_body
from collector.config import CollectorConfig
from collector.intake import user_of_basic
from collector.metrics import CollectorMetrics, Counted
from collector.outlets import Outlets
from collector.reasons import status_of
from collector.requests import Request
from collector.responses import (
    JSON_HEADERS,
    Response,
    SpendAnswer,
    SpendProblem,
    json_bytes,
)
from collector.routes import Route
from collector.spend import SpendIntake, check_key

SPEND_PATH = "/v1/spend"
_SPEND = "spend"


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
        self.routes = {SPEND_PATH: Route(("POST",), _SPEND, self._post_spend)}

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


def _shared_status(errors: list[Rejected]) -> int:
    statuses = {status_of(error.reason) for error in errors}
    return statuses.pop() if len(statuses) == 1 else 400
