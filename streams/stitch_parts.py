"""A batch of hits of which ClickHouse refuses rows: visitors whose rows it takes get through, the others' hits are dead
letters.

Rows of ``hits`` cannot be taken back, so they come last, when it is known whose sessions and touchpoints are there.
Those have signs: what was taken of a visitor of whom something else is refused is taken back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import structlog

from streams.ownership import Ownership
from streams.records import Batch
from streams.refusals import REFUSED, Refusals, digest_of, taken_back
from streams.rows import Row, WrittenRow
from streams.stitch_batch import StitchOutput, letters_of
from streams.stitch_read import ReadHit, Visitor

log = structlog.get_logger(__name__)

_SIGNED = ("sessions", "touchpoints", "identity_links")


async def insert_click_costs(rows: Sequence[Row | WrittenRow], refusals: Refusals, token: str) -> None:
    """Those of hits that are in ClickHouse, or were dropped; what it refuses of them is left out, and said."""
    left_out = await refusals.insert("click_costs", [[row] for row in rows], token)
    if left_out:
        log.warning("click_costs_refused", left_out=len(left_out), why=next(iter(left_out.values())))


async def insert_in_parts(
    own: Ownership,
    batch: Batch,
    whole: StitchOutput,
    parts: Mapping[Visitor, StitchOutput],
    hits: Mapping[Visitor, list[ReadHit]],
    refusals: Refusals,
    token: str,
    attempt: int,
) -> StitchOutput:
    """Insert what ClickHouse takes, and say what the batch has become.

    ``whole`` is the batch with nothing refused; ``parts`` the same by visitor, in the same order; ``hits`` what was
    read. ``rows`` of the answer are all that were inserted, those that were taken back and those that do so included.
    """
    visitors = list(parts)
    outputs = list(parts.values())
    rows: dict[str, list[Row | WrittenRow]] = {"drops": whole.rows["drops"]}
    await own.insert({table: whole.rows[table] for table in ("drops", "dead_letters")}, token)
    # Of no visitor's timeline, and counted as dropped already: what ClickHouse refuses of them is left out.
    claimed = whole.rows["dropped_conversions"]
    left_out = await refusals.insert("dropped_conversions", [[row] for row in claimed], token)
    rows["dropped_conversions"] = [row for number, row in enumerate(claimed) if number not in left_out]
    refused_by: dict[str, dict[int, str]] = {}
    for table in _SIGNED:
        refused_by[table] = await refusals.insert(table, [part.rows[table] for part in outputs], token)
    without = {number for refused in refused_by.values() for number in refused}
    left = [[] if number in without else part.rows["hits"] for number, part in enumerate(outputs)]
    hits_token = f"{token}:without:{digest_of(without)}" if without else token
    refused_by["hits"] = await refusals.insert("hits", left, hits_token)
    culprits = {number: why for refused in refused_by.values() for number, why in refused.items()}
    back = {
        table: taken_back(
            table,
            (
                row
                for number in sorted(culprits)
                if number not in refused_by[table]
                for row in outputs[number].rows[table]
            ),
        )
        for table in _SIGNED
    }
    await own.insert(back, f"{token}:back:{digest_of(culprits)}")
    letters = []
    for number in sorted(culprits):
        written = {id(row) for row in outputs[number].rows["hits"]}
        accepted = [hit for hit in hits[visitors[number]] if hit.row is None or id(hit.row) in written]
        letters += letters_of(batch, accepted, REFUSED, culprits[number], attempt)
    rows["dead_letters"] = [letter.row() for letter in letters]
    await own.insert({"dead_letters": rows["dead_letters"]}, f"{token}:refused:{digest_of(culprits)}")
    rows["dead_letters"] += whole.rows["dead_letters"]
    rows["hits"] = [
        row for number, part in enumerate(outputs) if number not in culprits for row in part.rows["hits"]
    ]
    rows["click_costs"] = [
        *whole.robots_click_costs,
        *(
            row
            for number, part in enumerate(outputs)
            if number not in culprits
            for row in part.rows["click_costs"]
        ),
    ]
    await insert_click_costs(
        rows["click_costs"], refusals, f"{token}:without:{digest_of(culprits)}" if culprits else token
    )
    for table in _SIGNED:
        taken = (part for number, part in enumerate(outputs) if number not in refused_by[table])
        rows[table] = [row for part in taken for row in part.rows[table]] + list(back[table])
    log.warning(
        "rows_refused",
        partition=batch.partition,
        first=batch.first,
        last=batch.last,
        visitors=len(culprits),
        dead_letters=len(letters),
        left_out=len(left_out),
        why=next(iter(culprits.values()), ""),
    )
    good = [number for number in range(len(outputs)) if number not in culprits]
    return StitchOutput(
        rows,
        [trigger for number in good for trigger in outputs[number].triggers],
        [visitors[number] for number in good],
        [*whole.poisoned, *(visitors[number] for number in culprits)],
        [*whole.dead_letters, *letters],
        len(rows["hits"]),
        whole.dropped,
        sum(outputs[number].restated for number in good),
        [news for number in good for news in outputs[number].news],
        whole.refused_ids,
        whole.refund_problems,
    )
