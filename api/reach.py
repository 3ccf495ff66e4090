"""How many people ads reached: what the own pixel heard, else a network's figure. People do not add up.

Where the pixel heard impressions of a group its distinct visitor ids are told, merged over whatever the group is made
of, by a sketch (ClickHouse's ``uniq``: adaptive sampling of 65,536 hashes). A network's reach is its own word about one
thing on one day, and cannot be merged with anything: it is told where the pixel heard nothing and the group is one
figure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, Literal

import msgspec

MEASURES = ("reached", "reach", "figures_with_reach", "figures")
"""What the metric is computed from: visitors heard, and the networks' figures."""
_EXACT_UP_TO = 65_536
_ERROR = Decimal("0.004")
"""1 / sqrt(65,536), the standard error of a count of that many samples."""

ToldBy = Literal["pixel", "network", "nobody"]


class Reach(msgspec.Struct, frozen=True):
    """Where the reach of each row comes from."""

    told_by: tuple[ToldBy, ...]
    """Row by row: the own pixel, a network's single figure, or nobody (``null``)."""
    exact_up_to: int = _EXACT_UP_TO
    """People of a row whom the pixel's sketch counts exactly."""
    standard_error: Decimal = _ERROR
    """Beyond that, as a share of the number."""
    adds_up: bool = False


def reach(reached: int, told: int, with_reach: int, figures: int, currency: str) -> int | None:
    """The number of people, from the sums of a group."""
    return {"pixel": reached, "network": told, "nobody": None}[_told_by(reached, with_reach, figures)]


def reach_of(rows: Iterable[Mapping[str, Any]]) -> Reach:
    """For the measures of each row, by name."""
    counts = ((row[name] for name in ("reached", "figures_with_reach", "figures")) for row in rows)
    return Reach(tuple(_told_by(*row) for row in counts))


def _told_by(reached: int, with_reach: int, figures: int) -> ToldBy:
    if reached:
        return "pixel"
    return "network" if figures == with_reach == 1 else "nobody"
