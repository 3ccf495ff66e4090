"""Facts of spend by name: what a report said can be sent, and what is sent is read by the rules of the plain CSV."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from spend_samples import _REPORTS, ASSUMED, PLAIN, facts_of

from attribution.errors import Rejected
from attribution.spend.fact import MAX_COST_MICROS, Level, SpendFact
from attribution.spend.fields import MAX_TEXT, NAMES, REQUIRED, FieldReader, fields_of
from attribution.spend.reading import read_reports
from attribution.spend.sheet import ReportFile

NOW = datetime(2026, 11, 23, 12, 0, 0, 17, UTC)
FACT: dict[str, Any] = {"day": "2026-10-01", "ad_network": "acme", "cost": "1.5", "currency": "eur"}
_decode = msgspec.json.Decoder(float_hook=Decimal).decode


def sent(fields: dict[str, Any], now: datetime = NOW) -> SpendFact:
    """A fact that went over the wire."""
    return FieldReader(now).fact_of(_decode(msgspec.json.encode(fields)))


def test_every_fact_of_every_report_can_be_sent() -> None:
    files = [ReportFile(path.name, path.read_bytes(), NOW) for path in sorted(_REPORTS.glob("*.csv"))]
    facts = read_reports(files, ASSUMED).facts
    assert len({fact.ad_network for fact in facts}) > 6
    assert {fact.level for fact in facts} >= {Level.ad, Level.campaign}
    assert [sent(fields_of(fact)) for fact in facts] == facts


@given(
    cost=st.integers(-MAX_COST_MICROS, MAX_COST_MICROS),
    counts=st.lists(st.integers(0, 10**11), min_size=4, max_size=4),
    claims=st.lists(st.none() | st.integers(0, MAX_COST_MICROS), min_size=2, max_size=2),
    reach=st.none() | st.integers(0, 10**11),
)
def test_figures_arrive_to_the_last_millionth(
    cost: int, counts: list[int], claims: list[int | None], reach: int | None
) -> None:
    (fact,) = facts_of(PLAIN)
    fact = msgspec.structs.replace(
        fact,
        cost=cost,
        reach=reach,
        bid=claims[1],
        platform_conversions=claims[0],
        **dict(zip(("impressions", "clicks", "views", "installs"), counts, strict=True)),
    )
    assert sent(fields_of(fact), fact.imported_at) == fact


def test_a_platforms_own_word_for_a_time_zone_is_kept() -> None:
    assert sent(FACT | {"time_zone": "EasternTimeUSCanada"}).time_zone == "EasternTimeUSCanada"


def test_numbers_and_texts_mean_the_same() -> None:
    as_text = sent(FACT | {"clicks": "3", "campaign_id": "17", "cost": "-0.1", "bid": "2.50"})
    as_number = FieldReader(NOW).fact_of(
        _decode(
            b'{"day":"2026-10-01","ad_network":"ACME","cost":-0.1,"currency":"EUR","clicks":3.0,"campaign_id":17,'
            b'"bid":25e-1,"unknown":[{}],"as_of":null}'
        )
    )
    assert as_text == as_number
    assert as_number.cost == -100_000, "no binary fraction was in between"
    assert as_number.as_of == NOW


@pytest.mark.parametrize(
    ("fields", "reason", "field"),
    [
        *(({name: None}, "missing_field", name) for name in REQUIRED),
        ({"cost": "n/a"}, "missing_field", "cost"),
        ({"cost": "12,5"}, "bad_number", "cost"),
        ({"cost": 10**30}, "out_of_range", "cost"),
        ({"cost": Decimal("1e99")}, "out_of_range", "cost"),
        ({"cost": True}, "wrong_type", "cost"),
        ({"cost": 10**13}, "out_of_range", "cost"),
        ({"clicks": -1}, "bad_count", "clicks"),
        ({"clicks": []}, "wrong_type", "clicks"),
        ({"day": "31.10.2026"}, "bad_day", "day"),
        ({"day": 20261001}, "bad_day", "day"),
        ({"as_of": "yesterday"}, "bad_instant", "as_of"),
        ({"ad_network": "Acme Ads!"}, "bad_network", "ad_network"),
        ({"currency": "EURO"}, "unknown_currency", "currency"),
        ({"campaign_id": "1.2E+10"}, "damaged_id", "campaign_id"),
        ({"ad_id": "7"}, "campaign_unknown", "ad_id"),
        ({"campaign": "x" * (MAX_TEXT + 1)}, "too_long", "campaign"),
    ],
)
def test_what_is_wrong_names_its_field(fields: dict[str, Any], reason: str, field: str) -> None:
    with pytest.raises(Rejected) as refused:
        FieldReader(NOW).fact_of(FACT | fields)
    assert (refused.value.reason, refused.value.field) == (reason, field)
    assert refused.value.message


def test_the_names_are_the_columns_of_the_plain_csv() -> None:
    assert set(FACT) <= set(NAMES)
    assert "segment" not in NAMES
    assert set(fields_of(facts_of(PLAIN)[0])) <= set(NAMES)
