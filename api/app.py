"""The query API as an ASGI app. All thinking is in ``service``; this only speaks HTTP."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from importlib import resources
from typing import Annotated, Any

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import Error
from fastapi import Depends, FastAPI, Query, Request
from fastapi.security import HTTPBearer
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from api.answers import encode
from api.auth import ReadKeys, check_private
from api.changes import ChangesRequest
from api.config import ApiConfig
from api.description import JSON, DescribedApp, answer, changes_question, problems, question, status_answer
from api.funnel import FunnelRequest
from api.metrics import ApiMetrics
from api.models import ModelList
from api.observer import Observer
from api.path_report import PathsRequest
from api.problems import install_problems
from api.requests import parse_body, parse_query
from api.service import QueryService
from api.spend_matching import MatchingRequest
from attribution.errors import Misconfigured, Rejected
from sinks.engine_errors import explain_error
from sinks.migrate import pending_migrations

MAX_BODY = 64 * 1024
"""Bytes of a question; more is refused before it is read."""
BODY_SECONDS = 10.0
"""Time for a client to send a question."""
MAX_REFERENCE = 500
"""Characters of a conversion id or order id."""

_PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none';"
        " form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Frame-Options": "DENY",
}
_PAGES = {
    "/": ("page.html", "text/html"),
    "/page.js": ("page.js", "text/javascript"),
    "/page.css": ("page.css", "text/css"),
}


class _Backend:
    """The connection and what answers over it, made when first needed: the API can start before ClickHouse does."""

    def __init__(self, config: ApiConfig, client_factory: Callable[[], Client]) -> None:
        self._config = config
        self._connect = client_factory
        self._lock = threading.Lock()
        self._client: Client | None = None
        self._service: QueryService | None = None

    def client(self) -> Client:
        """The shared client. Raises ``Transient`` or ``Misconfigured``."""
        with self._lock:
            if self._client is None:
                self._client = self._connect()
            return self._client

    def service(self) -> QueryService:
        """One for all requests: it remembers people, currencies and more. Raises ``Transient`` or ``Misconfigured``."""
        config, client = self._config, self.client()
        with self._lock:
            if self._service is None:
                self._service = QueryService(
                    client,
                    config.database,
                    config.policy,
                    currency=config.currency,
                    qualified_leads=config.qualified_leads,
                    funnel=config.funnel,
                    margin=config.margin,
                    max_seconds=config.max_seconds,
                )
            return self._service

    def check_ready(self) -> None:
        """Raises ``Transient`` while ClickHouse is away, ``Misconfigured`` while tables are missing."""
        if pending_migrations(self.client(), self._config.database):
            raise Misconfigured("Tables are missing.", "Run `headwater migrate`.")

    def close(self) -> None:
        """Give the connection back."""
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = self._service = None


def create_app(config: ApiConfig, client_factory: Callable[[], Client]) -> FastAPI:
    """The app. ``client_factory`` connects to ClickHouse when that is first needed; it may raise ``Transient``."""
    backend = _Backend(config, client_factory)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        backend.close()

    keys = ReadKeys(config.read_keys)
    metrics = ApiMetrics()
    app = DescribedApp(
        title="Headwater query API",
        version="1",
        description="Which marketing brought this revenue? See docs/query.md.",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    install_problems(app)
    app.add_middleware(Observer, metrics=metrics)
    _add_questions(app, backend, keys, config.policy.models)
    _add_operations(app, backend, metrics)
    _add_page(app)
    return app


def _add_questions(app: FastAPI, backend: _Backend, keys: ReadKeys, models: Sequence[str]) -> None:
    # Only for /openapi.json: ReadKeys decides, and the answers are made by hand.
    secured: dict[str, Any] = {
        "dependencies": [Depends(HTTPBearer(scheme_name="read_key", auto_error=False))],
        "response_class": Response,
    }
    body = {"requestBody": {"content": {JSON: {"schema": question(models)}}, "required": True}}
    explanation = {**answer("Explanation"), **problems(401, 404, 409, 422, 503)}

    @app.post(
        "/v1/query",
        summary="Metrics by dimensions",
        openapi_extra=body,
        responses={**answer("QueryAnswer"), **problems(400, 401, 408, 413, 415, 422, 503)},
        **secured,
    )
    async def query(request: Request) -> Response:
        keys.check(request.headers.get("authorization"))
        asked = parse_query(await _read_body(request))
        found = await run_in_threadpool(lambda: backend.service().query(asked))
        return Response(encode(found), media_type=JSON)

    @app.post(
        "/v1/changes",
        summary="Why a report changed between two instants, by cause",
        openapi_extra={
            "requestBody": {"content": {JSON: {"schema": changes_question(models)}}, "required": True}
        },
        responses={**answer("ChangesAnswer"), **problems(400, 401, 408, 413, 415, 422, 503)},
        **secured,
    )
    async def changes(request: Request) -> Response:
        keys.check(request.headers.get("authorization"))
        asked = parse_body(ChangesRequest, await _read_body(request))
        found = await run_in_threadpool(lambda: backend.service().changes(asked))
        return Response(encode(found), media_type=JSON)

    @app.get(
        "/v1/models",
        summary="Attribution models, each in a sentence",
        responses={**answer("ModelList"), **problems(401, 503)},
        **secured,
    )
    async def list_models(request: Request) -> Response:
        keys.check(request.headers.get("authorization"))
        found = await run_in_threadpool(lambda: backend.service().models())
        return Response(encode(ModelList(found)), media_type=JSON)

    @app.get(
        "/v1/paths",
        summary="Paths before conversions: the most frequent, lengths, time lags, assists",
        responses={**answer("PathsAnswer"), **problems(401, 422, 503)},
        **secured,
    )
    async def paths(request: Request, asked: Annotated[PathsRequest, Query()]) -> Response:
        keys.check(request.headers.get("authorization"))
        found = await run_in_threadpool(lambda: backend.service().paths(asked))
        return Response(encode(found), media_type=JSON)

    @app.get(
        "/v1/funnel",
        summary="How many people reach each stage, how long it takes, what it costs",
        responses={**answer("FunnelAnswer"), **problems(401, 422, 503)},
        **secured,
    )
    async def funnel(request: Request, asked: Annotated[FunnelRequest, Query()]) -> Response:
        keys.check(request.headers.get("authorization"))
        found = await run_in_threadpool(lambda: backend.service().funnel(asked))
        return Response(encode(found), media_type=JSON)

    @app.get(
        "/v1/spend/matching",
        summary="Spend and touches that did not meet",
        responses={**answer("MatchingAnswer"), **problems(401, 422, 503)},
        **secured,
    )
    async def matching(request: Request, asked: Annotated[MatchingRequest, Query()]) -> Response:
        keys.check(request.headers.get("authorization"))
        found = await run_in_threadpool(lambda: backend.service().spend_matching(asked))
        return Response(encode(found), media_type=JSON)

    async def explained(request: Request, reference: str) -> Response:
        keys.check(request.headers.get("authorization"))
        if not reference or len(reference) > MAX_REFERENCE:
            raise Rejected(
                "invalid_request", f"Send an id of 1 to {MAX_REFERENCE} characters.", "conversion_id"
            )
        found = await run_in_threadpool(lambda: backend.service().explain(reference))
        return Response(encode(found), media_type=JSON)

    @app.get(
        "/v1/conversions", summary="Explain a conversion by its order id", responses=explanation, **secured
    )
    async def explain_order(request: Request, order_id: str) -> Response:
        return await explained(request, order_id)

    # Order ids may hold slashes, hence "path".
    @app.get(
        "/v1/conversions/{conversion_id:path}",
        summary="Explain a conversion",
        responses=explanation,
        **secured,
    )
    async def explain_conversion(request: Request, conversion_id: str) -> Response:
        return await explained(request, conversion_id)


async def _read_body(request: Request) -> bytes:
    kind = request.headers.get("content-type", JSON).split(";")[0].strip().lower()
    if kind != JSON:
        raise Rejected("unsupported_media_type", f"Send Content-Type: {JSON}.", "Content-Type")
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY:
                    raise Rejected("too_large", f"A question has at most {MAX_BODY} bytes.")
    except TimeoutError as error:
        raise Rejected("too_slow", f"Send the question within {BODY_SECONDS:.0f} seconds.") from error
    return bytes(body)


def _add_operations(app: FastAPI, backend: _Backend, metrics: ApiMetrics) -> None:
    @app.get("/healthz", summary="The process lives", responses=status_answer("ok"), response_class=Response)
    async def healthz() -> Response:
        return Response(b'{"status":"ok"}', media_type=JSON)

    @app.get(
        "/readyz",
        summary="Questions can be answered",
        responses={**status_answer("ready"), **problems(503)},
        response_class=Response,
    )
    async def readyz() -> Response:
        try:
            await run_in_threadpool(backend.check_ready)
        except Error as error:
            raise explain_error(error) from error
        return Response(b'{"status":"ready"}', media_type=JSON)

    text = {"text/plain": {"schema": {"type": "string"}}}

    @app.get(
        "/metrics",
        summary="Prometheus text, for private networks only",
        responses={200: {"content": text}, **problems(404)},
        response_class=Response,
    )
    async def scrape(request: Request) -> Response:
        check_private(request.client.host if request.client else None, request.headers.get("x-forwarded-for"))
        return Response(metrics.text(), media_type="text/plain; version=0.0.4")


def _add_page(app: FastAPI) -> None:
    folder = resources.files("api") / "pages"
    for path, (name, kind) in _PAGES.items():
        app.add_api_route(path, _page((folder / name).read_bytes(), kind), include_in_schema=False)


def _page(content: bytes, kind: str) -> Callable[[], Awaitable[Response]]:
    async def page() -> Response:
        return Response(content, media_type=f"{kind}; charset=utf-8", headers=_PAGE_HEADERS)

    return page
