"""Rows that ClickHouse refuses for good, in a real one: the cause is a dead letter, and the partition goes on."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import msgspec
import pytest
from test_worker import PARTITIONS, T0, House

from attribution.hit import Hit, encode_envelope
from attribution.policy import AttributionPolicy
from sinks import writer
from sinks.checks import run_checks
from sinks.writer import RowWriter
from streams.refusals import REFUSED
from streams.replay import replay
from streams.topics import CONVERSIONS, DEAD_LETTERS, HITS, partition_of

EMBEDDED = pytest.mark.parametrize("broker_kind", ["embedded"], indirect=True)
VISITORS = [v for v in (f"v{number}" for number in range(200)) if partition_of(v, PARTITIONS) == 0][:12]
BAD = VISITORS[5]
GOOD = [visitor for visitor in VISITORS if visitor != BAD]


@pytest.fixture
def house(
    fresh_broker: str, takes_idempotent: bool, empty_valkey: str, engine: str, fresh_database: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> House:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    return House(fresh_broker, takes_idempotent, empty_valkey, engine, fresh_database)


def journey(visitor: str, day: int) -> list[Hit]:
    """A visit and a purchase."""
    at = T0 + day * 86_400_000
    seen = Hit(
        event_id=f"see-{day}", site="s", visitor_id=visitor, occurred_at=at, received_at=at,
        url="https://shop.example/?utm_source=linkedin&utm_medium=paid-social&hw_cost=1",
    )  # fmt: skip
    bought = Hit(
        event_id=f"buy-{day}", site="s", visitor_id=visitor, occurred_at=at + 1, received_at=at + 1, event="purchase",
        value="10.01", currency="USD", order_id=f"o-{visitor}-{day}",
    )  # fmt: skip
    return [seen, bought]


def failed(house: House) -> list[str]:
    return [check.name for check in run_checks(house.client, house.database) if not check.passed]


def letters(house: House) -> list[tuple[Any, ...]]:
    return list(
        house.client.query(
            f"SELECT topic, reason, payload_base64 FROM {house.database}.dead_letters"
        ).result_rows
    )


@pytest.mark.parametrize("table", ["hits", "sessions", "touchpoints", "conversions", "credits"])
@EMBEDDED
async def test_a_constraint_of_the_house_costs_its_cause_only(house: House, table: str) -> None:
    """Whoever adds a constraint to a table of ours: what it refuses is kept, counted, and can be replayed."""
    change = f"ALTER TABLE {house.database}.{table}"
    house.client.command(f"{change} ADD CONSTRAINT not_bad CHECK visitor_id != '{BAD}'")
    is_hit = table in ("hits", "sessions", "touchpoints")
    async with house.working(), house.producing() as send:
        for day in (0, 1):
            await send(HITS, VISITORS[0], encode_envelope([h for v in VISITORS for h in journey(v, day)]))
            refused = (day + 1) * (2 if is_hit else 1)
            await house.until(lambda n=refused: house.count("dead_letters") == n, "dead letters")  # type: ignore[misc]
        await house.until(lambda: house.count("hits") == (44 if is_hit else 48), "hits")
        await house.until(lambda: net(house, "conversions") == 22, "conversions of the others")
        found = letters(house)
        assert {letter[:2] for letter in found} == {(HITS if is_hit else CONVERSIONS, REFUSED)}
        payloads = [msgspec.json.decode(base64.b64decode(letter[2])) for letter in found]
        assert {payload["visitor_id"] for payload in payloads} == {BAD}
        # What the click of a hit cost that is not there does not count, either.
        assert house.count("click_costs") == (22 if is_hit else 24)
        # The ledger is written after the conversions that it credits.
        await house.until(lambda: failed(house) == [], "nothing wrong")
        house.client.command(f"{change} DROP CONSTRAINT not_bad")
        counted = await replay(
            house.client, RowWriter(house.client, house.database), house.kafka, idempotent=house.idempotent,
            partitions=PARTITIONS, database=house.database,
        )  # fmt: skip
        assert counted == {REFUSED: len(found)}
        await house.until(lambda: net(house, "conversions") == 24, "all conversions")
        await house.until(lambda: house.count("hits") == 48, "all hits")
        await house.until(lambda: house.count("click_costs") == 24, "all costs")
    assert failed(house) == []
    assert len(letters(house)) == len(found)


def net(house: House, table: str) -> int:
    return int(house.client.query(f"SELECT sum(sign) FROM {house.database}.{table}").result_rows[0][0])


@EMBEDDED
async def test_a_refused_cost_of_a_click_costs_no_hit(house: House) -> None:
    house.client.command(
        f"ALTER TABLE {house.database}.click_costs ADD CONSTRAINT some CHECK event_id != 'see-1'"
    )
    async with house.working(), house.producing() as send:
        for day in (0, 1):
            await send(HITS, VISITORS[0], encode_envelope([h for v in VISITORS[:3] for h in journey(v, day)]))
        await house.until(lambda: house.count("hits") == 12, "hits")
        await house.until(lambda: house.count("click_costs") == 3, "costs")
        await house.until(lambda: failed(house) == [], "nothing wrong")
    assert house.count("dead_letters") == 0


@EMBEDDED
async def test_more_rows_than_one_insert_takes_go_in_parts(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It used to stop the partition for ever; nothing of it is anybody's fault, so there is no dead letter."""
    monkeypatch.setattr(writer, "MAX_ROWS", 20)
    async with house.working(), house.producing() as send:
        await send(HITS, VISITORS[0], encode_envelope([h for v in VISITORS for h in journey(v, 0)]))
        await house.until(lambda: house.count("conversions") == 12, "conversions")
        await house.until(lambda: house.count("hits") == 24, "hits")
        await house.until(lambda: house.count("credits") == 12 * len(AttributionPolicy().models), "credits")
    assert house.count("dead_letters") == 0
    assert failed(house) == []


async def test_a_dead_letter_that_is_too_large_for_kafka_is_kept_whole_in_clickhouse(house: House) -> None:
    """In base64 it is a third longer than the record that came: the broker refuses it, which ended the worker."""
    malformed = b"{" + b"x" * 950_000
    async with house.working(), house.producing() as send:
        await send(HITS, VISITORS[0], malformed)
        await send(HITS, VISITORS[0], encode_envelope(journey(VISITORS[0], 0)))
        await house.until(lambda: house.count("hits") == 2, "the hits behind it")
    ((_, reason, payload),) = letters(house)
    assert (reason, base64.b64decode(payload)) == ("malformed", malformed)
    (said,) = await house.read(DEAD_LETTERS, 1)
    assert (said["payload"], said["payload_bytes"]) == ("", len(malformed))
