"""The reduced job on Quix Streams: a stateful function per visitor, ``group_by`` channel, a second one for the sums.

As its documentation advises (quix.io/docs/quix-streams): ``apply(..., stateful=True)`` with state by message key
(advanced/stateful-processing.html), ``group_by`` for another key (groupby.html), processing guarantee
"at-least-once", checkpoints every five seconds and changelog topics (configuration.html), which are the defaults.

An envelope's key names its partition; its visitors' states then live under that key. That spares Quix the
repartition topic for every hit that ``group_by`` on the visitor would cost.

    python -m bench.rivals.quix_job
"""

from __future__ import annotations

import os
from typing import Any

from quixstreams import Application, State

from bench.rivals.job import Sums, add, follow

Hit = dict[str, Any]


def take(hit: Hit, state: State) -> Sums | None:
    """One hit: the visitor's new state, and its part of a channel."""
    visitor = hit["visitor_id"]
    visit, part = follow(state.get(visitor), hit)
    state.set(visitor, visit)
    return part


def take_all(hits: list[Hit], state: State) -> list[Sums]:
    """An envelope of hits."""
    return [part for hit in hits if (part := take(hit, state)) is not None]


def add_up(part: Sums, state: State) -> Sums:
    """A channel's sums with one part more."""
    total = add(state.get("sums"), part)
    state.set("sums", total)
    return total


def main() -> None:
    """Run until stopped."""
    app = Application(
        broker_address=os.environ["RIVAL_KAFKA"],
        consumer_group=os.environ["RIVAL_GROUP"],
        auto_offset_reset="earliest",
        state_dir=os.environ["RIVAL_STATE"],
        loglevel="WARNING",
    )
    hits = app.topic(os.environ["RIVAL_HITS"], key_deserializer="str", value_deserializer="json")
    sums = app.topic(os.environ["RIVAL_SUMS"], key_serializer="json", value_serializer="json")
    frame = app.dataframe(hits)
    if os.environ["RIVAL_FORM"] == "singles":
        frame = frame.apply(take, stateful=True).filter(lambda part: part is not None)
    else:
        frame = frame.apply(take_all, stateful=True, expand=True)
    frame.group_by("channel").apply(add_up, stateful=True).to_topic(sums)
    app.run()


if __name__ == "__main__":
    main()
