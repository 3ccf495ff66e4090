"""What ``/openapi.json`` of the collector says, from the tables and types that read events and write answers.

Nothing in it belongs to one installation: no site, no address, no setting.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import msgspec

from collector.description_feeds import feeds_paths, spend_fact
from collector.description_parts import JSON, REF, TEXT, Schema, json_of, problems, ref
from collector.fields import MAX_LENGTH
from collector.limits import MAX_BATCH, MAX_BODY, MAX_DECOMPRESSED, MAX_DEPTH, MAX_EVENT, MAX_KEYS
from collector.pixel import MAX_LENGTH_IN_QUERY
from collector.reasons import all_reasons, event_reasons
from collector.responses import (
    BatchAnswer,
    BatchProblem,
    Healthy,
    Problem,
    Ready,
    SpendAnswer,
    SpendProblem,
    Success,
    json_bytes,
)
from collector.segment import BATCH, KINDS, POSTED, Batch, paths_of

_ANSWERS = (Problem, BatchAnswer, BatchProblem, SpendAnswer, SpendProblem, Success, Healthy, Ready)

_ANYWHERE = ("bad_http", "incomplete", "slow_request", "url_too_long", "headers_too_large", "internal",
    "too_many_connections")  # fmt: skip
"""Reasons that any request may meet."""
_MEANINGS = {
    "site": "Public write key of the website. Else the user of HTTP Basic.",
    "event": "Name of what happened; `page_view` if absent.",
    "event_id": "The sender's id: a hit of one visitor with an id seen before is dropped, so a retry is safe.",
    "visitor_id": "First-party id; else the collector's cookie, else a new one.",
    "user_id": "Known identity.",
    "email_sha256": "SHA-256 of the trimmed, lower-case address, in hex.",
    "url": "Absolute, or a path. UTM tags and click ids are read from it.",
    "referrer": "Page before.",
    "title": "Title of the page.",
    "occurred_at": "ISO 8601 or epoch milliseconds, by the client's clock.",
    "sent_at": "The same, of the sending: corrects the client's clock.",
    "value": "Plain decimal notation.",
    "currency": "ISO 4217.",
    "order_id": "Business id: one order is one conversion.",
    "consent": "Granted purposes, comma separated.",
    "user_agent": "The visitor's, when a server sends.",
    "ip": "The visitor's, when a server sends; cut to /24 or /48 before it is kept.",
}


@cache
def openapi_json() -> bytes:
    """The document, made once."""
    return json_bytes(describe())


def describe() -> Schema:
    """An OpenAPI 3.1 document of every path."""
    _, answers = msgspec.json.schema_components(_ANSWERS, ref_template=REF)
    for name in (Problem.__name__, BatchProblem.__name__, SpendProblem.__name__):
        answers[name]["properties"]["code"]["enum"] = sorted(all_reasons())
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Headwater collector",
            "version": "1",
            "description": "Takes hits, spend, webhooks and postbacks. A 2xx says that they are on disk.",
        },
        "paths": {
            "/p.gif": {"get": _pixel()},
            **{path: {"post": _posted(path, kind)} for path, kind in POSTED.items()},
            **feeds_paths(),
            **_operations(),
        },
        "components": {
            "schemas": {
                **answers,
                **{_event_name(kind): _event(kind) for kind in KINDS},
                "Batch": _batch(),
                "SpendFact": spend_fact(),
            },
            "securitySchemes": {
                "write_key": {
                    "type": "http",
                    "scheme": "basic",
                    "description": "The write key as user. It may also stand in the body: it is public.",
                },
                "spend_key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The secret of HEADWATER_SPEND_KEY, where the settings have one.",
                },
            },
        },
    }


def _pixel() -> Schema:
    header = {
        "description": "Why the hit was not kept; absent if it was.",
        "schema": {"type": "string", "enum": sorted(event_reasons())},
    }
    gif = {"image/gif": {"schema": {"type": "string", "format": "binary"}}}
    return {
        "operationId": "pixel",
        "summary": "One hit from a page or a mail",
        "description": "Any parameter named `props.…` is kept too. Visitors see the GIF, whatever happens.",
        "parameters": [
            _parameter("site", True),
            *(_parameter(name, False) for name in MAX_LENGTH_IN_QUERY if name != "site"),
        ],
        "responses": {
            "200": {
                "description": "Always the GIF.",
                "headers": {"X-Headwater-Dropped": header},
                "content": gif,
            },
            **problems(_ANYWHERE),
        },
    }


def _parameter(name: str, is_required: bool) -> Schema:
    return {
        "name": name,
        "in": "query",
        "required": is_required,
        "description": _MEANINGS[name],
        "schema": {"type": "string", "maxLength": MAX_LENGTH[name]},
    }


def _posted(path: str, kind: str) -> Schema:
    is_batch = kind == BATCH
    body = {"schema": ref("Batch" if is_batch else _event_name(kind))}
    is_short = path != f"/v1/{kind}"
    answer, problem = (BatchAnswer, BatchProblem) if is_batch else (Success, Problem)
    return {
        "operationId": path[4:],
        "summary": f"As /v1/{kind}, for Segment's library for browsers" if is_short else _SUMMARIES[kind],
        "description": (
            f"Plain or gzip, up to {MAX_BODY} bytes ({MAX_DECOMPRESSED} unpacked)."
            f" An event: up to {MAX_EVENT} bytes, {MAX_DEPTH} levels and {MAX_KEYS} keys."
        ),
        "security": [{"write_key": []}, {}],
        "requestBody": {"required": True, "content": {JSON: body, TEXT: body}},
        "responses": {
            "200": json_of("Durable.", ref(answer.__name__)),
            **problems(event_reasons(), problem),
        },
    }


_SUMMARIES = {
    "track": "Something happened; of an order `properties.total` is its value",
    "page": "A page was viewed",
    "screen": "A screen of an app was viewed",
    "identify": "A visitor is a known person",
    "alias": "Two ids are one person",
    "group": "A person belongs to an account",
    "batch": f"Up to {MAX_BATCH} events of any kind",
}


def _operations() -> Schema:
    def get(name: str, summary: str, ok: Schema, more: Mapping[str, Schema]) -> Schema:
        responses = {"200": ok, **problems(_ANYWHERE), **more}
        return {"get": {"operationId": name, "summary": summary, "responses": responses}}

    ready = json_of("Events can, or cannot, be made durable.", ref("Ready"))
    busy = json_of("Not ready, or too many connections.", {"anyOf": [ref("Ready"), ref("Problem")]})
    metrics = {"description": "Prometheus text.", "content": {TEXT: {"schema": {"type": "string"}}}}
    return {
        "/healthz": get("healthz", "The process lives", json_of("It does.", ref("Healthy")), {}),
        "/readyz": get("readyz", "Events can be made durable", ready, {"503": busy}),
        "/metrics": get("metrics", "For private networks only", metrics, problems(["not_found"])),
        "/openapi.json": get("openapi", "This document", json_of("It.", {"type": "object"}), {}),
    }


def _event(kind: str) -> Schema:
    """One event as ``segment`` reads it. What it does not name is allowed and not read."""
    root = _object()
    for field, paths in paths_of(kind).items():
        for path in paths:
            parent = root
            for name in path[:-1]:
                parent = parent["properties"].setdefault(name, _object())
            # What stands in a better place hides the rest, so only the best one is sure to be looked at.
            leaf = _leaf(field) if path is paths[0] else {"description": _MEANINGS[field]}
            parent["properties"][path[-1]] = leaf
    for name in ("properties", "traits", "props", "context"):
        root["properties"].setdefault(name, _object())
    if kind == "track":
        root["properties"]["event"] = _leaf("event")
    if kind == "group":
        root["properties"]["groupId"] = {"description": "Kept as `props.group_id`."}
    root["properties"]["consent"] = {
        "description": _MEANINGS["consent"],
        "anyOf": [_leaf("consent"), {"type": "array", "items": {"type": "string"}}],
    }
    return {**root, "type": "object", "title": _event_name(kind), "description": _SUMMARIES[kind] + "."}


def _object() -> Schema:
    return {"type": ["object", "null"], "properties": {}}


def _leaf(field: str) -> Schema:
    kinds = ["string", "integer", "null"] + (["number"] if field == "value" else [])
    schema: Schema = {"type": kinds, "description": _MEANINGS[field]}
    return schema if field == "ip" else {**schema, "maxLength": MAX_LENGTH[field]}  # no address: left out


def _batch() -> Schema:
    _, components = msgspec.json.schema_components([Batch], ref_template=REF)
    schema: Schema = components[Batch.__name__]
    events = {
        "type": "array",
        "description": "Each with its `type`; `track` if it has none.",
        "items": {"type": "object", "properties": {"type": {"type": "string", "enum": list(KINDS)}}},
        "minItems": 1,
        "maxItems": MAX_BATCH,
    }
    schema["properties"] = {**schema["properties"], BATCH: events}
    schema["required"] = [BATCH]
    return schema


def _event_name(kind: str) -> str:
    return f"{kind.title()}Event"
