"""Errors as answers: always JSON ``{"code", "message", "field"}``, never a stack trace and never SQL."""

from __future__ import annotations

import traceback

import msgspec
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from attribution.errors import HeadwaterError, Misconfigured, Rejected, Transient

_log = structlog.get_logger("headwater.api")

_STATUS_BY_REASON = {
    "malformed_json": 400,
    "unauthorized": 401,
    "not_found": 404,
    "ambiguous": 409,
    "too_slow": 408,
    "too_large": 413,
    "unsupported_media_type": 415,
}
"""Every other reason is 422: understood, but impossible."""

_CODE_BY_STATUS = {404: "not_found", 405: "method_not_allowed"}
_MESSAGE_BY_STATUS = {
    404: "There is nothing at this address. See /openapi.json.",
    405: "Use another method here.",
}

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
}
"""On every answer."""


class Problem(msgspec.Struct, frozen=True):
    """What an answer that is no answer says."""

    code: str
    message: str
    field: str = ""


def problem_response(status: int, problem: Problem, headers: dict[str, str] | None = None) -> Response:
    """``problem`` as an HTTP answer."""
    return Response(
        msgspec.json.encode(problem), status, {**HEADERS, **(headers or {})}, media_type="application/json"
    )


def install_problems(app: FastAPI) -> None:
    """Answer every kind of failure in the one shape."""

    @app.exception_handler(HeadwaterError)
    async def _ours(request: Request, error: HeadwaterError) -> Response:
        return respond(error)

    @app.exception_handler(RequestValidationError)
    async def _validation(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"][1:])[:200]
        return problem_response(422, Problem("invalid_request", f"{first['msg']}.", field))

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        status = error.status_code
        code = _CODE_BY_STATUS.get(status, "bad_request")
        message = _MESSAGE_BY_STATUS.get(status, "This request cannot be answered.")
        return problem_response(status, Problem(code, message), dict(error.headers or {}))

    @app.exception_handler(Exception)
    async def _unexpected(request: Request, error: Exception) -> Response:
        # Formatted here: a renderer of structlog may print local variables, and keys are among them.
        _log.error("unexpected error", trace="".join(traceback.format_exception(error)))
        return problem_response(
            500, Problem("internal", "This is our fault; the log of the query API says why.")
        )


def respond(error: HeadwaterError) -> Response:
    """The answer to an error that was raised on purpose."""
    if isinstance(error, Rejected):
        status = _STATUS_BY_REASON.get(error.reason, 422)
        headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
        return problem_response(status, Problem(error.reason, error.message, error.field), headers)
    # What ClickHouse said is for the log: it may name tables, hosts and accounts.
    _log.error("cannot answer", reason=str(error))
    if isinstance(error, Misconfigured):
        message = "The installation needs attention; the log of the query API says what to change."
        return problem_response(503, Problem("misconfigured", message))
    wait = error.retry_after if isinstance(error, Transient) else 1.0
    message = "ClickHouse does not answer at the moment; try again shortly."
    return problem_response(503, Problem("unavailable", message), {"Retry-After": str(max(1, round(wait)))})
