"""``python -m bench.recovery`` at its smallest: it measures, and its judge knows what must come of the hour."""

from __future__ import annotations

import time
from collections import Counter

import pytest

from attribution.hit import decode_envelope
from bench.machine import pick_cores
from bench.recovery import PORTIONS, Hour, measure_recovery
from bench.recovery_hour import ROUND_MS, as_arrived, build_hour, traffic_of
from bench.traffic import build_traffic
from streams.topics import partition_of

BEGAN_AT = 1_790_000_000_000
PARTITIONS = 4


def test_the_hour_is_the_bench_traffic_at_another_pace() -> None:
    known = build_traffic(3_000)
    hits = build_hour(3_000, 50.0, began_at=BEGAN_AT)
    found = traffic_of(hits)
    assert [hit.event_id for hit in found.hits] == [hit.event_id for hit in known.hits]
    assert (found.kept, found.orders, found.revenue) == (known.kept, known.orders, known.revenue)
    assert found.duplicates > 0
    assert found.bots > 0
    assert hits[-1].received_at == BEGAN_AT + (len(hits) - 1) * 20
    late = [hit.received_at - hit.occurred_at for hit in hits]
    assert late == [hit.received_at - hit.occurred_at for hit in known.hits]


def test_records_hold_what_arrives_within_one_round() -> None:
    hits = build_hour(1_000, 200.0, began_at=BEGAN_AT)
    told: Counter[tuple[str, int]] = Counter()
    for record in as_arrived(hits, PARTITIONS):
        part = decode_envelope(record.value)
        assert {partition_of(hit.visitor_id, PARTITIONS) for hit in part} == {record.partition}
        assert part[-1].received_at - part[0].received_at < ROUND_MS
        told.update((hit.event_id, hit.received_at) for hit in part)
    assert told == Counter((hit.event_id, hit.received_at) for hit in hits)


@pytest.mark.slow
async def test_all_workers_are_measured() -> None:
    """Every row is checked by the measurement itself, which fails if one is missing."""
    said: list[str] = []
    began = time.monotonic()
    found = await measure_recovery(Hour(50.0, 60), pick_cores(), said.append)
    assert len(said) == 3
    assert found.away.events >= 3_000
    assert 0 < found.away.seconds <= found.away.settled_s < time.monotonic() - began
    assert found.away.spool_bytes <= 8
    assert found.away.log_bytes > 100_000 * PORTIONS
    assert found.portions > 50 << 20
    assert found.away.worker >= max(found.away.tenths) > 50 << 20
    for away in (found.away, found.half):
        assert len(away.tenths) == PORTIONS
        assert max(away.tenths) <= away.worker
    assert 1_500 <= found.half.events < found.away.events
    assert set(found.away.others) == {"broker", "valkey", "engine"}
    assert all(any(figure) for figure in found.rows())
