"""The reduced job: sessions, the last touch of each conversion, sums per channel. Standard library only.

For each visitor, in the order of arrival: a hit more than 30 minutes after the visitor's last one starts a session; a
tagged link, a Google click id or a foreign referrer is a touch; a session start and a purchase count for the channel
of the last touch. It keeps no hits and knows no duplicates, robots, late arrivals, corrections, models or ledger; a
robot's hit and a hit sent twice count. Every rival imports these functions (the Java one repeats them), so that they
differ in nothing but their machinery. Instants are epoch milliseconds, UTC; money is minor units.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypedDict
from urllib.parse import parse_qs, urlsplit

GAP_MS = 30 * 60_000
DIRECT = "(direct) / (none)"
PURCHASE = "purchase"

Visit = list[Any]
"""A visitor's state: ``[session started at, last hit at, hits of the session, channel of the last touch]``."""


class Sums(TypedDict):
    """What a hit adds to a channel, and what a channel has in all."""

    channel: str
    sessions: int
    conversions: int
    revenue: int


def channel_of(url: str, referrer: str) -> str | None:
    """Source and medium of a hit that arrives from somewhere; None for a step within the site."""
    page = urlsplit(url)
    if page.query:
        tags = parse_qs(page.query)
        if "utm_source" in tags:
            return f"{tags['utm_source'][0]} / {tags.get('utm_medium', ['(not set)'])[0]}"
        if "gclid" in tags:
            return "google / cpc"
    host = urlsplit(referrer).netloc
    return f"{host} / referral" if host and host != page.netloc else None


def follow(visit: Visit | None, hit: Mapping[str, Any]) -> tuple[Visit, Sums | None]:
    """The visitor's state after ``hit``, and what the hit adds to a channel if anything."""
    at = hit["occurred_at"]
    touch = channel_of(hit.get("url", ""), hit.get("referrer", ""))
    starts = visit is None or at - visit[1] > GAP_MS
    if visit is None:
        visit = [at, at, 1, touch or DIRECT]
    else:
        channel = touch or visit[3]
        visit = (
            [at, max(at, visit[1]), 1, channel]
            if starts
            else [visit[0], max(at, visit[1]), visit[2] + 1, channel]
        )
    bought = hit.get("event") == PURCHASE
    if not starts and not bought:
        return visit, None
    revenue = minor_units(hit.get("value", "0")) if bought else 0
    return visit, Sums(channel=visit[3], sessions=int(starts), conversions=int(bought), revenue=revenue)


def add(total: Sums | None, part: Sums) -> Sums:
    """``total`` with ``part`` added."""
    if total is None:
        return part
    return Sums(
        channel=part["channel"],
        sessions=total["sessions"] + part["sessions"],
        conversions=total["conversions"] + part["conversions"],
        revenue=total["revenue"] + part["revenue"],
    )


def minor_units(text: str) -> int:
    """Cents of an amount with two decimals: ``"12.50"`` is 1250."""
    whole, _, cents = text.partition(".")
    return int(whole) * 100 + int(cents or 0)


def expected_sums(hits: Iterable[Mapping[str, Any]]) -> dict[str, Sums]:
    """What every rival must arrive at: the job in one pass, by channel."""
    visits: dict[str, Visit] = {}
    sums: dict[str, Sums] = {}
    for hit in hits:
        visitor = hit["visitor_id"]
        visits[visitor], part = follow(visits.get(visitor), hit)
        if part is not None:
            sums[part["channel"]] = add(sums.get(part["channel"]), part)
    return sums
