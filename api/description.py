"""What ``/openapi.json`` says of questions, answers and errors, from the types that read and write them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from fastapi import FastAPI

from api.answers import QueryMeta
from api.catalog import DIMENSIONS, METRICS, OPERATORS
from api.changes import Amounts, CauseLine, ChangesMeta, ChangesRequest
from api.explain import Explanation
from api.funnel import FunnelAnswer
from api.models import SENTENCES, ModelList
from api.path_report import PathsAnswer
from api.problems import Problem
from api.requests import QueryRequest
from api.spend_matching import MatchingAnswer

JSON = "application/json"
_REF = "#/components/schemas/{name}"
_TEXT: dict[str, Any] = {"type": "string"}

_NAMES: dict[str, Any] = {"type": "array", "items": _TEXT}
# msgspec describes no type that is text or a decimal.
_RANGE: dict[str, Any] = {
    "title": "Range",
    "description": "What the rule models say of one number: revenue is text, conversions are numbers.",
    "type": "object",
    "properties": {
        "low": {"type": ["string", "number"]},
        "high": {"type": ["string", "number"]},
        "low_models": _NAMES,
        "high_models": _NAMES,
    },
    "required": ["low", "high", "low_models", "high_models"],
}

_ANSWER: dict[str, Any] = {
    "title": "QueryAnswer",
    "description": "Rows of the dimensions asked for, then the metrics. Money is text, a ratio without base null.",
    "type": "object",
    "properties": {
        "columns": _NAMES,
        "rows": {
            "type": "array",
            "items": {"type": "array", "items": {"type": ["string", "number", "null"]}},
        },
        "meta": {"$ref": _REF.format(name="QueryMeta")},
        "spread": {
            "type": "array",
            "items": {"type": "object", "additionalProperties": _RANGE},
        },
    },
    "required": ["columns", "rows", "meta"],
}

_CHANGES: dict[str, Any] = {
    "title": "ChangesAnswer",
    "description": "Before + the causes = after. Rows: dimensions, cause, conversions, revenue (text).",
    "type": "object",
    "properties": {
        **{name: {"$ref": _REF.format(name="Amounts")} for name in ("before", "after", "difference")},
        "causes": {"type": "array", "items": {"$ref": _REF.format(name="CauseLine")}},
        "columns": _NAMES,
        "rows": {"type": "array", "items": {"type": "array", "items": {"type": ["string", "number"]}}},
        "meta": {"$ref": _REF.format(name="ChangesMeta")},
    },
    "required": ["before", "after", "difference", "causes", "columns", "rows", "meta"],
}

_PROBLEMS = {
    400: "The body is not JSON.",
    401: "The read key is missing or unknown.",
    404: "There is nothing of that name.",
    408: "The question did not arrive in time.",
    409: "Several conversions have this order id; the message names them.",
    413: "The question is too large.",
    415: "The content type is not JSON.",
    422: "Understood, but impossible: `field` names the culprit, `message` what to send instead.",
    503: "ClickHouse is away (then with Retry-After), or the installation needs attention.",
}
"""By status: every error that a person can meet. Other statuses have the same shape."""


class DescribedApp(FastAPI):
    """FastAPI whose ``/openapi.json`` has the schemas that ``answer`` and ``problems`` refer to."""

    def openapi(self) -> dict[str, Any]:
        """The document, made once."""
        document = super().openapi()
        schemas: dict[str, Any] = document.setdefault("components", {}).setdefault("schemas", {})
        if "QueryAnswer" not in schemas:
            schemas.update(_schemas())
        return document


def answer(name: str) -> dict[int | str, dict[str, Any]]:
    """The 200 of a route that answers the schema ``name``."""
    return {200: _described("The answer.", {"$ref": _REF.format(name=name)})}


def status_answer(status: str) -> dict[int | str, dict[str, Any]]:
    """The 200 of a route that answers ``{"status": status}``."""
    properties = {"status": {"type": "string", "const": status}}
    return {
        200: _described("Yes.", {"type": "object", "properties": properties, "required": ["status"]}),
    }


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The errors of a route."""
    shape = {"$ref": _REF.format(name=Problem.__name__)}
    return {
        **{status: _described(_PROBLEMS[status], shape) for status in statuses},
        "default": _described("Any other error.", shape),
    }


def question(models: Iterable[str]) -> dict[str, Any]:
    """The schema of a question to an installation that computes ``models``, with every name that can be asked."""
    schema = QueryRequest.model_json_schema()
    properties = schema["properties"]
    properties["metrics"]["items"] = {"type": "string", "enum": list(METRICS)}
    properties["metrics"]["uniqueItems"] = True
    _name_what_can_be_asked(properties, models)
    properties["as_of"]["examples"] = ["2026-10-31", "2026-10-31T18:00:00Z"]
    return schema


def changes_question(models: Iterable[str]) -> dict[str, Any]:
    """The schema of a question why a report changed."""
    schema = ChangesRequest.model_json_schema()
    _name_what_can_be_asked(schema["properties"], models)
    return schema


def _name_what_can_be_asked(properties: dict[str, Any], models: Iterable[str]) -> None:
    properties["dimensions"]["items"] = {"type": "string", "enum": list(DIMENSIONS)}
    properties["dimensions"]["uniqueItems"] = True
    dimension, operator, values = properties["filters"]["items"]["prefixItems"]
    properties["filters"]["items"]["prefixItems"] = [
        {**dimension, "enum": list(DIMENSIONS)},
        {**operator, "enum": list(OPERATORS)},
        values,
    ]
    properties["model"]["enum"] = list(dict.fromkeys((*models, *SENTENCES)))


def _described(description: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {JSON: {"schema": schema}}}


def _schemas() -> dict[str, Any]:
    _, components = msgspec.json.schema_components(
        [
            QueryMeta,
            ModelList,
            PathsAnswer,
            FunnelAnswer,
            MatchingAnswer,
            ChangesMeta,
            Amounts,
            CauseLine,
            Explanation,
            Problem,
        ],
        ref_template=_REF,
    )
    return {
        "QueryAnswer": _ANSWER,
        "ChangesAnswer": _CHANGES,
        **{name: _with_numbers(schema) for name, schema in components.items()},
    }


def _with_numbers(schema: Any) -> Any:
    """``schema`` with decimals as the numbers that ``answers.encode`` writes; msgspec's own default is text."""
    if isinstance(schema, list):
        return [_with_numbers(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("format") == "decimal":
        return {**{key: value for key, value in schema.items() if key != "format"}, "type": "number"}
    return {key: _with_numbers(value) for key, value in schema.items()}
