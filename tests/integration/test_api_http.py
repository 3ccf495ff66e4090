"""The query API over HTTP: keys, errors in one shape, headers, and a ClickHouse that comes and goes."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from fastapi.testclient import TestClient
from sinks_rows import row

from api.app import MAX_BODY, create_app
from api.auth import ReadKeys
from api.catalog import DIMENSIONS, METRICS
from api.config import ApiConfig
from api.measures import Side
from attribution.errors import Misconfigured, Rejected, Transient
from sinks.client import connect
from sinks.migrate import migrate
from sinks.tables import CONVERSIONS_COLUMNS, CREDITS_COLUMNS
from sinks.writer import RowWriter

KEY = {"Authorization": "Bearer correct horse"}
QUESTION: dict[str, Any] = {"metrics": ["revenue"], "dimensions": ["channel"]}


def config(**given: Any) -> ApiConfig:
    base: dict[str, Any] = {
        "clickhouse": "http://127.0.0.1:1",
        "database": "x",
        "read_keys": ("old", "correct horse"),
    }
    return ApiConfig(**{**base, **given})


@pytest.fixture(scope="module")
def http(engine: str, migrated: tuple[Client, str]) -> Iterator[TestClient]:
    client, database = migrated
    writer = RowWriter(client, database)
    hostile = "<script>alert(1)</script>"
    writer.insert(
        "credits",
        CREDITS_COLUMNS,
        [
            row(
                "credits",
                model="linear",
                channel=hostile,
                amount="1.10",
                conversion_value="1.10",
                conversion_id="c",
                currency="USD",
            )
        ],
        "c",
    )
    writer.insert(
        "conversions",
        CONVERSIONS_COLUMNS,
        [row("conversions", conversion_id="c", order_id="a/b?c", value="1.10", currency="USD")],
        "o",
    )
    # The app closes what it opens, so it gets a client of its own.
    app = create_app(config(database=database), lambda: connect(engine, database))
    with TestClient(app, raise_server_exceptions=False, client=("127.0.0.1", 5)) as http:
        yield http


def problem(response: Any) -> tuple[int, str, str]:
    body = response.json()
    assert set(body) == {"code", "message", "field"}
    assert body["message"]
    assert response.headers["content-type"] == "application/json"
    return response.status_code, body["code"], body["field"]


def test_requests_share_what_has_been_learnt(
    engine: str, migrated: tuple[Client, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is one person with whom, which currencies there are: read for the first question, not for every one."""
    client = connect(engine, migrated[1])
    asked: list[str] = []
    numbers, rows = client.query_np, client.query

    def told(ask: Any, sql: str, *given: Any, **named: Any) -> Any:
        asked.append(sql)
        return ask(sql, *given, **named)

    monkeypatch.setattr(client, "query_np", lambda *given, **named: told(numbers, *given, **named))
    monkeypatch.setattr(client, "query", lambda *given, **named: told(rows, *given, **named))
    with TestClient(
        create_app(config(database=migrated[1]), lambda: client), client=("127.0.0.1", 5)
    ) as http:
        counts: list[int] = []
        for _ in range(2):
            asked.clear()
            assert http.post("/v1/query", json={"metrics": ["people"]}, headers=KEY).status_code == 200
            counts.append(len(asked))
    # The second asks whether any link has come, and the question itself.
    assert counts[1] == 2 < counts[0]


def test_a_question_is_answered(http: TestClient) -> None:
    response = http.post("/v1/query", json=QUESTION, headers=KEY)
    assert response.status_code == 200
    body = response.json()
    assert body["columns"] == ["channel", "revenue"]
    assert body["rows"] == [["<script>alert(1)</script>", "1.10"]]
    assert {"model", "basis", "currency", "as_of", "timezone", "bases", "coverage", "elapsed_ms"} <= set(
        body["meta"]
    )
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        "Basic correct horse",
        "correct horse",
        "Bearer correct hors",
        "Bearer correct horse!",
    ],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/v1/query"), ("GET", "/v1/conversions/c"), ("GET", "/v1/conversions?order_id=a")],
)
def test_without_a_key_nothing_is_told(http: TestClient, authorization: str, method: str, path: str) -> None:
    response = http.request(method, path, headers={"Authorization": authorization}, content=b"not even JSON")
    assert problem(response) == (401, "unauthorized", "Authorization")
    assert response.headers["www-authenticate"] == "Bearer"


def test_either_key_works_and_the_scheme_in_any_case() -> None:
    keys = ReadKeys(["one", "two"])
    for header in ("Bearer one", "bearer two", "BEARER  two "):
        keys.check(header)
    for header in (None, "Bearer \udcff", "Bearer " + "x" * 100_000):
        with pytest.raises(Rejected):
            keys.check(header)


@pytest.mark.parametrize(
    ("body", "kind", "expected"),
    [
        (b"{", "application/json", (400, "malformed_json", "")),
        (b"", "application/json", (400, "malformed_json", "")),
        (b"\xff\xfe", "application/json", (400, "malformed_json", "")),
        (b"[" * 60_000, "application/json", (400, "malformed_json", "")),
        (b"[]", "application/json", (422, "invalid_request", "")),
        (
            b'{"metrics": ["cac"], "dimensions": ["landing_page"]}',
            "application/json",
            (422, "not_available", "metrics.0"),
        ),
        (
            b'{"metrics": ["revenue; DROP TABLE hits"]}',
            "application/json",
            (422, "unknown_metric", "metrics.0"),
        ),
        (b'{"metrics": ["hits"], "limit": 1e99}', "application/json", (422, "invalid_request", "limit")),
        (b'{"metrics": ["hits"], "offset": NaN}', "application/json", (422, "invalid_request", "offset")),
        (b'{"metrics": ["hits"]}', "text/plain", (415, "unsupported_media_type", "Content-Type")),
        (b" " * (MAX_BODY + 1), "application/json", (413, "too_large", "")),
    ],
)
def test_bad_questions_get_a_clear_answer(
    http: TestClient, body: bytes, kind: str, expected: tuple[int, str, str]
) -> None:
    response = http.post("/v1/query", content=body, headers={**KEY, "Content-Type": kind})
    assert problem(response) == expected


async def test_a_question_that_comes_drop_by_drop_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.app.BODY_SECONDS", 0.05)
    sent: list[Any] = []
    is_waiting = asyncio.Event()

    def factory() -> Client:
        raise Transient("not needed")

    async def receive() -> dict[str, Any]:
        if not is_waiting.is_set():
            is_waiting.set()
            return {"type": "http.request", "body": b'{"metrics"', "more_body": True}
        await asyncio.Event().wait()
        raise AssertionError("nothing more comes")

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"authorization", b"Bearer old"), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/v1/query", "query_string": b"", "headers": headers}
    await asyncio.wait_for(create_app(config(), factory)(scope, receive, send), 20)
    assert sent[0]["status"] == 408
    assert json.loads(sent[1]["body"])["code"] == "too_slow"


def test_names_with_lone_surrogates_do_no_harm(http: TestClient) -> None:
    body = b'{"metrics": ["hits"], "filters": [["channel", "is", ["\\ud800"]]]}'
    response = http.post("/v1/query", content=body, headers={**KEY, "Content-Type": "application/json"})
    assert response.status_code in (200, 400, 422)


@pytest.mark.parametrize(
    "path", ["/v1/conversions/c", "/v1/conversions/a/b%3Fc", "/v1/conversions?order_id=a/b%3Fc"]
)
def test_a_conversion_is_explained_by_id_and_order_id(http: TestClient, path: str) -> None:
    body = http.get(path, headers=KEY).json()
    assert body["conversion"]["conversion_id"] == "c"
    assert body["balanced"] == {"linear": True}


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/v1/conversions/nothing", (404, "not_found", "conversion_id")),
        ("GET", "/v1/conversions/", (422, "invalid_request", "conversion_id")),
        ("GET", "/v1/conversions/" + "x" * 501, (422, "invalid_request", "conversion_id")),
        ("GET", "/v1/conversions", (422, "invalid_request", "order_id")),
        ("GET", "/nothing/here", (404, "not_found", "")),
        ("GET", "/v1/query", (405, "method_not_allowed", "")),
        ("DELETE", "/v1/conversions/c", (405, "method_not_allowed", "")),
        ("GET", "/docs", (404, "not_found", "")),
        ("GET", "/redoc", (404, "not_found", "")),
    ],
)
def test_other_errors_have_the_same_shape(
    http: TestClient, method: str, path: str, expected: tuple[int, str, str]
) -> None:
    assert problem(http.request(method, path, headers=KEY)) == expected


def test_operations_need_no_key(http: TestClient) -> None:
    assert http.get("/healthz").json() == {"status": "ok"}
    assert http.get("/readyz").json() == {"status": "ready"}
    http.get("/no/such/path/of-a-stranger")
    text = http.get("/metrics").text
    assert 'headwater_api_requests_total{route="/readyz",status="200"}' in text
    # Paths and ids of strangers are no labels.
    assert "of-a-stranger" not in text


@pytest.mark.parametrize(
    ("host", "headers"),
    [
        ("8.8.8.8", {}),
        ("2606:4700:4700::1111", {}),
        ("nonsense", {}),
        ("127.0.0.1", {"X-Forwarded-For": "10.0.0.1"}),
    ],
)
def test_metrics_are_for_private_networks(host: str, headers: dict[str, str]) -> None:
    def factory() -> Client:
        raise Transient("not needed")

    with TestClient(create_app(config(), factory), client=(host, 5)) as http:
        assert problem(http.get("/metrics", headers=headers)) == (404, "not_found", "")
        assert http.get("/healthz", headers=headers).status_code == 200


def test_there_are_exactly_these_routes() -> None:
    """No page for developers, nothing that writes (CVE-2026-8467, GHSA-8www-cffh-4q98)."""

    def factory() -> Client:
        raise Transient("not needed")

    routes = {(route.path, *sorted(route.methods)) for route in create_app(config(), factory).routes}  # type: ignore[attr-defined]
    assert routes == {
        ("/", "GET"),
        ("/page.js", "GET"),
        ("/page.css", "GET"),
        ("/healthz", "GET"),
        ("/readyz", "GET"),
        ("/metrics", "GET"),
        ("/openapi.json", "GET", "HEAD"),
        ("/v1/query", "POST"),
        ("/v1/models", "GET"),
        ("/v1/changes", "POST"),
        ("/v1/paths", "GET"),
        ("/v1/funnel", "GET"),
        ("/v1/spend/matching", "GET"),
        ("/v1/conversions", "GET"),
        ("/v1/conversions/{conversion_id:path}", "GET"),
    }


def test_the_schema_lists_routes_body_and_key(http: TestClient) -> None:
    schema = http.get("/openapi.json").json()
    assert set(schema["paths"]) == {
        "/v1/query",
        "/v1/models",
        "/v1/changes",
        "/v1/paths",
        "/v1/funnel",
        "/v1/spend/matching",
        "/v1/conversions",
        "/v1/conversions/{conversion_id}",
        "/healthz",
        "/readyz",
        "/metrics",
    }
    body = schema["paths"]["/v1/query"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert "date_range" in body["properties"]
    assert schema["components"]["securitySchemes"]["read_key"]["scheme"] == "bearer"
    assert schema["paths"]["/v1/query"]["post"]["security"] == [{"read_key": []}]


def test_the_schema_tells_every_answer_error_and_name(http: TestClient) -> None:
    """Problems have our shape (not FastAPI's), every reference leads somewhere, and what it lists can be asked."""
    document = http.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    assert schemas["Problem"]["properties"].keys() == {"code", "message", "field"}
    references = re.findall(r'"\$ref": ?"#/components/schemas/([^"]+)"', json.dumps(document))
    assert set(references) == set(schemas)
    told = {
        path: set(next(iter(methods.values()))["responses"]) for path, methods in document["paths"].items()
    }
    assert told["/v1/query"] == {"200", "400", "401", "408", "413", "415", "422", "503", "default"}
    assert told["/v1/conversions/{conversion_id}"] == {"200", "401", "404", "409", "422", "503", "default"}
    assert told["/readyz"] == {"200", "503", "default"}
    scrape = document["paths"]["/metrics"]["get"]["responses"]["200"]["content"]
    assert scrape.keys() == {"text/plain"}
    question = document["paths"]["/v1/query"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    names = question["properties"]
    listed = http.get("/v1/models", headers=KEY).json()["models"]
    assert {one["name"] for one in listed} == {*names["model"]["enum"]}
    credited = [one["name"] for one in listed if one["is_credited"]]
    for model, dimension in product(credited, names["dimensions"]["items"]["enum"]):
        by = DIMENSIONS[dimension]
        # What ads cost is not known by everything, and all spend has no parts: see test_query_plan.
        metrics = [
            name
            for name in names["metrics"]["items"]["enum"]
            if not (METRICS[name].of_all and by.of_touch)
            and (by.of_cost or Side.cost not in METRICS[name].sides)
        ]
        body = {"metrics": metrics, "dimensions": [dimension], "model": model, "basis": "touch"}
        assert http.post("/v1/query", json=body, headers=KEY).status_code == 200
    assert schemas["Share"]["properties"]["weight"]["type"] == "number"  # as ``encode`` writes decimals


def test_the_page_runs_nothing_but_its_own_script(http: TestClient) -> None:
    page = http.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "<script>" not in page.text
    assert "style=" not in page.text
    assert "http" not in page.text
    script = http.get("/page.js")
    assert script.headers["content-type"] == "text/javascript; charset=utf-8"
    assert "innerHTML" not in script.text
    assert http.get("/page.css").status_code == 200


def test_while_clickhouse_is_away_it_says_so_and_recovers(engine: str, fresh_database: str) -> None:
    """Connecting fails at first; the same app answers once the server is there."""
    migrate(connect(engine, fresh_database), fresh_database)
    away = True

    def factory() -> Client:
        if away:
            raise Transient("connection refused by 10.0.0.1 as user secret", retry_after=2)
        return connect(engine, fresh_database)

    with TestClient(create_app(config(database=fresh_database), factory)) as http:
        assert http.get("/healthz").status_code == 200
        for response in (http.post("/v1/query", json=QUESTION, headers=KEY), http.get("/readyz")):
            assert problem(response)[:2] == (503, "unavailable")
            assert response.headers["retry-after"] == "2"
            assert "secret" not in response.text
        away = False
        assert http.get("/readyz").status_code == 200
        assert http.post("/v1/query", json=QUESTION, headers=KEY).json()["rows"] == []


def test_a_server_that_vanishes_is_503(engine: str) -> None:
    client = connect(engine, "default")
    client._backend._base_url = "http://127.0.0.1:9/"
    with TestClient(create_app(config(), lambda: client)) as http:
        assert problem(http.post("/v1/query", json=QUESTION, headers=KEY))[:2] == (503, "unavailable")


def test_before_the_migration_it_is_not_ready_and_tells_no_sql(engine: str) -> None:
    with TestClient(create_app(config(database="not_there"), lambda: connect(engine, "not_there"))) as http:
        assert problem(http.get("/readyz"))[:2] == (503, "misconfigured")
        response = http.post("/v1/query", json=QUESTION, headers=KEY)
        assert problem(response)[:2] == (503, "misconfigured")
        assert "SELECT" not in response.text
        assert "not_there" not in response.text


def test_a_defect_of_ours_is_500_without_details() -> None:
    def broken() -> Client:
        raise RuntimeError("secret detail")

    with TestClient(create_app(config(), broken), raise_server_exceptions=False) as http:
        response = http.post("/v1/query", json=QUESTION, headers=KEY)
        assert problem(response)[:2] == (500, "internal")
        assert "secret" not in response.text


def test_an_api_that_nobody_could_use_does_not_start() -> None:
    for keys in ((), ("",)):
        with pytest.raises(Misconfigured, match="HEADWATER_READ_KEYS"):
            config(read_keys=keys)
    with pytest.raises(Rejected):
        config(currency="XXZ")
    assert "correct horse" not in repr(config())
    assert json.dumps(repr(config())).find("127.0.0.1:1") == -1
