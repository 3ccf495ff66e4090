"""Entries written out at once are, to the byte, what is written out of each: rows, and objects of the topic."""

from __future__ import annotations

import msgspec
import pytest
from conversion_facts import NOON
from conversion_facts import fact as a_fact
from hypothesis import given
from hypothesis import strategies as st
from statements import facts, paths, policies

from attribution.conversions import ConversionFact
from attribution.entries import Entry, entries
from attribution.ledger import Statement, UnreadableStatement, credit
from attribution.moves import moves_between
from attribution.paths import Path
from attribution.policy import AttributionPolicy
from streams.ledger_lines import CreditEntry, lines_between
from streams.rows import credit_rows, write_row

WHY = ('cause "of" them', "0123456789", NOON)


def written(conversion: ConversionFact, found: list[Entry]) -> tuple[list[bytes], list[bytes]]:
    rows = credit_rows(conversion.site, conversion.conversion_id, found, *WHY)
    return [bytes(write_row(row)) for row in rows], [msgspec.json.encode(CreditEntry(*row)) for row in rows]


def lines(conversion: ConversionFact, old: bytes, new: bytes) -> tuple[list[bytes], list[bytes]]:
    found = lines_between(conversion.site, conversion.conversion_id, old, new, WHY)
    return [bytes(row) for row in found.rows], found.objects


@given(facts, paths(), policies)
def test_a_first_statement(fact: ConversionFact, path: Path, policy: AttributionPolicy) -> None:
    new = credit(fact, path, policy)
    assert lines(fact, b"", new.to_bytes()) == written(fact, entries(None, new))


@given(facts, facts, paths(), paths(), policies, policies, st.booleans(), st.booleans())
def test_from_one_statement_to_another(
    old_fact: ConversionFact,
    new_fact: ConversionFact,
    old_path: Path,
    new_path: Path,
    old_policy: AttributionPolicy,
    new_policy: AttributionPolicy,
    is_same_fact: bool,
    is_same_path: bool,
) -> None:
    old = credit(old_fact, old_path, old_policy)
    fact = old_fact if is_same_fact else new_fact
    new = credit(fact, old_path if is_same_path else new_path, new_policy)
    found = lines(fact, old.to_bytes(), new.to_bytes())
    wanted = written(
        fact, entries(Statement.from_bytes(old.to_bytes()), Statement.from_bytes(new.to_bytes()))
    )
    assert [sorted(each) for each in found] == [sorted(each) for each in wanted]


def test_equal_statements_are_not_read_at_all() -> None:
    assert lines_between("site", "id", b"no statement", b"no statement", WHY).rows == []


def test_a_share_of_a_touch_that_is_not_there_is_refused() -> None:
    path = Path((), NOON, "purchase")
    packed = credit(a_fact(value_minor=5), path, AttributionPolicy()).to_bytes()
    stored = msgspec.msgpack.decode(packed)
    for index in (-1, 7):
        stored[-1][0][1][0] = index
        with pytest.raises(UnreadableStatement):
            lines_between("site", "id", b"", msgspec.msgpack.encode(stored), WHY)


@given(facts, paths(), policies, policies)
def test_only_one_of_two_statements_may_credit_nobody_and_it_is_the_same_path(
    fact: ConversionFact, path: Path, old_policy: AttributionPolicy, new_policy: AttributionPolicy
) -> None:
    old, new = credit(fact, path, old_policy).to_bytes(), credit(fact, path, new_policy).to_bytes()
    found = moves_between(old, new)
    assert found is not None
    for move in found.moves:
        assert sum(move.changes[1::3]) in (0, 10**9, -(10**9))
