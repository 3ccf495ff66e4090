"""Adapters: each sender's payloads as facts, and every malformed one with a reason."""

from __future__ import annotations

import json
from typing import Any

import pytest
from deal_payloads import WHOLE, adapt
from hypothesis import given, settings
from hypothesis import strategies as st

from attribution.deals.adapters import ADAPTERS, VERSIONS
from attribution.deals.adapters.base import instant
from attribution.deals.life import books_of_facts
from attribution.deals.rules import DealRules


@pytest.mark.parametrize("source", ADAPTERS)
@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff\xfe", b"[" * 5000, b'{"a": 1e999999999}', b"nonsense", b"<a>" * 200_000]
)
def test_a_payload_that_is_none_has_a_reason(source: str, body: bytes) -> None:
    """Nothing is raised, nothing invented."""
    mapped = adapt(source, body)
    assert mapped.facts == ()
    assert len(mapped.problems) >= 1


@pytest.mark.parametrize("source", ADAPTERS)
@pytest.mark.parametrize("payload", [None, 1, "text", [], {}, [1], [[]], {"data": 5, "meta": [], "type": {}}])
def test_a_payload_of_another_shape_has_a_reason_or_says_nothing(source: str, payload: Any) -> None:
    """An empty batch is well-formed."""
    mapped = adapt(source, payload)
    assert mapped.facts == ()
    assert mapped.problems or payload in ([], None)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=8), children, max_size=3)
    ),
    max_leaves=6,
)
HEADERS = {"x-shopify-topic": "orders/updated"}


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    keys: Any = (
        value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    )
    return [path, *(place for key in keys for place in _places(value[key], (*path, key)))]


@settings(max_examples=300)
@given(st.sampled_from(sorted(WHOLE)), st.data())
def test_no_value_in_any_place_makes_an_adapter_raise(source: str, data: st.DataObject) -> None:
    """Facts stay well-formed, so that books can be made of them; the same payload is read the same twice."""
    payload = json.loads(json.dumps(WHOLE[source]))
    place = data.draw(st.sampled_from(_places(payload)[1:]))
    inner = payload
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = data.draw(JSON)
    mapped = adapt(source, payload, HEADERS)
    assert mapped == adapt(source, payload, HEADERS)
    books_of_facts(mapped.facts, DealRules())
    for fact in mapped.facts:
        assert fact.object_id
        assert fact.adapter_version == VERSIONS[source]
        assert all(value is None or isinstance(value, (str, int, bool)) for value in fact.fields.values())


@pytest.mark.parametrize(
    ("value", "zone", "expected"),
    [
        ("2026-07-01T12:00:00Z", "UTC", 1_782_907_200_000),
        ("2026-07-01T12:00:00", "Europe/Berlin", 1_782_900_000_000),
        ("2026-07-01T12:00:00.250+02:00", "UTC", 1_782_900_000_250),
        (1727447128, "UTC", 1_727_447_128_000),
        ("1763411205926", "UTC", 1_763_411_205_926),
        ("tomorrow", "UTC", None),
        (True, "UTC", None),
        (-5, "UTC", None),
        ("0001-01-01T00:00:00+14:00", "UTC", None),
    ],
)
def test_instants_of_every_notation(value: Any, zone: str, expected: int | None) -> None:
    """Times without a zone are in the installation's."""
    assert instant(value, zone) == expected
