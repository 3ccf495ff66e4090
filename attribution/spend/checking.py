"""What a report of spend must be like before it may move a sum: not only our collector writes to the topic."""

from __future__ import annotations

import re

from attribution.errors import Rejected
from attribution.money import currency_of
from attribution.spend.cells import EARLIEST
from attribution.spend.fact import MAX_COST_MICROS, Level
from attribution.spend.report import SpendReport

_LATEST_YEAR = 2099
_MAX_COUNT = 2**53
_MAX_TEXT = 4_096
_MAX_INSTANT_MS = 4_102_444_800_000
"""2100-01-01: what the tables' instants hold."""
_NETWORK = re.compile(r"[a-z0-9_]{1,64}", re.ASCII)
_NAMES = (
    "account_id",
    "campaign_id",
    "campaign",
    "ad_group_id",
    "ad_group",
    "ad_id",
    "ad",
    "bid_strategy",
    "time_zone",
)


def check_report(report: SpendReport) -> None:
    """Raises ``Rejected`` (reason, remedy, field) for what can stand in no ledger."""
    fact = report.fact
    if not report.site or len(report.site) > _MAX_TEXT:
        raise Rejected("no_site", "Name the site whose spend this is.", "site")
    if not 0 <= report.received_at < _MAX_INSTANT_MS:
        raise Rejected("bad_instant", "Epoch milliseconds before the year 2100.", "received_at")
    if not _NETWORK.fullmatch(fact.ad_network):
        raise Rejected("bad_network", "Name the network in small letters, such as google_ads.", "ad_network")
    if fact.day < EARLIEST or fact.day.year > _LATEST_YEAR:
        raise Rejected("bad_day", "Days from 2000 to 2099 are believed.", "day")
    for field in ("as_of", "imported_at"):
        instant = getattr(fact, field)
        if instant.tzinfo is None or not 0 <= instant.timestamp() * 1000 < _MAX_INSTANT_MS:
            raise Rejected(
                "bad_instant", "Write an instant with its zone, such as 2026-10-01T08:00:00Z.", field
            )
    for field in ("impressions", "reach", "clicks", "views", "installs"):
        if not 0 <= (getattr(fact, field) or 0) <= _MAX_COUNT:
            raise Rejected("bad_count", "Counts are whole numbers, zero or more.", field)
    for field in ("cost", "platform_conversions", "platform_value", "bid"):
        if abs(getattr(fact, field) or 0) > MAX_COST_MICROS:
            raise Rejected("out_of_range", "Numbers of a million millions and more are not believed.", field)
    for field in _NAMES:
        if len(getattr(fact, field)) > _MAX_TEXT:
            raise Rejected("out_of_range", f"At most {_MAX_TEXT} characters.", field)
    if fact.level is Level.live:
        raise Rejected("malformed", "What clicks cost is no report: send its campaign's day.", "level")
    if fact.level is not Level.account and not (fact.campaign_id or fact.campaign):
        raise Rejected(
            "campaign_unknown", "Name the campaign, or the same money could count twice.", "campaign_id"
        )
    if currency_of(fact.currency).code != fact.currency:
        raise Rejected("unknown_currency", "Write the currency in capitals, such as EUR.", "currency")
