"""The reduced job on Bytewax: a stateful operator per visitor, another one per channel, recovery to SQLite.

As its documentation advises (docs.bytewax.io): ``KafkaSource``/``KafkaSink`` (guide/concepts/kafka.html), offsets and
state in recovery partitions, which is what makes it at least once (guide/concepts/recovery.html), ``orjson`` to read
JSON (the same page on Kafka), source batches of 5,000 as in guide/advanced-concepts/performance.html. One worker;
the snapshot interval is its default of ten seconds.

    python -m bytewax.run bench.rivals.bytewax_job:flow -r FOLDER
"""

from __future__ import annotations

import os
from typing import Any

import orjson
from bytewax import operators as op
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource, KafkaSourceMessage
from bytewax.dataflow import Dataflow

from bench.rivals.job import Sums, Visit, add, follow

Hit = dict[str, Any]
_BROKERS = [os.environ["RIVAL_KAFKA"]]


def decode(message: KafkaSourceMessage[bytes | None, bytes]) -> tuple[str, Hit]:
    """One hit and its visitor."""
    hit: Hit = orjson.loads(message.value)
    return hit["visitor_id"], hit


def decode_envelope(message: KafkaSourceMessage[bytes | None, bytes]) -> list[tuple[str, Hit]]:
    """Many hits and their visitors."""
    return [(hit["visitor_id"], hit) for hit in orjson.loads(message.value)]


def take(visit: Visit | None, hit: Hit) -> tuple[Visit, list[Sums]]:
    """One hit: the visitor's new state, and its part of a channel."""
    visit, part = follow(visit, hit)
    return visit, [] if part is None else [part]


def add_up(total: Sums | None, part: Sums) -> tuple[Sums, Sums]:
    """A channel's sums with one part more."""
    total = add(total, part)
    return total, total


def message_of(keyed: tuple[str, Sums]) -> KafkaSinkMessage[bytes, bytes]:
    """What is written out."""
    return KafkaSinkMessage(keyed[0].encode(), orjson.dumps(keyed[1]))


flow = Dataflow("reduced_job")
_messages = op.input("hits", flow, KafkaSource(_BROKERS, [os.environ["RIVAL_HITS"]], batch_size=5000))
_hits = (
    op.map("decode", _messages, decode)
    if os.environ["RIVAL_FORM"] == "singles"
    else op.flat_map("decode", _messages, decode_envelope)
)
_parts = op.map("keyless", op.stateful_flat_map("follow", _hits, take), lambda keyed: keyed[1])
_totals = op.stateful_map("add_up", op.key_on("by_channel", _parts, lambda part: part["channel"]), add_up)
op.output("sums", op.map("encode", _totals, message_of), KafkaSink(_BROKERS, os.environ["RIVAL_SUMS"]))
