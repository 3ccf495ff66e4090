"""The reduced job on plain Faust: two agents, two tables, a topic in between.

As Faust's documentation advises (faust-streaming.github.io/faust): a ``faust.Record`` per event and an agent that
iterates over the stream (userguide/agents.html), a table with a changelog topic for the state, and a topic keyed
anew in front of the second table (userguide/tables.html, "Co-partitioning Tables and Streams"). The tables' store is
``memory://``, the quicker one; ``orjson`` is installed (userguide of the ``fast`` bundle). At least once at best:
Faust acknowledges what its agents have taken, whether or not the changelog has it.

    python -m bench.rivals.faust_job worker --without-web
"""

from __future__ import annotations

import os
from typing import Any

import faust

from bench.rivals.job import Sums, Visit, add, follow

PARTITIONS = int(os.environ["RIVAL_PARTITIONS"])


class Hit(faust.Record, serializer="json"):
    """What the job reads of a hit; further fields are passed over."""

    visitor_id: str
    occurred_at: int
    event: str = "page_view"
    url: str = ""
    referrer: str = ""
    value: str = "0"


app = faust.App(
    os.environ["RIVAL_GROUP"],
    broker=f"kafka://{os.environ['RIVAL_KAFKA']}",
    store="memory://",
    datadir=os.environ["RIVAL_STATE"],
    topic_partitions=PARTITIONS,
    # The embedded broker keeps a first join waiting for half of this.
    broker_rebalance_timeout=6.0,
    broker_session_timeout=6.0,
    broker_heartbeat_interval=2.0,
    broker_request_timeout=60.0,
    consumer_auto_offset_reset="earliest",
)
parts = app.topic(
    f"{os.environ['RIVAL_GROUP']}-parts", partitions=PARTITIONS, value_serializer="json", internal=True
)
sums_out = app.topic(os.environ["RIVAL_SUMS"], partitions=PARTITIONS, value_serializer="json")
visits = app.Table("visits", partitions=PARTITIONS)
sums = app.Table("sums", partitions=PARTITIONS)


async def take(hit: dict[str, Any]) -> None:
    """One hit: the visitor's new state, and its part of a channel to the second agent."""
    visitor = hit["visitor_id"]
    visit: Visit | None = visits.get(visitor)
    visits[visitor], part = follow(visit, hit)
    if part is not None:
        await parts.send(key=part["channel"], value=part)


if os.environ["RIVAL_FORM"] == "singles":

    @app.agent(app.topic(os.environ["RIVAL_HITS"], partitions=PARTITIONS, key_type=str, value_type=Hit))
    async def follow_hits(stream: faust.StreamT[Hit]) -> None:
        """One hit a record."""
        async for hit in stream:
            await take(hit.asdict())

else:

    @app.agent(app.topic(os.environ["RIVAL_HITS"], partitions=PARTITIONS, value_serializer="json"))
    async def follow_envelopes(stream: faust.StreamT[list[dict[str, Any]]]) -> None:
        """Many hits a record."""
        async for hits in stream:
            for hit in hits:
                await take(hit)


@app.agent(parts)
async def add_up(stream: faust.StreamT[Sums]) -> None:
    """Each channel's sums, written out whenever they change."""
    async for part in stream:
        channel = part["channel"]
        sums[channel] = total = add(sums.get(channel), part)
        await sums_out.send(key=channel, value=total)


if __name__ == "__main__":
    app.main()
