"""The yardstick: a plain Faust pipeline, one event at a time, with a table. It does sessions and last touch only.

Written as Faust's documentation advises: a ``faust.Record`` per event, an agent that iterates over the stream, a
table with a changelog topic for the state of each visitor, one message to an output topic per event. It keeps no
hits, has no late arrivals, duplicates, robots, channels, models or ledger, and delivers at least once at best.

    python -m bench.plain_faust worker --without-web
"""

from __future__ import annotations

import os
from urllib.parse import parse_qs, urlsplit

import faust

HITS, TOUCHED = "plain.hits", "plain.touched"
PARTITIONS = 4
GAP_MS = 30 * 60_000


class Hit(faust.Record, serializer="json"):
    """What this pipeline reads of a hit; further fields are passed over."""

    event_id: str
    visitor_id: str
    occurred_at: int
    event: str = "page_view"
    url: str = ""
    referrer: str = ""
    value: str = ""


class Visit(faust.Record, serializer="json"):
    """The current session of a visitor, and the last touch before now."""

    started_at: int
    last_at: int
    hits: int
    source: str
    medium: str
    campaign: str


class Touched(faust.Record, serializer="json"):
    """One event with its session and its last touch."""

    event_id: str
    visitor_id: str
    event: str
    session_started_at: int
    source: str
    medium: str
    campaign: str
    value: str


app = faust.App(
    "plain-faust",
    broker=f"kafka://{os.environ.get('PLAIN_FAUST_KAFKA', '127.0.0.1:9092')}",
    store="memory://",
    topic_partitions=PARTITIONS,
    # The embedded broker keeps a first join waiting for half of this.
    broker_rebalance_timeout=6.0,
    broker_session_timeout=6.0,
    broker_heartbeat_interval=2.0,
    broker_request_timeout=60.0,
    consumer_auto_offset_reset="earliest",
)
hits = app.topic(HITS, key_type=str, value_type=Hit, partitions=PARTITIONS)
touched = app.topic(TOUCHED, key_type=str, value_type=Touched, partitions=PARTITIONS)
visits = app.Table("visits", partitions=PARTITIONS)


def touch_of(hit: Hit) -> tuple[str, str, str] | None:
    """Source, medium and campaign of a hit that arrives from somewhere; None for a step within the site."""
    page = urlsplit(hit.url)
    if page.query:
        tags = parse_qs(page.query)
        if "utm_source" in tags:
            return (
                tags["utm_source"][0],
                tags.get("utm_medium", ["(not set)"])[0],
                tags.get("utm_campaign", [""])[0],
            )
        if "gclid" in tags:
            return "google", "cpc", ""
    referrer = urlsplit(hit.referrer).netloc
    if referrer and referrer != page.netloc:
        return referrer, "referral", ""
    return None


@app.agent(hits)
async def follow(stream: faust.StreamT[Hit]) -> None:
    """Put each hit into its visitor's session and say what touched the visitor last."""
    async for hit in stream:
        visit = visits.get(hit.visitor_id)
        touch = touch_of(hit)
        if visit is None:
            source, medium, campaign = touch or ("(direct)", "(none)", "")
            visit = Visit(hit.occurred_at, hit.occurred_at, 1, source, medium, campaign)
        else:
            if hit.occurred_at - visit.last_at > GAP_MS:
                visit.started_at, visit.hits = hit.occurred_at, 0
            visit.last_at = max(visit.last_at, hit.occurred_at)
            visit.hits += 1
            if touch is not None:
                visit.source, visit.medium, visit.campaign = touch
        visits[hit.visitor_id] = visit
        await touched.send(
            key=hit.visitor_id,
            value=Touched(
                hit.event_id,
                hit.visitor_id,
                hit.event,
                visit.started_at,
                visit.source,
                visit.medium,
                visit.campaign,
                hit.value or "",
            ),
        )


if __name__ == "__main__":
    app.main()
