"""What reports change at a day: rows, their causes and signs, and what is kept."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

from attribution.spend.fact import Level, SpendFact
from attribution.spend.kept import NO_LABELS, KeptSpend, decode_kept
from attribution.spend.labels import Touches, TouchLabel
from sinks.tables import SPEND_COLUMNS
from streams.spend_batch import DayChange, Place, change_of

PLACE = Place("s", "google_ads", date(2026, 10, 1))
READ_AT = datetime(2026, 10, 2, tzinfo=UTC)
MET = Touches.of([TouchLabel("s", "google_ads", "Cross-network", "google", "cpc", "brand", 1)])


def fact(cost: int, hour: int = 0, **given: Any) -> SpendFact:
    told = {"level": Level.campaign, "campaign_id": "7", "campaign": "Brand", "account_id": "1"} | given
    read_at = READ_AT + timedelta(hours=hour)
    return SpendFact(
        day=PLACE.day, ad_network="google_ads", currency="EUR", cost=cost, as_of=read_at, imported_at=read_at, **told
    )  # fmt: skip


def after(
    kept: dict[str, KeptSpend], *facts: SpendFact, touches: Touches = MET
) -> tuple[dict[str, KeptSpend], Any]:
    """What is kept then, and (cause, sign, level, amount, channel) of the rows."""
    change = change_of(PLACE, kept, facts, touches, 5)
    if change is None:
        return kept, []
    for key, (was, _) in change.fields.items():
        assert was == b"" if key not in kept else decode_kept(was) == kept[key]
    rows = [dict(zip(SPEND_COLUMNS, row, strict=True)) for row in change.rows]
    assert {row["recorded_at"] for row in rows} <= {5}
    kept = kept | {key: decode_kept(now) for key, (_, now) in change.fields.items()}
    return kept, [
        tuple(row[name] for name in ("cause", "sign", "level", "amount", "channel")) for row in rows
    ]


def test_newer_figures_take_the_older_ones_back() -> None:
    kept, rows = after({}, fact(1_500_000))
    assert rows == [("report", 1, "campaign", "1.500000", "Cross-network")]
    kept, rows = after(kept, fact(-2_000_001, 1), fact(9, -1))
    assert rows == [
        ("report", -1, "campaign", "-1.500000", "Cross-network"),
        ("report", 1, "campaign", "-2.000001", "Cross-network"),
    ]
    assert after(kept, fact(-2_000_001, 1)) == (kept, [])
    kept, rows = after(kept, fact(-2_000_001, 2))
    assert rows == []
    assert [one.fact.as_of for one in kept.values()] == [READ_AT + timedelta(hours=2)]


def test_a_campaign_told_at_another_level_has_its_rows_taken_back() -> None:
    kept, _ = after({}, fact(5_000_000))
    kept, rows = after(kept, fact(4_000_000, 1, level=Level.ad, ad_id="a"))
    assert sorted(rows) == [
        ("level", -1, "campaign", "-5.000000", "Cross-network"),
        ("report", 1, "ad", "4.000000", "Cross-network"),
    ]
    assert {one.fact.level: one.labels == NO_LABELS for one in kept.values()} == {
        "campaign": True,
        "ad": False,
    }
    kept, rows = after(kept, fact(5_000_000, 2))
    assert sorted(rows) == [
        ("level", -1, "ad", "-4.000000", "Cross-network"),
        ("level", 1, "campaign", "5.000000", "Cross-network"),
    ]


def test_a_row_of_the_whole_account_counts_until_anything_finer_is_known() -> None:
    kept, _ = after({}, fact(7_000_000, level=Level.account, campaign_id="", campaign=""))
    _, rows = after(kept, fact(1, -1))
    assert sorted(rows) == [
        ("level", -1, "account", "-7.000000", "Paid Search"),
        ("report", 1, "campaign", "0.000001", "Cross-network"),
    ]


def test_other_touches_move_what_stands_and_change_no_amount() -> None:
    kept, rows = after({}, fact(3_000_000), touches=Touches())
    assert rows == [("report", 1, "campaign", "3.000000", "Paid Search")]
    kept, rows = after(kept, touches=MET)
    assert rows == [
        ("match", -1, "campaign", "-3.000000", "Paid Search"),
        ("match", 1, "campaign", "3.000000", "Cross-network"),
    ]
    assert after(kept, touches=MET) == (kept, [])


def test_counts_and_claims_are_multiplied_by_the_sign_and_names_are_not() -> None:
    told: dict[str, Any] = {
        "impressions": 9,
        "clicks": 2,
        "reach": 8,
        "platform_value": 1_500_000,
        "bid": 250_000,
    }
    kept, _ = after({}, fact(1, **told))
    change = change_of(PLACE, kept, [fact(2, 1, **told)], MET, 5)
    assert isinstance(change, DayChange)
    back, new = (dict(zip(SPEND_COLUMNS, row, strict=True)) for row in change.rows)
    signed = ("impressions", "clicks", "platform_value")
    assert [back[name] for name in signed] == [-9, -2, "-1.500000"]
    assert [new[name] for name in signed] == [9, 2, "1.500000"]
    assert back["reach"] == new["reach"] == 8
    assert back["bid"] == new["bid"] == "0.250000"
    assert back["platform_conversions"] is None
