"""The self-audit on real stores: sound data raises no alarm, each fault raises its own and no other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import date

import pytest
from audit_house import PARTITIONS, SECONDS, T0, House, sound_house
from msgspec import structs

from attribution.policy import AttributionPolicy
from streams.topics import DEALS, HITS, conversion_key, dirty_key, fence_key, partition_of, spend_key
from streams.triggers import Trigger, encode_trigger


@pytest.fixture
async def house(engine: str, empty_valkey: str, fresh_database: str) -> AsyncIterator[House]:
    """Something of everything, processed and credited."""
    async with sound_house(engine, empty_valkey, fresh_database) as house:
        yield house


async def test_sound_data_raises_no_alarm_and_all_of_it_is_compared(house: House) -> None:
    """Slices are small here, so that rounds take several of them; each table has something in it."""
    house.cut(150)
    assert await house.passes(2) == {}
    assert house.state.findings == []
    assert house.state.alarms == 0
    assert house.state.succeeded_at == house.now - SECONDS
    for table in (
        "hits",
        "sessions",
        "touchpoints",
        "drops",
        "dead_letters",
        "conversions",
        "credits",
        "spend",
    ):
        assert house.sql(f"SELECT count() FROM {{db}}.{table}") > [(0,)], table
    assert house.state.rounds.keys() == {
        "offsets",
        "waiting",
        "hours",
        "conversions",
        "models",
        "statements",
        "spend",
    }
    assert all(round_.covered_from > 0 for round_ in house.state.rounds.values())
    assert house.state.compared["hours"] > 2 * 2, "more than one slice a round beside the recent one"
    assert house.state.compared["conversions"] > 2 * 2
    assert house.state.compared["models"] == 2 * len(AttributionPolicy().models)
    assert house.state.compared["offsets"] > 2 * 2 * PARTITIONS


async def delete_hit(house: House) -> None:
    house.sql(
        "ALTER TABLE {db}.hits DELETE WHERE event_id = (SELECT min(event_id) FROM {db}.hits WHERE in_session)"
    )


async def insert_hit_twice(house: House) -> None:
    house.sql("INSERT INTO {db}.hits SELECT * FROM {db}.hits WHERE in_session LIMIT 1")


async def lose_a_block_of_sessions(house: House) -> None:
    """A block that ClickHouse took for a duplicate: neither the rows nor their part of the roll-up."""
    ((partition, offset),) = house.sql(
        "SELECT src_partition, max(src_offset) FROM {db}.sessions WHERE sign = 1 GROUP BY src_partition LIMIT 1"
    )
    where = f"src_partition = {partition} AND src_offset = {offset}"
    house.sql(
        "INSERT INTO {db}.channel_metrics (site, hour, channel, source, medium, campaign, hits, page_views, sessions)"
        " SELECT site, hour, channel, source, medium, campaign, -toInt64(hour_hit) * sign,"
        " -toInt64(hour_page_view) * sign, -if(hour_index = 1, sign, 0) FROM {db}.sessions"
        " ARRAY JOIN hours AS hour, hour_hits AS hour_hit, hour_page_views AS hour_page_view,"
        f" arrayEnumerate(hours) AS hour_index WHERE {where}"
    )
    house.sql(f"ALTER TABLE {{db}}.sessions DELETE WHERE {where}")


async def delete_drop(house: House) -> None:
    ((offset,),) = house.sql("SELECT min(src_offset) FROM {db}.drops WHERE src_partition = 0")
    house.sql(f"ALTER TABLE {{db}}.drops DELETE WHERE src_partition = 0 AND src_offset = {offset}")


async def delete_dead_letter(house: House) -> None:
    house.sql("ALTER TABLE {db}.dead_letters DELETE WHERE payload_base64 = 'MTc='")


async def change_traffic_cell(house: House) -> None:
    house.sql(
        "INSERT INTO {db}.channel_metrics (site, hour, channel, hits)"
        " SELECT 's', min(hour), 'Email', 1 FROM {db}.channel_metrics WHERE model = ''"
    )


async def change_credit_cell(house: House) -> None:
    house.sql(
        "INSERT INTO {db}.channel_metrics (site, hour, channel, model, basis, revenue)"
        " SELECT 's', min(hour), 'Email', 'linear', 'touch', sum(toDecimal64('0.01', 4)) FROM {db}.channel_metrics"
    )


async def unbalance_credits(house: House) -> None:
    """A cent too much: the roll-up follows its source, the statement in Redis does not."""
    house.sql(
        "INSERT INTO {db}.credits SELECT * REPLACE(toDecimal64('0.01', 4) AS amount,"
        " toDecimal64(0, 4) AS conversion_value, toDecimal64(0, 9) AS weight) FROM {db}.credits LIMIT 1"
    )


async def move_credit(house: House) -> None:
    """The books balance, but a touchpoint has what belongs to another."""
    house.sql(
        "INSERT INTO {db}.credits SELECT * REPLACE(toDecimal64(0.01, 4) * s AS amount,"
        " toDecimal64(0, 4) AS conversion_value, toDecimal64(0, 9) AS weight,"
        " if(s = 1, touchpoint_id, repeat('0', 32)) AS touchpoint_id)"
        " FROM (SELECT * FROM {db}.credits LIMIT 1) ARRAY JOIN [1, -1] AS s"
    )


async def lose_a_conversion(house: House) -> None:
    """Its rows are in no table: only Redis knows of it."""
    ((conversion_id,),) = house.sql("SELECT min(conversion_id) FROM {db}.conversions")
    house.sql("ALTER TABLE {db}.conversions DELETE WHERE conversion_id = {id:String}", id=conversion_id)
    house.sql(
        "INSERT INTO {db}.credits SELECT * REPLACE(-amount AS amount, -weight AS weight,"
        " -conversion_value AS conversion_value) FROM {db}.credits WHERE conversion_id = {id:String}", id=conversion_id
    )  # fmt: skip


async def withdraw_a_conversion(house: House) -> None:
    house.sql("INSERT INTO {db}.conversions SELECT * REPLACE(-1 AS sign) FROM {db}.conversions LIMIT 1")


async def double_a_conversion(house: House) -> None:
    house.sql("INSERT INTO {db}.conversions SELECT * FROM {db}.conversions LIMIT 1")


async def double_a_path(house: House) -> None:
    house.sql("INSERT INTO {db}.paths SELECT * FROM {db}.paths LIMIT 1")


async def double_a_touchpoint(house: House) -> None:
    house.sql("INSERT INTO {db}.touchpoints SELECT * FROM {db}.touchpoints LIMIT 1")


async def move_the_fence(house: House) -> None:
    """A range of the log is passed over."""
    await house.redis.hincrby(fence_key(HITS, 0), "offset", 5)


async def change_a_statement(house: House) -> None:
    """Redis forgets what it has credited."""
    ((conversion_id,),) = house.sql("SELECT min(conversion_id) FROM {db}.conversions")
    await house.redis.delete(conversion_key(partition_of(conversion_id, PARTITIONS), conversion_id))


async def lose_a_row_of_spend(house: House) -> None:
    """Neither the row nor its part of the roll-up."""
    ((day, campaign_id),) = house.sql(
        "SELECT day, campaign_id FROM {db}.spend GROUP BY ALL HAVING count() = 1 LIMIT 1"
    )
    named = "day = {day:Date} AND campaign_id = {id:String}"
    house.sql(
        "INSERT INTO {db}.spend_metrics (site, hour, channel, source, medium, campaign, currency, clicks, spend)"
        " SELECT site, toDateTime(day, 'UTC'), channel, source, medium, campaign_label, currency, -clicks,"
        f" sum(-amount) OVER () FROM {{db}}.spend WHERE {named}", day=day, id=campaign_id,
    )  # fmt: skip
    house.sql(f"ALTER TABLE {{db}}.spend DELETE WHERE {named}", day=day, id=campaign_id)


async def double_a_row_of_spend(house: House) -> None:
    house.sql("INSERT INTO {db}.spend SELECT * FROM {db}.spend ORDER BY as_of DESC LIMIT 1")


async def change_a_cell_of_spend(house: House) -> None:
    house.sql(
        "INSERT INTO {db}.spend_metrics (site, hour, channel, clicks)"
        " SELECT 's', max(hour), 'Email', 1 FROM {db}.spend_metrics"
    )


async def forget_a_day_of_spend(house: House) -> None:
    """Redis does."""
    place = "s", "google_ads", date(2026, 10, 1)
    partition = partition_of("s|google_ads", PARTITIONS)
    assert await house.redis.delete(spend_key(partition, *place)) == 1


FAULTS: list[tuple[Callable[[House], Awaitable[None]], set[str]]] = [
    (delete_hit, {"events"}),
    (insert_hit_twice, {"events", "duplicate_hits"}),
    (lose_a_block_of_sessions, {"events"}),
    (delete_drop, {"events"}),
    (delete_dead_letter, {"events"}),
    (change_traffic_cell, {"roll_up_traffic"}),
    (change_credit_cell, {"roll_up_credits"}),
    (unbalance_credits, {"books", "statements"}),
    (move_credit, {"statements"}),
    (lose_a_conversion, {"statements"}),
    (withdraw_a_conversion, {"uncredited"}),
    (double_a_conversion, {"uncredited", "signs_conversions"}),
    (double_a_path, {"signs_paths"}),
    (double_a_touchpoint, {"events", "signs_touchpoints"}),
    (move_the_fence, {"offsets"}),
    (lose_a_row_of_spend, {"spend"}),
    (double_a_row_of_spend, {"spend", "signs_spend"}),
    (change_a_cell_of_spend, {"roll_up_spend"}),
    (forget_a_day_of_spend, {"spend"}),
]


@pytest.mark.parametrize(("fault", "expected"), FAULTS, ids=lambda value: getattr(value, "__name__", ""))
async def test_each_fault_raises_its_alarm_and_no_other(
    house: House, fault: Callable[[House], Awaitable[None]], expected: set[str]
) -> None:
    """Nothing at first sight, the alarm at the second."""
    await fault(house)
    assert await house.passes(1) == {}, "one reading is no alarm"
    assert {finding.difference.check for finding in house.state.findings} == expected
    assert set(await house.passes(1)) == expected
    assert house.state.alarms == sum(house.state.differences().values())


async def test_an_alarm_stays_until_its_cause_is_gone(house: House) -> None:
    """It is one alarm however often it is seen, and it is taken back."""
    await change_traffic_cell(house)
    assert await house.passes(4) == {"roll_up_traffic": 1}
    assert house.state.alarms == 1
    (finding,) = house.state.findings
    assert finding.difference.gap == "hits 1"
    assert "hits 1 for 0, page views 0 for 0" in finding.difference.detail
    house.sql(
        "INSERT INTO {db}.channel_metrics (site, hour, channel, hits)"
        " SELECT 's', min(hour), 'Email', -1 FROM {db}.channel_metrics WHERE model = ''"
    )
    assert await house.passes(1) == {}
    assert (house.state.findings, house.state.alarms) == ([], 1)


async def test_offsets_that_were_passed_over_or_read_twice_are_remembered(house: House) -> None:
    """Also when work has gone on behind them."""
    last = len(house.logs[HITS, 0])
    for number in range(8):
        await house.send_hit(0, f"more{number}")
    await house.redis.hincrby(fence_key(HITS, 0), "offset", 3)
    await house.stitch(0, last + 3)
    assert await house.passes(2) == {"offsets": 1}
    (finding,) = house.state.findings
    assert finding.difference.detail == "3 offsets were never read"
    await house.redis.hset(fence_key(HITS, 0), "offset", last)
    await house.stitch(0, last, last + 3)
    assert await house.passes(1) == {"offsets": 1}
    (finding,) = house.state.findings
    assert "5 offsets were never read; 5 offsets" not in finding.difference.detail
    assert "8 offsets were read twice" in finding.difference.detail


@pytest.mark.parametrize("topic", [HITS, DEALS])
async def test_a_conversion_that_nobody_credits_is_an_alarm_after_ten_minutes(
    house: House, topic: str
) -> None:
    """Its trigger was lost and is not sent again."""
    house.compare_only("waiting")
    field = b"0123|s|v1|touched"
    trigger = Trigger(
        conversion_id="0123",
        site="s",
        visitor_id="v1",
        hits_partition=1,
        recorded_at=T0,
        nonce="n",
        wished_in=topic,
    )
    await house.redis.hset(dirty_key(1, topic), field, encode_trigger(trigger))
    assert await house.passes(9) == {}
    assert await house.passes(3) == {"waiting": 1}
    await house.redis.hset(dirty_key(1, topic), field, encode_trigger(structs.replace(trigger, nonce="m")))
    assert await house.passes(1) == {"waiting": 1}
    await house.redis.hdel(dirty_key(1, topic), field)
    assert await house.passes(1) == {}


async def test_what_is_being_written_is_no_alarm(house: House) -> None:
    """The source of a roll-up has rows that the roll-up has not yet, other ones at each pass."""
    house.compare_only("hours")
    for number in range(12):
        house.sql(
            "INSERT INTO {db}.channel_metrics (site, hour, channel, hits)"
            f" SELECT 's', min(hour), 'Email', {(-1) ** number * (number + 2)}"
            " FROM {db}.channel_metrics WHERE model = ''"
        )
        assert await house.passes(1) == {}
    assert house.state.findings != []
