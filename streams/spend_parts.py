"""A decision of spend of which ClickHouse refuses rows: days whose rows it takes are told, the reports of the others
are dead letters, and what is kept of those days becomes again what it was, by a decision of its own."""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from attribution.spend.fact import Level
from attribution.spend.kept import decode_kept
from attribution.spend.report import SpendReport, encode_report
from sinks.tables import SPEND_COLUMNS
from streams.dead_letters import DeadLetter
from streams.ownership import Ownership
from streams.refusals import REFUSED, Refusals
from streams.spend_batch import DayChange, SpendDecision
from streams.topics import SPEND

log = structlog.get_logger(__name__)

_FIRST_INDEX = 100_000
"""Of these letters: those of the batch's records that could not be read come before."""
_RECORDED_AT = SPEND_COLUMNS.index("recorded_at")


async def insert_in_parts(
    own: Ownership, decision: SpendDecision, refusals: Refusals, token: str
) -> dict[int, str]:
    """Insert the days that ClickHouse takes; the numbers of the others, and why it does not."""
    await own.insert({"dead_letters": decision.letters}, token)
    refused = await refusals.insert("spend", [day.rows for day in decision.days], token)
    log.warning(
        "rows_refused",
        partition=own.partition,
        batch=decision.batch_id,
        days=len(refused),
        why=next(iter(refused.values()), ""),
    )
    return refused


def as_before(day: DayChange) -> DayChange:
    """What makes the change undone. No rows: ClickHouse has none of it."""
    fields = {key: (after, before) for key, (before, after) in day.fields.items()}
    return DayChange(day.site, day.ad_network, day.day, fields, [])


def letters_of(decision: SpendDecision, partition: int, refused: Mapping[int, str]) -> list[DeadLetter]:
    """One for each figure that was to be told of the days that ``refused`` names."""
    letters: list[DeadLetter] = []
    for number, why in sorted(refused.items()):
        day = decision.days[number]
        for before, after in day.fields.values():
            if not after or (fact := decode_kept(after).fact).level is Level.live:
                continue  # nobody reported it: the clicks are where they were
            if before and decode_kept(before).fact == fact:
                continue  # it was only to be counted otherwise, or labelled
            report = SpendReport(site=day.site, fact=fact, received_at=day.rows[0][_RECORDED_AT])
            letters.append(
                DeadLetter(
                    topic=SPEND,
                    broker=decision.broker,
                    partition=partition,
                    offset=max(decision.next - 1, 0),
                    index=_FIRST_INDEX + len(letters),
                    reason=REFUSED,
                    detail=why[:500],
                    key=report.partition_key.encode(),
                    payload=encode_report(report),
                    attempts=1,
                    recorded_at=report.received_at,
                )
            )
    return letters
