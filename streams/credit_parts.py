"""A decision of credit of which ClickHouse refuses rows: conversions whose rows it takes are credited, the triggers of
the others are dead letters, and Redis says of them what the ledger says.

The ledger comes last and is never taken back: a reader finds balanced books, and a conversion whose ledger rows are
refused does not stand in ``conversions`` and ``paths`` either; one of which either refuses rows stands in neither.
Whoever replays the trigger makes the difference to what stands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import structlog

from streams.dead_letters import DeadLetter
from streams.ownership import Ownership
from streams.refusals import REFUSED, Refusals, digest_of, taken_back
from streams.rows import Row
from streams.told import TABLES, Told
from streams.topics import CONVERSIONS, conversion_key
from streams.triggers import conversion_of, decode_triggers

log = structlog.get_logger(__name__)

_SIGNED = ("conversions", "paths")
_FIRST_INDEX = 100_000
"""Of these letters: those of the batch's records that could not be read come before."""


async def insert_in_parts(
    own: Ownership,
    batch_id: str,
    letters: Sequence[Row],
    all_told: Sequence[Told],
    wishes: Mapping[str, Mapping[bytes, bytes]],
    before: Mapping[str, bytes],
    refusals: Refusals,
    token: str,
) -> list[Told]:
    """Insert what ClickHouse takes, make dead letters of the rest; the conversions whose rows were inserted.

    ``letters`` are rows of ``dead_letters``, ``wishes`` the batch's triggers, ``before`` the conversions as they
    stood, by key (b"" = there was none).
    """
    ids = [one.conversion_id for one in all_told]
    parts = {table: [one.of(table) for one in all_told] for table in TABLES}
    await own.insert({"dead_letters": letters}, token)
    # Both were tried as a whole at once: what the one took of it does not depend on what the other refused.
    refused = {table: await refusals.insert(table, parts[table], token) for table in _SIGNED}
    facts_refused = {number: why for found in refused.values() for number, why in found.items()}
    left = [[] if number in facts_refused else part for number, part in enumerate(parts["credits"])]
    credits_token = f"{token}:without:{digest_of(facts_refused)}" if facts_refused else token
    credits_refused = await refusals.insert("credits", left, credits_token)
    culprits = {**facts_refused, **credits_refused}
    back = {
        table: taken_back(
            table, [row for number in sorted(culprits.keys() - its.keys()) for row in parts[table][number]]
        )
        for table, its in refused.items()
    }
    await own.insert(back, f"{token}:back:{digest_of(culprits)}")
    made = _letters(batch_id, own.partition, wishes, {ids[n]: why for n, why in culprits.items()})
    await own.insert(
        {"dead_letters": [letter.row() for letter in made]}, f"{token}:refused:{digest_of(culprits)}"
    )
    await own.publish_dead_letters(made)
    keys = [conversion_key(own.partition, ids[number]) for number in sorted(culprits)]
    await own.fence.put_back({key: before[key] for key in keys if key in before})
    log.warning(
        "rows_refused",
        partition=own.partition,
        batch=batch_id,
        conversions=len(culprits),
        dead_letters=len(made),
        why=next(iter(culprits.values()), ""),
    )
    return [one for number, one in enumerate(all_told) if number not in culprits]


def _letters(
    batch_id: str, partition: int, wishes: Mapping[str, Mapping[bytes, bytes]], why: Mapping[str, str]
) -> list[DeadLetter]:
    """One for each trigger of the conversions that ``why`` names."""
    broker, borders, _ = batch_id.rsplit(":", 2)
    of_them = sorted(
        (field, value)
        for triggers in wishes.values()
        for field, value in triggers.items()
        if conversion_of(field).decode() in why
    )
    return [
        DeadLetter(
            topic=CONVERSIONS,
            broker=broker,
            partition=partition,
            offset=int(borders.partition("-")[0]),
            index=_FIRST_INDEX + number,
            reason=REFUSED,
            detail=why[conversion_of(field).decode()][:500],
            key=conversion_of(field),
            payload=value,
            attempts=1,
            recorded_at=decode_triggers(value)[0].recorded_at,
        )
        for number, (field, value) in enumerate(of_them)
    ]
