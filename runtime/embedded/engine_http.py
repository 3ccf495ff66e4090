"""ClickHouse's HTTP interface over an ``Engine``: as much of it as ``clickhouse-connect`` and people with
curl use.

One request is one statement. Settings, database and parameters come as URL parameters, statements as
``query`` or as the body, data after the statement, compressed or not. Not offered, and refused: external
tables, roles, ClickHouse's own block framing (``compress``, ``decompress``). Sessions are accepted and keep
nothing.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from aiohttp import BasicAuth, web

from runtime.embedded.engine import Answer, Engine, EngineError
from runtime.embedded.engine_codec import compress, decompress, pick_encoding
from runtime.embedded.engine_sql import Refused, Statement, split_request
from runtime.embedded.engine_status import content_type, http_status

MAX_REQUEST_BYTES = 1 << 30
"""Largest body of a request, before and after decompression."""
MAX_HEAD_BYTES = 1 << 20
"""Longest request line and header field."""
_READERS, _WRITERS = 6, 4
_COMPRESS_FROM_BYTES = 1024

# Parameters of ClickHouse's HTTP handler that are no settings.
_HANDLER_PARAMETERS = frozenset(
    {
        "query", "database", "default_format", "user", "password", "query_id", "quota_key", "session_id",
        "session_timeout", "session_check", "close_session", "stacktrace", "buffer_size", "wait_end_of_query",
        "client_protocol_version", "role", "compress", "decompress",
    }
)  # fmt: skip
_UNSUPPORTED = {
    "compress": "ClickHouse's block framing",
    "decompress": "ClickHouse's block framing",
    "role": "roles",
}


class _Call(NamedTuple):
    """One request, read and understood."""

    statement: Statement
    settings: dict[str, str]
    parameters: dict[str, str]
    database: str
    output_format: str
    encoding: str


class EngineHttp:
    """Request handler. ``password`` "" lets everybody in."""

    def __init__(self, engine: Engine, password: str) -> None:
        self._engine = engine
        self._password = password
        # Slow reports must not hold up what the worker writes.
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="read")
        self._writers = ThreadPoolExecutor(_WRITERS, thread_name_prefix="write")

    def application(self) -> web.Application:
        """The aiohttp application."""
        app = web.Application(client_max_size=MAX_REQUEST_BYTES)
        app.router.add_get("/ping", _ping)
        app.router.add_route("*", "/", self._handle)
        return app

    def close(self) -> None:
        """Wait for running statements; later requests fail."""
        self._readers.shutdown()
        self._writers.shutdown()

    async def _handle(self, request: web.Request) -> web.Response:
        query_id = request.query.get("query_id") or str(uuid.uuid4())
        headers = {
            "X-ClickHouse-Query-Id": "".join(c for c in query_id if c.isprintable())[:200],
            "X-ClickHouse-Server-Display-Name": "headwater",
            "X-ClickHouse-Timezone": self._engine.timezone,
        }
        try:
            self._authenticate(request)
            if request.method not in ("GET", "POST"):
                raise Refused(48, "NOT_IMPLEMENTED", f"Method {request.method} is not supported")
            call = await _read(request)
            answer, body = await self._run(call)
        except (EngineError, Refused) as error:
            return self._refusal(error, headers)
        headers["X-ClickHouse-Format"] = call.statement.format or call.output_format
        headers["X-ClickHouse-Summary"] = _summary(call.statement, answer)
        headers["Content-Type"] = content_type(headers["X-ClickHouse-Format"])
        if call.encoding:
            headers["Content-Encoding"] = call.encoding
        return web.Response(body=body, headers=headers)

    async def _run(self, call: _Call) -> tuple[Answer, bytes]:
        """The statement on a thread, compression included: the event loop only moves bytes."""

        def work() -> tuple[Answer, bytes]:
            answer = self._engine.run(
                call.statement, call.output_format, call.settings, call.parameters, call.database
            )
            return answer, compress(answer.body, call.encoding) if call.encoding else answer.body

        reads = call.statement.verb in ("SELECT", "WITH", "SHOW", "DESCRIBE", "DESC", "EXISTS", "EXPLAIN", "")
        # A client that hangs up does not stop the statement: what an INSERT began, it ends.
        threads = self._readers if reads else self._writers
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(threads, work))

    def _authenticate(self, request: web.Request) -> None:
        """Basic authentication, X-ClickHouse-User/Key or URL parameters, as a server. Raises ``Refused``."""
        user, password = request.query.get("user", "default"), request.query.get("password", "")
        if "X-ClickHouse-Key" in request.headers:
            user = request.headers.get("X-ClickHouse-User", "default")
            password = request.headers["X-ClickHouse-Key"]
        elif "Authorization" in request.headers:
            try:
                given = BasicAuth.decode(request.headers["Authorization"], encoding="utf-8")
            except ValueError as error:
                raise Refused(516, "AUTHENTICATION_FAILED", "Only Basic authentication is offered") from error
            user, password = given.login, given.password
        right = hmac.compare_digest(password.encode(), self._password.encode())
        if self._password and not (right and user in ("", "default")):
            raise Refused(
                516, "AUTHENTICATION_FAILED", f"{user}: Authentication failed: password is incorrect"
            )

    def _refusal(self, error: EngineError | Refused, headers: dict[str, str]) -> web.Response:
        """An error as ClickHouse words it: status, code header, one line of text."""
        version = self._engine.version
        text = f"Code: {error.code}. DB::Exception: {error.message} ({error.name}) (version {version})\n"
        headers["X-ClickHouse-Exception-Code"] = str(error.code)
        headers["Content-Type"] = content_type("")
        return web.Response(status=http_status(error.code), text=None, body=text.encode(), headers=headers)


async def _ping(_: web.Request) -> web.Response:
    return web.Response(text="Ok.\n")


async def _read(request: web.Request) -> _Call:
    """Body, statement, settings and parameters of a request. Raises ``Refused``."""
    fields: Mapping[str, str] = request.query
    if request.content_type == "multipart/form-data":
        fields = {**request.query, **await _form(request)}
        body = b""
    else:
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge as error:
            raise Refused(307, "TOO_MANY_BYTES", f"Body over {MAX_REQUEST_BYTES} bytes") from error
    encoding = request.headers.get("Content-Encoding", "")
    if encoding and body:
        body = await asyncio.to_thread(decompress, body, encoding, MAX_REQUEST_BYTES)
    statement = await asyncio.to_thread(split_request, fields.get("query", "").encode(), body)

    for name, what in _UNSUPPORTED.items():
        if fields.get(name, "0") not in ("0", "", "false"):
            raise Refused(48, "NOT_IMPLEMENTED", f"{name}: {what} is not supported")
    settings = {
        k: v for k, v in fields.items() if k not in _HANDLER_PARAMETERS and not k.startswith("param_")
    }
    if request.method == "GET":
        settings.setdefault("readonly", "2")  # as a server: GET changes nothing
    accepted = request.headers.get("Accept-Encoding", "")
    compressing = settings.get("enable_http_compression", "0") in ("1", "true")
    return _Call(
        statement=statement,
        settings=settings,
        parameters={k.removeprefix("param_"): v for k, v in fields.items() if k.startswith("param_")},
        database=fields.get("database") or request.headers.get("X-ClickHouse-Database") or "",
        output_format=fields.get("default_format")
        or request.headers.get("X-ClickHouse-Format")
        or "TabSeparated",
        encoding=pick_encoding(accepted) if compressing else "",
    )


async def _form(request: web.Request) -> dict[str, str]:
    """Plain fields of a form: how clients send many or long parameters. Files are external tables: refused."""
    fields: dict[str, str] = {}
    for name, value in (await request.post()).items():
        if not isinstance(value, str):
            raise Refused(48, "NOT_IMPLEMENTED", "External tables are not supported; insert the data instead")
        fields[name] = value
    return fields


def _summary(statement: Statement, answer: Answer) -> str:
    inserted = statement.verb == "INSERT"
    return json.dumps(
        {
            "read_rows": str(answer.read_rows),
            "written_rows": str(answer.rows if inserted else 0),
            "result_rows": str(answer.rows),
            "result_bytes": str(len(answer.body)),
            "elapsed_ns": str(int(answer.seconds * 1e9)),
        }
    )
