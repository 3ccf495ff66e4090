"""Spend: no lost micro in a cell, and a ledger that does not know the order in which figures came."""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from random import Random

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from attribution.errors import Rejected
from attribution.spend.cells import parse_count, parse_day, parse_instant, parse_micros, parse_millionths
from attribution.spend.fact import MAX_COST_MICROS, Level, SpendFact
from attribution.spend.merging import Facts, SpendEntry, balance, counted, newest, replace
from attribution.spend.reading import read_reports
from attribution.spend.reconciling import agrees, reconcile
from attribution.spend.sheet import ReportFile

START = datetime(2026, 10, 1, tzinfo=UTC)
REPORTED = [level for level in Level if level is not Level.live]
_micros = st.integers(-MAX_COST_MICROS, MAX_COST_MICROS)


@st.composite
def _figures(draw: st.DrawFn) -> SpendFact:
    """Of few things, days and instants, so that versions, levels and equal instants meet."""
    level = draw(st.sampled_from(REPORTED))
    depth = REPORTED.index(level)
    campaign = draw(st.sampled_from("AB"))
    return SpendFact(
        day=date(2026, 10, draw(st.integers(1, 2))),
        ad_network=draw(st.sampled_from(["google_ads", "acme"])),
        level=level,
        account_id=draw(st.sampled_from(["1", "2"])) if depth == 0 else ("1" if campaign == "A" else "2"),
        campaign_id=campaign if depth else "",
        ad_group_id=campaign + draw(st.sampled_from("xy")) if depth > 1 else "",
        ad_id=campaign + draw(st.sampled_from("pq")) if depth > 2 else "",
        currency=draw(st.sampled_from(["USD", "EUR"])),
        cost=draw(st.integers(-3, 9)),
        campaign=draw(st.sampled_from(["", "Autumn"])),
        as_of=START + timedelta(hours=draw(st.integers(0, 3))),
        imported_at=START + timedelta(hours=draw(st.integers(4, 5))),
    )


_arrivals = st.lists(st.lists(_figures(), max_size=5), max_size=6)


def _import_all(batches: list[list[SpendFact]]) -> tuple[Facts, list[SpendEntry]]:
    facts: Facts = {}
    ledger: list[SpendEntry] = []
    for batch in batches:
        facts, entries = replace(facts, batch)
        ledger += entries
    return facts, ledger


def _standing(ledger: list[SpendEntry]) -> Counter[SpendFact]:
    """Rows of the ledger that nothing took back; when they were read is no figure."""
    sums: Counter[SpendFact] = Counter()
    for entry in ledger:
        sums[msgspec.structs.replace(entry.fact, as_of=START, imported_at=START)] += entry.sign
    return Counter({fact: count for fact, count in sums.items() if count})


@given(_arrivals, st.randoms(use_true_random=False))
def test_the_ledger_is_the_newest_figures_whatever_the_order(
    batches: list[list[SpendFact]], random: Random
) -> None:
    facts, ledger = _import_all(batches)
    shuffled = [figure for batch in batches for figure in batch]
    random.shuffle(shuffled)
    other_facts, other_ledger = _import_all([[figure] for figure in shuffled])
    assert other_facts == facts
    assert _standing(other_ledger) == _standing(ledger)
    assert _standing(ledger) == _standing([SpendEntry(fact, 1) for fact in counted(facts).values()])
    assert balance(other_ledger) == balance(ledger)


@given(_arrivals)
def test_importing_again_writes_nothing(batches: list[list[SpendFact]]) -> None:
    facts, _ledger = _import_all(batches)
    for batch in batches:
        again, entries = replace(facts, batch)
        assert (again, entries) == (facts, [])
    later = [
        msgspec.structs.replace(fact, as_of=START + timedelta(days=9)) for fact in counted(facts).values()
    ]
    _again, entries = replace(facts, later)
    assert entries == [], "the same figures read later are no change"


@given(_arrivals, st.lists(_figures(), max_size=5))
def test_a_corrected_version_moves_the_ledger_by_the_difference(
    batches: list[list[SpendFact]], corrected: list[SpendFact]
) -> None:
    facts, ledger = _import_all(batches)
    after, entries = replace(facts, corrected)
    before_sums, after_sums = balance(ledger), balance(ledger + entries)
    expected: Counter[tuple[str, str, date]] = Counter()
    for fact in counted(after).values():
        expected[fact.ad_network, fact.currency, fact.day] += fact.cost
    assert after_sums == {place: micros for place, micros in expected.items() if micros}
    moved = balance(entries)
    for place in before_sums.keys() | after_sums.keys():
        assert after_sums.get(place, 0) - before_sums.get(place, 0) == moved.get(place, 0)


@given(st.lists(_figures(), max_size=8), st.lists(_figures(), max_size=8), st.lists(_figures(), max_size=8))
def test_merging_is_commutative_associative_and_idempotent(
    some: list[SpendFact], more: list[SpendFact], most: list[SpendFact]
) -> None:
    first, second = newest({}, some), newest({}, more)
    assert newest(first, second.values()) == newest(second, first.values())
    left = newest(newest(first, more), most)
    right = newest(first, newest(second, most).values())
    assert left == right
    assert newest(left, left.values()) == left


@given(st.lists(_figures(), max_size=12))
def test_a_campaigns_day_counts_at_one_level_only(figures: list[SpendFact]) -> None:
    facts = newest({}, figures)
    counting = counted(facts)
    levels: dict[object, set[Level]] = {}
    for fact in counting.values():
        if fact.level is not Level.account:
            levels.setdefault(fact.campaign_day, set()).add(fact.level)
    assert all(len(found) == 1 for found in levels.values())
    finer = {fact.account_day for fact in counting.values() if fact.level is not Level.account}
    assert not any(fact.account_day in finer for fact in counting.values() if fact.level is Level.account)
    if facts:
        assert counting, "something of it always counts"


@given(_micros)
def test_micros_are_read_back_as_written(micros: int) -> None:
    assert parse_micros(str(micros)) == micros
    decimal = f"{'-' if micros < 0 else ''}{abs(micros) // 10**6}.{abs(micros) % 10**6:06d}"
    assert parse_millionths(decimal) == micros
    assert not parse_millionths(decimal).is_rounded


@given(st.integers(0, MAX_COST_MICROS // 10**6))
def test_thousands_may_be_grouped(whole: int) -> None:
    assert parse_millionths(f"{whole:,}.25") == whole * 10**6 + 250_000


@given(st.decimals(-(10**9), 10**9, allow_nan=False, allow_infinity=False, places=12))
@example(Decimal("0.000000500000"))
@example(Decimal("0.000001500000"))
def test_more_decimals_are_rounded_half_to_even_and_said_to_be(value: Decimal) -> None:
    with localcontext(prec=60):
        expected = int((value * 10**6).to_integral_value(ROUND_HALF_EVEN))
        is_exact = value * 10**6 == expected
    amount = parse_millionths(f"{value:f}")
    assert (amount, amount.is_rounded) == (expected, not is_exact)


@pytest.mark.parametrize("parse", [parse_millionths, parse_micros, parse_count, parse_day, parse_instant])
@given(text=st.text(max_size=40) | st.from_regex(r"[-+0-9.,:TZ/ eE]{0,30}"))
def test_any_cell_is_read_or_rejected(parse: Callable[[str], object], text: str) -> None:
    try:
        parse(text)
        reason, remedy = "read", "none"
    except Rejected as rejected:
        reason, remedy = rejected.reason, rejected.message
    assert reason in {"read", "bad_number", "bad_count", "bad_day", "bad_instant", "out_of_range"}
    assert remedy


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_a_reading(content: bytes) -> None:
    for prefix in (b"", b"day,ad_network,cost,currency,campaign\n"):
        reading = read_reports([ReportFile("any.csv", prefix + content, START)])
        assert all(file.balances for file in reading.files)
        assert agrees(reconcile(reading.files, reading.facts), sum(file.rounded for file in reading.files))


@given(
    st.lists(
        st.tuples(
            st.integers(1, 3), st.integers(1, 2), st.integers(0, 10**9), st.sampled_from(["USD", "JPY"])
        ),
        unique_by=lambda row: row[:2],
        max_size=6,
    )
)
def test_facts_say_what_the_file_says(rows: list[tuple[int, int, int, str]]) -> None:
    lines = [
        f"2026-10-0{day},acme,{campaign},{micros / 10**6:.6f},{code}" for day, campaign, micros, code in rows
    ]
    content = "\n".join(["day,ad_network,campaign_id,cost,currency", *lines])
    reading = read_reports([ReportFile("plain.csv", content.encode(), START)])
    assert reading.bad_cells == []
    totals = reconcile(reading.files, reading.facts)
    assert agrees(totals)
    assert sum(line.kept for line in totals) * 10**6 == sum(micros for _day, _campaign, micros, _code in rows)
