"""What an outbox tells: from states as it is kept now, from rows as a former Headwater kept it."""

from __future__ import annotations

import msgspec
from conversion_facts import NOON
from hypothesis import given
from hypothesis import strategies as st
from statements import facts, paths, policies

from attribution.conversions import Conversion, ConversionFact
from attribution.entries import entries_between
from attribution.ledger import credit
from attribution.paths import Path
from attribution.policy import AttributionPolicy
from streams.credit import Outbox, told_by
from streams.recredit import Correction, CreditState, pack_state
from streams.rows import conversion_row, credit_rows
from streams.told import TABLES, Told, rows_of, told


def corrections_of(
    fact: ConversionFact, steps: list[tuple[Path, AttributionPolicy]], had_path: bool
) -> list[Correction]:
    found: list[Correction] = []
    before = None
    for number, (path, policy) in enumerate(steps):
        statement = credit(fact, path, policy).to_bytes()
        after = CreditState(
            Conversion(fact), statement, policy.version, NOON + number, bool(number) or had_path
        )
        found.append(Correction("late_touch" if number else "conversion", before, after))
        before = after
    return found


def decoded(one: Told) -> dict[str, list[object]]:
    return {
        table: [msgspec.json.decode(msgspec.json.encode(row)) for row in one.of(table)] for table in TABLES
    }


steps = st.lists(st.tuples(paths(), policies), min_size=1, max_size=3)


@given(facts, steps, st.booleans())
def test_an_outbox_tells_what_was_decided(
    fact: ConversionFact, made: list[tuple[Path, AttributionPolicy]], had_path: bool
) -> None:
    corrections = corrections_of(fact, made, had_path)
    decided = told(corrections)
    chain = [(one.cause, pack_state(one.after)) for one in corrections]
    kept = msgspec.msgpack.encode(Outbox({}, {}, {"key": b""}, {"key": chain}))
    (found,) = told_by(msgspec.msgpack.decode(kept, type=Outbox))
    assert found == decided


@given(facts, steps)
def test_rows_of_a_former_version_are_told_as_they_are(
    fact: ConversionFact, made: list[tuple[Path, AttributionPolicy]]
) -> None:
    corrections = corrections_of(fact, made, had_path=True)
    decided = told(corrections)
    ledger = [
        row
        for one in corrections
        for row in credit_rows(
            fact.site,
            fact.conversion_id,
            entries_between(one.old_statement, one.after.statement),
            one.cause,
            one.policy,
            one.recorded_at,
        )
    ]
    rows = {"credits": ledger, "conversions": decided.conversions, "paths": decided.paths}
    former = msgspec.msgpack.encode([rows, {}, {}])
    (found,) = told_by(msgspec.msgpack.decode(former, type=Outbox))
    assert {table: sorted(map(repr, its)) for table, its in decoded(found).items()} == {
        table: sorted(map(repr, its)) for table, its in decoded(decided).items()
    }
    assert sorted(found.objects) == sorted(decided.objects)


def test_everything_by_table() -> None:
    one = Told("a", [("a",)], [], [msgspec.Raw(b"[1]")], [b"{}"])
    other = Told("b", [("b",)], [("path",)], [msgspec.Raw(b"[2]")], [b"{}"])
    rows = rows_of([one, other])
    assert rows["conversions"] == [("a",), ("b",)]
    assert rows["paths"] == [("path",)]
    assert [bytes(row) for row in rows["credits"]] == [b"[1]", b"[2]"]


@given(facts, facts, paths(), policies)
def test_another_report_takes_the_former_one_back(
    old: ConversionFact, new: ConversionFact, path: Path, policy: AttributionPolicy
) -> None:
    states = [
        CreditState(Conversion(fact), credit(fact, path, policy).to_bytes(), policy.version, NOON, True)
        for fact in (old, new)
    ]
    rows = told([Correction("earlier_fact", states[0], states[1])]).conversions
    taken, given = conversion_row(old, -1, "earlier_fact", NOON), conversion_row(new, 1, "earlier_fact", NOON)
    assert rows == ([] if old == new else [taken, given])
