"""What ``/openapi.json`` of the collector says, from the tables and types that read events and write answers.

Nothing in it belongs to one installation: no site, no address, no setting.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import msgspec

from attribution.spend.fields import MAX_TEXT, NAMES, REQUIRED
from collector.feeds import SPEND_PATH
from collector.fields import MAX_LENGTH
from collector.limits import MAX_BATCH, MAX_BODY, MAX_DECOMPRESSED, MAX_DEPTH, MAX_EVENT, MAX_KEYS
from collector.pixel import MAX_LENGTH_IN_QUERY
from collector.reasons import all_reasons, event_reasons, spend_reasons, status_of
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
from collector.spend import FACTS, MAX_FACTS

Schema = dict[str, Any]
_SPEND = "spend"

JSON, TEXT = "application/json", "text/plain"
_REF = "#/components/schemas/{name}"
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
    _, answers = msgspec.json.schema_components(_ANSWERS, ref_template=_REF)
    for name in (Problem.__name__, BatchProblem.__name__, SpendProblem.__name__):
        answers[name]["properties"]["code"]["enum"] = sorted(all_reasons())
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Headwater collector",
            "version": "1",
            "description": "Takes hits and spend. A 2xx says that they are on disk. See docs/collect.md.",
        },
        "paths": {
            "/p.gif": {"get": _pixel()},
            **{path: {"post": _posted(path, kind)} for path, kind in POSTED.items()},
            SPEND_PATH: {"post": _spend()},
            **_operations(),
        },
        "components": {
            "schemas": {
                **answers,
                **{_event_name(kind): _event(kind) for kind in KINDS},
                "Batch": _batch(),
                "SpendFact": _spend_fact(),
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
            **_problems(_ANYWHERE),
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
    body = {"schema": _ref("Batch" if is_batch else _event_name(kind))}
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
            "200": _json("Durable.", _ref(answer.__name__)),
            **_problems(event_reasons(), problem),
        },
    }


def _spend() -> Schema:
    fact = _ref("SpendFact")
    facts = {"type": "array", "items": fact, "minItems": 1, "maxItems": MAX_FACTS}
    site = {"type": ["string", "null"], "description": "Write key for the facts that name none."}
    envelope = {"type": "object", "properties": {FACTS: facts, "site": site}, "required": [FACTS]}
    body = {"schema": {"anyOf": [envelope, facts, fact]}}
    return {
        "operationId": _SPEND,
        "summary": f"What ads cost: up to {MAX_FACTS} facts, each the figures of one thing on one day",
        "description": (
            f"Plain or gzip, up to {MAX_BODY} bytes ({MAX_DECOMPRESSED} unpacked). Of one thing and day the figures"
            " read last count; see docs/spend.md. A bad fact costs itself only."
        ),
        "security": [{"spend_key": []}, {"write_key": []}, {}],
        "requestBody": {"required": True, "content": {JSON: body, TEXT: body}},
        "responses": {
            "200": _json("Durable, at least one.", _ref(SpendAnswer.__name__)),
            **_problems(spend_reasons(), SpendProblem),
        },
    }


_TEXT_FIELD = {"type": ["string", "integer", "null"], "maxLength": MAX_TEXT}
_COUNT_FIELD = {"type": ["integer", "string", "null"], "minimum": 0, "pattern": "^[0-9]{1,11}$"}
_AMOUNT_FIELD = {"type": ["number", "string", "null"], "pattern": r"^-?[0-9]{1,11}(\.[0-9]{1,6})?$"}
_SPEND_FIELDS: dict[str, Schema] = {
    "site": {
        "type": ["string", "null"],
        "description": "Write key; else that of the body, else the user of HTTP Basic.",
    },
    **dict.fromkeys(NAMES, _TEXT_FIELD),
    "day": {"type": "string", "format": "date", "description": "Of the platform's account."},
    "ad_network": {"type": "string", "pattern": "^[a-z0-9_]{1,64}$"},
    "cost": {
        **_AMOUNT_FIELD,
        "type": ["number", "string"],
        "description": "In major units; a credit note is below 0.",
    },
    "currency": {"type": "string", "description": "ISO 4217."},
    **dict.fromkeys(("impressions", "reach", "clicks", "views", "installs"), _COUNT_FIELD),
    **dict.fromkeys(("platform_conversions", "platform_value", "bid"), _AMOUNT_FIELD),
    "as_of": {
        "type": ["string", "null"],
        "format": "date-time",
        "description": "When the figures were read; now, if it is not told.",
    },
}


def _spend_fact() -> Schema:
    return {
        "type": "object",
        "description": "The columns of the plain CSV of docs/spend.md, and the site. Other names are not looked at.",
        "properties": _SPEND_FIELDS,
        "required": list(REQUIRED),
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
        responses = {"200": ok, **_problems(_ANYWHERE), **more}
        return {"get": {"operationId": name, "summary": summary, "responses": responses}}

    ready = _json("Events can, or cannot, be made durable.", _ref("Ready"))
    busy = _json("Not ready, or too many connections.", {"anyOf": [_ref("Ready"), _ref("Problem")]})
    metrics = {"description": "Prometheus text.", "content": {TEXT: {"schema": {"type": "string"}}}}
    return {
        "/healthz": get("healthz", "The process lives", _json("It does.", _ref("Healthy")), {}),
        "/readyz": get("readyz", "Events can be made durable", ready, {"503": busy}),
        "/metrics": get("metrics", "For private networks only", metrics, _problems(["not_found"])),
        "/openapi.json": get("openapi", "This document", _json("It.", {"type": "object"}), {}),
    }


def _problems(reasons: Iterable[str], shape: type[Problem] = Problem) -> Schema:
    """The errors with these reasons by status, and that others have the same shape."""
    by_status: defaultdict[int, list[str]] = defaultdict(list)
    for reason in sorted(reasons):
        by_status[status_of(reason)].append(reason)
    schema = _ref(shape.__name__)
    return {
        **{
            str(status): _json(f"`{'`, `'.join(names)}`.", schema)
            for status, names in sorted(by_status.items())
        },
        "default": _json("Any other error.", _ref(Problem.__name__)),
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
    _, components = msgspec.json.schema_components([Batch], ref_template=_REF)
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


def _ref(name: str) -> Schema:
    return {"$ref": _REF.format(name=name)}


def _json(description: str, schema: Schema) -> Schema:
    return {"description": description, "content": {JSON: {"schema": schema}}}
