"""What a question may do in ClickHouse: read, within limits, and nothing else."""

from __future__ import annotations

import pytest
from api_store import Store, session
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

import api.service
from api.service import QueryService
from attribution.errors import Transient
from attribution.policy import AttributionPolicy


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO {database}.hits (site) VALUES ('x')",
        "TRUNCATE TABLE {database}.hits",
        "CREATE TABLE {database}.other (a UInt8) ENGINE = Memory",
        "SELECT * FROM file('/etc/passwd', 'LineAsString')",
        "SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')",
        "SELECT 1 SETTINGS max_execution_time = 0",
    ],
)
def test_the_settings_of_a_question_let_it_only_read(clean: tuple[Client, str], statement: str) -> None:
    client, database = clean
    settings = QueryService(client, database, AttributionPolicy())._settings
    with pytest.raises(DatabaseError, match="readonly mode"):
        client.query(statement.format(database=database), settings=settings)
    assert client.query("SELECT 1", settings=settings).result_rows == [(1,)]


def test_an_answer_beyond_all_measure_is_refused(
    clean: tuple[Client, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(*clean)
    for name in "ab":
        store.put("sessions", session(name, channel=name, landing_page=name))
    assert len(store.rows("sessions", "landing_page")) == 2
    monkeypatch.setattr(api.service, "MAX_RESULT_ROWS", 1)
    with pytest.raises(Transient, match="TOO_MANY_ROWS"):
        Store(*clean).rows("sessions", "landing_page")


def test_an_account_that_is_read_only_by_its_profile_is_left_so(
    clean: tuple[Client, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, database = clean
    given = client.server_settings["readonly"]
    monkeypatch.setitem(client.server_settings, "readonly", type(given)(given.name, "2", 1))
    settings = QueryService(client, database, AttributionPolicy())._settings
    assert "readonly" not in settings
    assert settings["max_execution_time"] == 30
