"""Device and country of credit: the ledger does not keep them, the touchpoints that its entries name do. Pure.

An entry of a touchpoint that nobody knows, and unattributed credit, have "".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from api.catalog import DIMENSIONS, Dimension
from api.queries import load_sql
from sinks.names import qualify

SCENE = tuple(name for name, dimension in DIMENSIONS.items() if dimension.of_scene)


@dataclass(frozen=True)
class Scenes:
    """What a statement over ledger entries reads of their touchpoints."""

    asked: tuple[str, ...]
    """Of ``SCENE``; nothing is joined where none is asked for."""

    @classmethod
    def of(cls, dimensions: Iterable[Dimension]) -> Scenes:
        """Those that ``dimensions`` need."""
        names = {dimension.name for dimension in dimensions}
        return cls(tuple(name for name in SCENE if name in names))

    @property
    def columns(self) -> str:
        """SQL of the columns ``SCENE`` of an entry."""
        return ", ".join(
            f"reinterpretAsString(s.{name}_number) AS {name}" if name in self.asked else f"'' AS {name}"
            for name in SCENE
        )

    def join(self, database: str, which: str) -> str:
        """SQL that follows ``FROM credits AS c``; ``which`` says the entries."""
        if not self.asked:
            return ""
        rows = load_sql(
            "touch_scenes",
            visitor=_half("touchpoint_id", 1),
            event=_half("touchpoint_id", 17),
            columns=", ".join(_number(name) for name in self.asked),
            touchpoints=qualify(database, "touchpoints"),
            credits=qualify(database, "credits"),
            which=which,
        )
        # Not ANY: with a filter on what is joined that takes the embedded engine (26.5) down. Touchpoints are unique.
        on = f"{_half('c.touchpoint_id', 1)} = s.visitor AND {_half('c.touchpoint_id', 17)} = s.event"
        return f"LEFT JOIN\n(\n{rows}\n) AS s ON {on}"


NO_SCENES = Scenes(())


def _half(touchpoint_id: str, place: int) -> str:
    """SQL of the number that sixteen of its hex digits write."""
    # Not all of them as one of 128 bits: the small embedded engine cannot compare two of these while it joins.
    return f"reinterpretAsUInt64(unhex(substring({touchpoint_id}, {place}, 16)))"


def _number(name: str) -> str:
    number = f"reinterpretAsInt64({name})"
    return f"if(sum(sign) = 1, sum(sign * {number}), max({number})) AS {name}_number"
