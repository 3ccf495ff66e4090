"""The printout of an import: what the files say a network cost, and what the facts say, by currency and day."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from fractions import Fraction

import msgspec

from attribution.spend.fact import MICROS, SpendFact
from attribution.spend.merging import counted
from attribution.spend.reading import FileReading, Place

_HALF_A_MICRO = Fraction(1, 2 * MICROS)


class Line(msgspec.Struct, frozen=True):
    """Costs of one network, currency and day, in major units."""

    place: Place
    written: Fraction
    """As the used rows of the files say."""
    kept: Fraction
    """As the facts say."""


def reconcile(files: Iterable[FileReading], facts: Iterable[SpendFact]) -> list[Line]:
    """Totals of what was read, by network, currency and day, from the files and from the facts."""
    written: defaultdict[Place, Fraction] = defaultdict(Fraction)
    for file in files:
        for place, amount in file.costs.items():
            written[place] += amount
    kept: defaultdict[Place, Fraction] = defaultdict(Fraction)
    for fact in facts:
        kept[fact.ad_network, fact.currency, fact.day] += Fraction(fact.cost, MICROS)
    return [Line(place, written[place], kept[place]) for place in sorted(written.keys() | kept.keys())]


def agrees(lines: Iterable[Line], rounded: int = 0) -> bool:
    """Whether files and facts say the same, but for ``rounded`` rows of more than six decimals (half a micro each)."""
    return sum((abs(line.written - line.kept) for line in lines), Fraction()) <= rounded * _HALF_A_MICRO


def to_text(lines: Iterable[Line], by_day: bool = True) -> str:
    """A table to print; without ``by_day`` one line for each network and currency."""
    sums: defaultdict[tuple[str, ...], list[Fraction]] = defaultdict(lambda: [Fraction(), Fraction()])
    for line in lines:
        network, currency, day = line.place
        pair = sums[(network, currency, day.isoformat()) if by_day else (network, currency)]
        pair[0] += line.written
        pair[1] += line.kept
    head = ("network", "currency", *(("day",) if by_day else ()), "file", "facts", "difference")
    rows = [
        (*place, _text(written), _text(kept), _text(kept - written))
        for place, (written, kept) in sorted(sums.items())
    ]
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    names = len(head) - 3
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < names else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (head, *rows)
    )


def uncounted(facts: Mapping[str, SpendFact]) -> list[SpendFact]:
    """Facts that are known and do not count, because another level tells the same money."""
    counting = counted(facts)
    return [fact for key, fact in sorted(facts.items()) if key not in counting]


def _text(amount: Fraction) -> str:
    """Six decimals, zeros behind the second left out."""
    micros = round(amount * MICROS)
    sign, digits = "-" if micros < 0 else "", str(abs(micros)).rjust(7, "0")
    decimals = digits[-6:].rstrip("0").ljust(2, "0")
    return f"{sign}{digits[:-6]}.{decimals}"
