"""Filters against a real engine: hostile text is only text, and ``contains`` is forgiving about case alone."""

from __future__ import annotations

import pytest
from api_store import Store, session
from clickhouse_connect.driver.client import Client

from attribution.errors import Rejected

NASTY = [
    "' OR 1=1 --",
    "'; DROP TABLE hits; --",
    "\\'; SELECT 1",
    "{database:String}",
    "${database}",
    "f0",
    "%' OR '%'='",
    "\u0000",
    "`channel`",
    "'] OR [1] = ['1",
    "\\",
    "\n--\n",
    "日本",
]


@pytest.fixture
def store(clean: tuple[Client, str]) -> Store:
    return Store(*clean)


@pytest.mark.parametrize("by", ["channel", "landing_page"])
def test_hostile_values_are_only_values(store: Store, by: str) -> None:
    """As stored names, and as filters in every operator."""
    store.put(
        "sessions", *(session(str(number), **{by: value}) for number, value in enumerate([*NASTY, "plain"]))
    )
    for value in NASTY:
        assert store.rows("sessions", by, filters=[[by, "is", [value]]]) == [[value, 1]]
        others = store.rows("sessions", by, filters=[[by, "is_not", [value]]])
        assert sorted(str(cells[0]) for cells in others) == sorted({*NASTY, "plain"} - {value})
        if value != "\u0000":
            found = {
                str(cells[0]) for cells in store.rows("sessions", by, filters=[[by, "contains", [value]]])
            }
            assert found == {name for name in NASTY if value in name}


@pytest.mark.parametrize("name", ["hour", "day", "week", "month"])
def test_hostile_values_are_refused_as_times_and_do_no_harm_in_parts_of_them(store: Store, name: str) -> None:
    store.put("sessions", session("1"))
    for value in NASTY:
        with pytest.raises(Rejected) as caught:
            store.rows("sessions", filters=[[name, "is", [value]]])
        assert caught.value.field == "filters.0.2.0"
    parts = [value for value in NASTY if value]
    assert store.rows("sessions", filters=[[name, "contains", parts]]) == [[0]]


@pytest.mark.parametrize("name", ["source", "site", "conversion_type"])
def test_hostile_values_do_no_harm_in_any_dimension(store: Store, name: str) -> None:
    """A filter on the conversion type leaves traffic alone; every other one finds nothing."""
    store.put("sessions", session("1"))
    found = store.rows("sessions", filters=[[name, "is", NASTY], [name, "contains", ["'"]]])
    assert found == [[1 if name == "conversion_type" else 0]]


def test_contains_ignores_case_and_takes_wildcards_as_text(store: Store) -> None:
    store.put("sessions", session("1", campaign="Straße 100%"), session("2", campaign="100 STRASSEN"))
    assert store.rows("sessions", "campaign", filters=[["campaign", "contains", ["straße", "nothing"]]]) == [
        ["Straße 100%", 1]
    ]
    assert store.rows("sessions", "campaign", filters=[["campaign", "contains", ["100%"]]]) == [
        ["Straße 100%", 1]
    ]
