"""Which report a file is, told by its header. The formats: ``tables/spend_formats.tsv`` and ``spend_columns.tsv``."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from attribution.errors import Rejected
from attribution.spend.fact import Level, normal_name
from attribution.tables import read_rows

_IN_BRACKETS = re.compile(r"(.+ )\(([a-z]{3})\)")
_NAMED_MISSING = 3
REPEATED = "repeated_column"
"""Reason of a refusal: a column that is read stands there twice."""


@dataclass(frozen=True)
class Column:
    """One field of a format: how its cells are read, and the headers under which it is found."""

    field: str
    reading: str
    is_required: bool
    alternatives: tuple[tuple[str, ...], ...]
    """The first alternative of which the file has a header counts; of several headers in it the sum."""


@dataclass(frozen=True)
class Format:
    """One kind of file."""

    name: str
    kind: str
    ad_network: str
    """Empty if the rows name it."""
    time_zone: str
    columns: tuple[Column, ...]


@dataclass(frozen=True)
class Bound:
    """A column of a format found in a file."""

    field: str
    reading: str
    headers: tuple[str, ...]
    """As the file writes them."""
    indexes: tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """A file's header, understood."""

    format: Format
    width: int
    bound: tuple[Bound, ...]
    segments: tuple[int, ...]
    """Cells that tell rows of the same thing and day apart."""
    currency: str
    """From a header such as "Amount spent (USD)"; else empty."""

    def has(self, *fields: str) -> bool:
        """Whether the file has a column for any of ``fields``."""
        return any(bound.field in fields for bound in self.bound)

    @property
    def level(self) -> Level:
        """The finest thing that the file has a column of."""
        if self.has("ad_id", "ad"):
            return Level.ad
        if self.has("ad_group_id", "ad_group"):
            return Level.ad_group
        return Level.campaign if self.has("campaign_id", "campaign") else Level.account


def recognise(records: Iterable[Sequence[str]]) -> tuple[int, Layout]:
    """(place of the header among ``records``, its layout): the first record that some format knows.

    Raises ``Rejected``: ``unknown_report`` names the nearest format and the columns that are missing,
    ``repeated_column`` a column that stands there twice.
    """
    nearest: tuple[float, int, str] | None = None
    for place, record in enumerate(records):
        headers = _normal(record)
        if len(headers) < 2:
            continue
        matches = [(format_, _missing(format_, headers)) for format_ in FORMATS.values()]
        complete = [format_ for format_, missing in matches if not missing]
        if complete:
            # The most specific: every header that is required is one more that the file happens to have.
            layout = _layout(max(complete, key=_required), record, headers)
            _check_columns(layout, record)
            return place, layout
        for format_, missing in matches:
            share = len(missing) / _required(format_)
            if nearest is None or (share, len(missing)) < nearest[:2]:
                named = ", ".join(repr(name) for name in missing[:_NAMED_MISSING])
                nearest = (share, len(missing), f"the nearest is {format_.name}, but it needs {named}")
    is_like_none = nearest is None or nearest[0] == 1
    advice = "no column of any known report was found" if nearest is None or is_like_none else nearest[2]
    raise Rejected(
        "unknown_report",
        f"This is no cost report that can be read: {advice}. Export in English with a column for the day, or use the "
        "plain columns day, ad_network, campaign_id, currency, cost, ...",
        "header",
    )


def _normal(record: Sequence[str]) -> dict[str, int]:
    headers: dict[str, int] = {}
    for index, text in enumerate(record):
        headers.setdefault(_name_in(text), index)
    headers.pop("", None)
    return headers


def _name_in(header: str) -> str:
    return normal_name(header.removeprefix("\ufeff"))


def _check_columns(layout: Layout, record: Sequence[str]) -> None:
    """Nobody can say which of two columns of one name counts; columns that are not read may stand there twice."""
    times = Counter(map(_name_in, record))
    for header in (header for bound in layout.bound for header in bound.headers):
        if times[_name_in(header)] > 1:
            raise Rejected(
                REPEATED, f"Column {header!r} stands {times[_name_in(header)]} times: leave one.", "header"
            )


def _find(header: str, headers: dict[str, int]) -> tuple[int, str] | None:
    """(index, currency in brackets) of a header, if the file has it."""
    if not header.endswith(" ()"):
        return (headers[header], "") if header in headers else None
    for name, index in headers.items():
        match = _IN_BRACKETS.fullmatch(name)
        if match is not None and match[1] == header.removesuffix("()"):
            return index, match[2].upper()
    return None


def _missing(format_: Format, headers: dict[str, int]) -> list[str]:
    return [
        column.alternatives[0][0]
        for column in format_.columns
        if column.is_required
        and not any(_find(header, headers) for choice in column.alternatives for header in choice)
    ]


def _required(format_: Format) -> int:
    return sum(column.is_required for column in format_.columns)


def _layout(format_: Format, record: Sequence[str], headers: dict[str, int]) -> Layout:
    bound: list[Bound] = []
    segments: list[int] = []
    currency = ""
    for column in format_.columns:
        if column.field == "segment" and column.alternatives[0][0] == "*":
            segments.extend(range(len(record)))
            continue
        for choice in column.alternatives:
            found = [place for header in choice if (place := _find(header, headers)) is not None]
            if not found:
                continue
            indexes = tuple(index for index, _currency in found)
            if column.field == "segment":
                segments.extend(indexes)
            elif column.field != "mark":
                written = tuple(record[index].strip() for index in indexes)
                bound.append(Bound(column.field, column.reading, written, indexes))
                currency = (found[0][1] if column.field == "cost" else "") or currency
            break
    return Layout(format_, len(record), tuple(bound), tuple(segments), currency)


def _load() -> dict[str, Format]:
    columns: defaultdict[str, list[Column]] = defaultdict(list)
    for name, field, reading, need, headers in read_rows("spend_columns.tsv"):
        alternatives = tuple(tuple(choice.split("+")) for choice in headers.split("|"))
        columns[name].append(Column(field, reading, need == "required", alternatives))
    return {
        name: Format(
            name,
            kind,
            "" if network == "-" else network,
            "" if zone == "-" else zone,
            tuple(columns[name]),
        )
        for name, kind, network, zone, _source in read_rows("spend_formats.tsv")
    }


FORMATS: dict[str, Format] = _load()
