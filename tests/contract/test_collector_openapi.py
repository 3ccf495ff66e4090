"""The collector's ``/openapi.json`` tells every route, reason and field that there is, and nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

import attribution.money
from collector.app import CollectorApp
from collector.config import CollectorConfig
from collector.description import describe
from collector.feeds import SPEND_PATH, WEBHOOKS
from collector.fields import MAX_LENGTH
from collector.pixel import parse_query
from collector.postbacks import PATH as POSTBACK_PATH
from collector.reasons import (
    MONEY_REASONS,
    SPEND_REASONS,
    Refusal,
    all_reasons,
    event_reasons,
    postback_reasons,
    spend_reasons,
    status_of,
    webhook_reasons,
)
from collector.segment import KINDS, POSTED, fields_of, parse_event
from collector.webhooks.reasons import WebhookRefusal

DOCUMENT = describe()
POSTS = {path: methods["post"] for path, methods in DOCUMENT["paths"].items() if "post" in methods}


def app_in(directory: Path) -> CollectorApp:
    return CollectorApp(CollectorConfig(sites=frozenset({"a-secret-looking-key"}), spool_dir=directory))


def test_it_has_exactly_the_routes_of_the_app(tmp_path: Path) -> None:
    told = {(method.upper(), path) for path, methods in DOCUMENT["paths"].items() for method in methods}
    routes = app_in(tmp_path).routes.items()
    assert told == {(method, path) for path, route in routes for method in route.methods}


def test_it_is_an_openapi_document_whose_references_lead_somewhere() -> None:
    assert DOCUMENT["openapi"].startswith("3.1.")
    for schema in DOCUMENT["components"]["schemas"].values():
        jsonschema_rs.meta.validate(schema)
    references = set(re.findall(r'"\$ref": "#/components/schemas/([^"]+)"', json.dumps(DOCUMENT)))
    assert references <= set(DOCUMENT["components"]["schemas"])
    ids = [
        operation["operationId"] for methods in DOCUMENT["paths"].values() for operation in methods.values()
    ]
    assert len(ids) == len(set(ids))


def test_it_tells_nothing_of_the_installation(tmp_path: Path) -> None:
    assert "a-secret-looking-key" not in json.dumps(DOCUMENT)
    assert str(tmp_path) not in json.dumps(DOCUMENT)


def test_the_reasons_are_those_of_the_code() -> None:
    """Refusals of the collector, of the money that it parses, and of the fields of spend."""
    raised = re.findall(r'Rejected\(\s*"(\w+)"', Path(attribution.money.__file__).read_text())
    assert set(raised) == MONEY_REASONS
    told = set(DOCUMENT["components"]["schemas"]["Problem"]["properties"]["code"]["enum"])
    assert told == all_reasons() == {*Refusal, *MONEY_REASONS, *SPEND_REASONS, *WebhookRefusal}
    anywhere = event_reasons() | spend_reasons() | webhook_reasons() | postback_reasons()
    assert anywhere == all_reasons() - {"not_found", "method_not_allowed"}


@pytest.mark.parametrize("path", POSTS)
def test_every_reason_stands_at_its_status(path: str) -> None:
    responses = POSTS[path]["responses"]
    reasons = (
        event_reasons()
        if path in POSTED
        else webhook_reasons()
        if path in WEBHOOKS
        else {SPEND_PATH: spend_reasons, POSTBACK_PATH: postback_reasons}[path]()
    )
    for reason in reasons:
        assert f"`{reason}`" in responses[str(status_of(reason))]["description"]
    listed = " ".join(responses[status]["description"] for status in responses if status > "200")
    assert {*re.findall(r"`(\w+)`", listed)} == reasons


@pytest.mark.parametrize("kind", KINDS)
def test_every_place_that_an_event_tells_is_read(kind: str) -> None:
    """A text put into each place of the schema, one at a time, arrives in the fields of the hit."""
    schema = DOCUMENT["components"]["schemas"][f"{kind.title()}Event"]
    names = set(MAX_LENGTH) - {"ip", "user_agent"} - ({"event"} if kind != "track" else set())
    assert names <= set(schema["properties"])
    places = list(leaves(schema))
    assert len(places) > len(MAX_LENGTH)
    for place in places:
        event: dict[str, Any] = {"value": "x"}
        for name in reversed(place):
            event = {name: event if event != {"value": "x"} else "192.0.2.1"}
        fields, props = fields_of(kind, parse_event(json.dumps(event).encode()))
        kept = {*fields.values(), *json.loads(bytes(props)).values()}
        assert {"192.0.2.1", "192.0.2.0"} & kept, place


def leaves(schema: dict[str, Any], *path: str) -> Any:
    for name, below in schema.get("properties", {}).items():
        if "object" in below.get("type", ""):
            yield from leaves(below, *path, name)
        else:
            yield (*path, name)


def test_the_pixels_parameters_are_those_that_are_read() -> None:
    parameters = [parameter["name"] for parameter in DOCUMENT["paths"]["/p.gif"]["get"]["parameters"]]
    fields, _ = parse_query("&".join(f"{name}=x" for name in [*parameters, "ip", "user_agent", "other"]))
    assert sorted(fields) == sorted(parameters)


def test_the_short_paths_are_those_of_the_library_for_browsers() -> None:
    """It posts to the first letter of the event's type, and batches to ``/b``."""
    assert {path: POSTED[path] for path in POSTED if len(path) == len("/v1/t")} == {
        "/v1/t": "track",
        "/v1/p": "page",
        "/v1/s": "screen",
        "/v1/i": "identify",
        "/v1/a": "alias",
        "/v1/g": "group",
        "/v1/b": "batch",
    }
