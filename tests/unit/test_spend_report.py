"""Spend on its way to the stage, and what the stage keeps: every fact comes back as it went."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import msgspec
import pytest

from attribution.errors import Rejected
from attribution.spend.fact import Level, SpendFact
from attribution.spend.kept import NO_LABELS, KeptSpend, decode_kept, encode_kept
from attribution.spend.report import SpendReport, decode_reports, encode_report, encode_reports
from streams.topics import spend_key

AS_OF = datetime(2026, 10, 2, 6, 30, 0, 123456, UTC)


def fact(**fields: Any) -> SpendFact:
    told: dict[str, Any] = {
        "day": date(2026, 10, 1),
        "ad_network": "google_ads",
        "level": Level.campaign,
        "campaign_id": "18",
        "campaign": "Häuser",
        "currency": "EUR",
        "cost": 12_345_678,
        "as_of": AS_OF,
        "imported_at": AS_OF,
    }
    return SpendFact(**told | fields)


def test_reports_come_back_as_they_went() -> None:
    first = SpendReport(site="shop", fact=fact(reach=0, platform_conversions=1_500_000), received_at=7)
    second = SpendReport(site="shop", fact=fact(cost=-1, campaign_id="19"), received_at=8)
    assert decode_reports(encode_report(first)) == [first]
    assert decode_reports(encode_reports([first, second])) == [first, second]
    envelope = b"[" + encode_report(first) + b"," + encode_report(second) + b"]"
    assert decode_reports(envelope) == [first, second]
    assert first.partition_key == "shop|google_ads"


@pytest.mark.parametrize("value", [b"", b"[{}]", b"{", b"\xff", b'{"site": "shop", "received_at": 1}'])
def test_what_is_no_report_is_refused(value: bytes) -> None:
    with pytest.raises(Rejected) as refused:
        decode_reports(value)
    assert refused.value.reason == "malformed"


def test_what_is_kept_comes_back_and_grows_at_its_end() -> None:
    kept = KeptSpend(fact(), ("Paid Search", "google", "cpc", "Häuser"))
    assert decode_kept(encode_kept(kept)) == kept
    only_a_fact = msgspec.msgpack.encode([fact()])
    assert decode_kept(only_a_fact) == KeptSpend(fact(), NO_LABELS)
    of_a_later_version = msgspec.msgpack.encode([fact(), kept.labels, "more"])
    assert decode_kept(of_a_later_version) == kept


def test_keys_of_spend_share_a_partition_and_nothing_else() -> None:
    day = date(2026, 10, 1)
    keys = {
        spend_key(3, "a", "b", day),
        spend_key(3, "a", "c", day),
        spend_key(3, "ab", "", day),
        spend_key(3, "a", "b", date(2026, 10, 2)),
        spend_key(4, "a", "b", day),
    }
    assert len(keys) == 5
    assert all(b"{s3}" in key or b"{s4}" in key for key in keys)
