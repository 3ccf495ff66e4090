"""Rows in the order of what SQL does not know: people and customers."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from api.answers import Cell
from api.catalog import DIMENSIONS
from api.plan import MOST_IN_ORDER
from attribution.errors import Rejected


def in_order(
    rows: Sequence[Sequence[Cell]], columns: Sequence[str], terms: Sequence[tuple[str, bool]]
) -> list[int]:
    """The places of ``rows`` in the order of ``terms`` (column, is descending), then of the dimensions.

    What is not there (``None``) comes last. Raises ``Rejected`` (``bad_order``) for more than ``MOST_IN_ORDER`` rows.
    """
    if len(rows) > MOST_IN_ORDER:
        raise Rejected(
            "bad_order",
            f"More than {MOST_IN_ORDER:,} rows cannot be put in the order of people or customers. Ask for fewer"
            " dimensions or a shorter time, or order by visitors.",
            "order_by",
        )
    dimensions = [number for number, name in enumerate(columns) if name in DIMENSIONS]
    places = sorted(range(len(rows)), key=lambda place: [str(rows[place][number]) for number in dimensions])
    for name, is_descending in reversed(terms):
        cells = [row[columns.index(name)] for row in rows]
        keys = [str(cell) for cell in cells] if name in DIMENSIONS else _amounts(cells, is_descending)
        places.sort(key=keys.__getitem__, reverse=is_descending)
    return places


def _amounts(cells: Sequence[Cell], is_descending: bool) -> list[tuple[bool, Decimal]]:
    return [((cell is None) != is_descending, Decimal(0 if cell is None else cell)) for cell in cells]
