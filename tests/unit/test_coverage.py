"""The parts of all that was heard: nothing is lost between them, and nothing counts in two."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from api.coverage import DROPPED, coverage_of
from attribution.missing import Missing

Row = tuple[int, int, list[str], list[str]]

CENTS = st.integers(-(10**12), 10**12).map(lambda cents: f"{Decimal(cents) / 100}")
WHOLE = st.integers(-1_000, 1_000).map(str)
CODES = st.sampled_from(["USD", "EUR", "CHF"])
REASONS = st.sampled_from(["", "(unattributed)", *(missing.source for missing in Missing)])
LEDGER = st.tuples(st.just(1), st.just(0), st.tuples(CODES, REASONS), st.tuples(CENTS, WHOLE))
CLAIMS = st.tuples(
    st.just(3), st.just(0), st.tuples(CODES, st.sampled_from(DROPPED)), st.tuples(CENTS, WHOLE)
)


@given(st.lists(LEDGER | CLAIMS), CODES)
def test_the_parts_add_up_to_everything_in_every_currency(rows: Sequence[Row], currency: str) -> None:
    coverage = coverage_of(rows, currency, has_drops=True)

    def money(code: str, kinds: tuple[int, ...]) -> Decimal:
        return sum(
            (Decimal(sums[0]) for kind, _, keys, sums in rows if keys[0] == code and kind in kinds),
            Decimal(0),
        )

    assert Decimal(coverage.revenue) == money(currency, (1,))
    assert Decimal(coverage.heard_revenue) == money(currency, (1, 3))
    assert sum(Decimal(part.revenue) for part in coverage.parts) == money(currency, (1, 3))
    assert Decimal(coverage.attributed_revenue) + Decimal(coverage.unattributed_revenue) == money(
        currency, (1,)
    )
    assert sum(part.conversions for part in coverage.parts) == coverage.heard_conversions
    assert coverage.heard_conversions == sum(int(sums[1]) for _, _, _, sums in rows)
    assert coverage.conversions == sum(int(sums[1]) for kind, _, _, sums in rows if kind == 1)
    assert len({part.name for part in coverage.parts}) == len(coverage.parts)
    for other in coverage.other_currencies:
        assert Decimal(other.revenue) == money(other.currency, (1,))
        assert Decimal(other.heard_revenue) == money(other.currency, (1, 3))
    silent = {"USD", "EUR", "CHF"} - {currency} - {other.currency for other in coverage.other_currencies}
    assert all(money(code, (1, 3)) == 0 for code in silent)


def test_robots_are_told_of_even_when_there_are_none() -> None:
    """Nobody has to guess whether the part is zero or unknown."""
    names = [part.name for part in coverage_of([], "USD", has_drops=True).parts]
    assert names == ["attributed", *(missing.name for missing in Missing), "bot"]
