"""What groups have acquired, to the last unit: shares, margins and the day that pays back."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest

from api.acquired import acquired_by
from api.customers import DIGITS, Brought, Known
from api.exact import parts_of

WHOLE = 10**9
EURO = 10**DIGITS


def known(*customers: list[tuple[int, str]], are_rated: bool = True) -> Known:
    """Customers 1, 2, ... with (age in days, amount) of what each has brought."""
    starts = np.cumsum([0, *(len(one) for one in customers)])
    every = [booking for one in customers for booking in one]
    amounts = np.array([int(Decimal(amount) * EURO) for _, amount in every], dtype=object)
    return Known(
        np.arange(1, len(customers) + 1, dtype=np.uint64),
        0,
        np.full(len(customers), are_rated),
        Brought(starts, np.array([age for age, _ in every], dtype=np.int64), parts_of(amounts)),
    )


def days(spent: str, *bookings: tuple[int, str], margin: str = "1", share: int = WHOLE) -> int | None:
    (group,) = acquired_by([[1, share]], known(list(bookings)), [Decimal(spent)], Decimal(margin))
    return group.payback_days


@pytest.mark.parametrize(
    ("spent", "bookings", "margin", "expected"),
    [
        ("100", [(0, "100")], "1", 0),
        ("100.01", [(0, "100")], "1", None),
        ("100", [(0, "60"), (30, "40")], "1", 30),
        ("100", [(0, "60"), (30, "39.99"), (31, "0.01")], "1", 31),
        # Equal is enough; a millionth less is not.
        ("40", [(0, "30"), (7, "70")], "0.4", 7),
        ("40.000001", [(0, "30"), (7, "70")], "0.4", None),
        ("100", [(3, "120"), (5, "-40"), (9, "30")], "1", 9),
        ("100", [(3, "120"), (5, "-40")], "1", None),
        ("100", [(3, "120"), (5, "-20")], "1", 3),
        ("0", [(4, "10")], "1", 0),
        ("1", [(4, "10")], "0", None),
        ("-5", [(4, "10")], "0", 0),
        # Paid back in parts, each converted and cut off: nothing is left, and nothing is owed.
        ("0", [(0, "10"), (3, "-3.333333333333333334"), (4, "-6.666666666666666667"), (9, "5")], "1", 0),
    ],
)
def test_payback_is_the_age_from_which_on_the_margin_covers_the_spend(
    spent: str, bookings: list[tuple[int, str]], margin: str, expected: int | None
) -> None:
    assert days(spent, *bookings, margin=margin) == expected


def test_a_group_has_its_share_of_what_customers_bring() -> None:
    """A half and a third of two customers, and a conversion that made nobody a customer."""
    half, third = WHOLE // 2, 333_333_333
    everybody = known([(0, "100")], [(0, "30"), (2, "60")])
    group, empty = acquired_by(
        [[1, half, 2, third, 99, WHOLE], [99, WHOLE]], everybody, [Decimal(79), Decimal(1)], Decimal(1)
    )
    assert group.new_customers == group.rated == Decimal("0.833333333")
    assert group.lifetime == Decimal("79.99999997")
    assert group.payback_days == 2  # 50 + 9.99999999, then 19.99999998 more
    assert empty == (Decimal(0), Decimal(0), Decimal(0), None)


def test_shares_of_a_customer_add_up_and_what_was_taken_back_is_none() -> None:
    """Two touches of a channel; credit that a late touch took from a channel that had it."""
    everybody = known([(0, "100")], [(3, "60")])
    both, taken = acquired_by(
        [[1, WHOLE // 4, 2, WHOLE, 1, WHOLE // 4, 2, 2**64 - WHOLE], [2, WHOLE, 2, 2**64 - WHOLE]],
        everybody,
        [Decimal(50), Decimal(0)],
        Decimal(1),
    )
    assert both == (Decimal("0.5"), Decimal(50), Decimal("0.5"), 0)
    assert taken == (0, 0, 0, None)


def test_amounts_beyond_64_bits_stay_exact() -> None:
    (group,) = acquired_by([[1, WHOLE]], known([(0, "900000000000.01")]), None, Decimal(1))
    assert group.lifetime == Decimal("900000000000.01")
    assert group.payback_days is None


def test_customers_whose_money_is_not_counted_are_new_but_no_base_of_ltv() -> None:
    (group,) = acquired_by([[1, WHOLE]], known([(0, "0")], are_rated=False), None, Decimal(1))
    assert (group.new_customers, group.rated, group.lifetime) == (1, 0, 0)
