"""Collector and query API hold what their ``/openapi.json`` says, whatever is sent to them (schemathesis).

For each operation both valid and broken requests are made up from the document. No answer may be a 5xx, or have a
status, a content type or a body that the document does not tell.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from collector_kit import SITE, CollectorProcess, config_of, free_port
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from api.config import ApiConfig
from api.server import run
from collector.description import describe
from collector.feeds import WEBHOOKS
from collector.segment import POSTED
from sinks.client import connect
from sinks.migrate import migrate

pytestmark = pytest.mark.slow

EXAMPLES = 50
"""Requests of one operation: as many as the time of a test allows."""
PROMISES = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
READ_KEY = "a read key"
REFUSALS = ["400", "401", "404", "413", "414", "415", "422"]
CONFIG = SchemathesisConfig.from_dict(
    {"checks": {"negative_data_rejection": {"expected-statuses": REFUSALS}}}
)

Operation = APIOperation[Any, Any, Any, Any]


def ask(
    operation: Operation, promises: list[Any], repair: Callable[[Case], Case], **given_: Any
) -> Counter[int]:
    """Send what hypothesis makes up for ``operation``; check each answer; statuses and how often.

    ``repair`` gives a valid request what cannot be guessed.
    """
    valid = operation.as_strategy(GenerationMode.POSITIVE).map(repair)
    statuses: Counter[int] = Counter()

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=st.one_of(valid, operation.as_strategy(GenerationMode.NEGATIVE)))
    def send(case: Case) -> None:
        statuses[case.call_and_validate(checks=promises, **given_).status_code] += 1

    send()
    return statuses


def with_write_key(case: Case) -> Case:
    """The key is in the header, and no other in the request."""
    if case.path in ("/p.gif", "/postback"):
        case.query["site"] = SITE
    if case.path == "/v1/spend":
        facts = case.body.get("facts", [case.body]) if isinstance(case.body, dict) else case.body
        for fact in filter(lambda fact: isinstance(fact, dict), facts):
            fact |= {"site": SITE, "day": "2026-10-01", "currency": "EUR"}
            fact.pop("as_of", None)
            for name in ("bid", "platform_conversions"):
                fact.pop(name, None)  # not below zero
    elif isinstance(case.body, dict):
        for name in ("site", "writeKey"):
            case.body.pop(name, None)
    return case


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory, valkey: str) -> Iterator[str]:
    process = CollectorProcess(config_of(tmp_path_factory.mktemp("spool"), redis=valkey))
    asyncio.run(process.ready())
    yield f"http://127.0.0.1:{process.config.port}"
    assert process.terminate() == 0
    assert "request_failed" not in process.errors


@pytest.fixture(scope="module")
def api(engine: str) -> Iterator[str]:
    database = f"fuzz_{free_port()}"
    client = connect(engine, database)
    migrate(client, database)
    config = ApiConfig(clickhouse=engine, database=database, read_keys=(READ_KEY,), port=free_port())
    process = multiprocessing.get_context("spawn").Process(target=run, args=(config,), daemon=True)
    process.start()
    url = f"http://127.0.0.1:{config.port}"
    deadline = time.monotonic() + 30
    while not _answers(f"{url}/readyz"):
        assert time.monotonic() < deadline
        assert process.is_alive()
        time.sleep(0.05)
    yield url
    assert process.is_alive()
    process.terminate()
    process.join(15)
    client.command(f"DROP DATABASE {database}", use_database=False)
    client.close()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.TransportError:
        return False


OPERATIONS = [
    (method.upper(), path)
    for path, methods in describe()["paths"].items()
    for method in methods
    if POSTED.get(path) in (None, path.removeprefix("/v1/"))  # the short paths lead to the same
]


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_the_collector_answers_as_it_says(collector: str, method: str, path: str) -> None:
    """Broken events and facts are refused too, but not with their batch, nor in front of a visitor."""
    schema = schemathesis.openapi.from_url(f"{collector}/openapi.json", config=CONFIG)
    is_strict = path not in ("/p.gif", "/v1/batch", "/v1/spend")
    promises = [*PROMISES, negative_data_rejection] if is_strict else PROMISES
    statuses = ask(schema[path][method], promises, with_write_key, auth=(SITE, ""))
    if path in WEBHOOKS:
        assert statuses[401] > 0
        assert statuses[200] == 0, "nobody can make up a signature"
        return
    assert statuses[200] > 0
    if method == "POST":
        assert statuses[400] + statuses[422] > 0


API_OPERATIONS = {
    ("POST", "/v1/query"): {200, 400, 422},
    ("GET", "/v1/models"): {200},
    ("POST", "/v1/changes"): {400, 422},
    ("GET", "/v1/paths"): {200, 422},
    ("GET", "/v1/spend/matching"): {200, 422},
    ("GET", "/v1/funnel"): {200, 422},
    ("GET", "/v1/conversions"): {404, 422},
    ("GET", "/v1/conversions/{conversion_id}"): {404},
    ("GET", "/healthz"): {200},
    ("GET", "/readyz"): {200},
    ("GET", "/metrics"): {200},
}


@pytest.mark.parametrize(("method", "path"), API_OPERATIONS)
def test_the_query_api_answers_as_it_says(api: str, method: str, path: str) -> None:
    schema = schemathesis.openapi.from_url(f"{api}/openapi.json", config=CONFIG)
    assert {(op.ok().method.upper(), op.ok().path) for op in schema.get_all_operations()} == set(
        API_OPERATIONS
    )
    promises = [*PROMISES, negative_data_rejection]
    key = {"Authorization": f"Bearer {READ_KEY}"}
    statuses = ask(schema[path][method], promises, lambda case: case, headers=key)
    assert API_OPERATIONS[method, path] <= set(statuses)
