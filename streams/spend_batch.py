"""What spend reports come to: what is kept of their days, and the signed rows that say so. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime
from typing import NamedTuple

import msgspec

from attribution.errors import Rejected
from attribution.spend.checking import check_report
from attribution.spend.fact import Level, SpendFact
from attribution.spend.kept import NO_LABELS, KeptSpend, Labels, encode_kept
from attribution.spend.labels import Touches, labelled
from attribution.spend.merging import counted, newest, same_figures
from attribution.spend.report import SpendReport, decode_reports
from streams.dead_letters import DeadLetter
from streams.records import Batch, Record
from streams.rows import Row
from streams.topics import partition_of

_ITEMS = msgspec.json.Decoder(list[msgspec.Raw])


class Place(NamedTuple):
    """What is kept together, because only facts within it bear upon which of them count."""

    site: str
    ad_network: str
    day: date


class DayChange(msgspec.Struct, array_like=True):
    """What became of one place, and how ClickHouse is told."""

    site: str
    ad_network: str
    day: date
    fields: dict[str, tuple[bytes, bytes]]
    """What is kept by key, before and after (``KeptSpend``; b"" = nothing)."""
    rows: list[Row]
    """Of ``spend``."""


class SpendDecision(msgspec.Struct, array_like=True):
    """Everything that is to be written, before anything is."""

    broker: str
    next: int
    """Where the fence goes."""
    batch_id: str
    step: int
    """How many decisions of the partition there are with it."""
    days: list[DayChange]
    letters: list[Row]
    """Of ``dead_letters``."""


def read_batch(batch: Batch, partitions: int) -> tuple[dict[Place, list[SpendReport]], list[DeadLetter]]:
    """The reports of a batch by their place, and what cannot be processed."""
    by_place: dict[Place, list[SpendReport]] = {}
    letters: list[DeadLetter] = []
    for record in batch.records:
        for index, item in enumerate(_items(record)):
            try:
                (report,) = decode_reports(item)
                check_report(report)
                if partition_of(report.partition_key, partitions) != batch.partition:
                    raise Rejected("wrong_partition", "The record key must be site|ad_network.")
            except Rejected as error:
                detail = f"{error.field}: {error.message}" if error.field else error.message
                letters.append(DeadLetter.of(batch, record, index, error.reason, detail, item))
                continue
            fact = report.fact
            by_place.setdefault(Place(report.site, fact.ad_network, fact.day), []).append(report)
    return by_place, letters


def _items(record: Record) -> list[bytes]:
    """The objects of a value; what is no array of objects, or no JSON at all, as it is."""
    if record.value[:1] == b"[":
        try:
            return [bytes(item) for item in _ITEMS.decode(record.value)]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass
    return [record.value]


def change_of(
    place: Place,
    kept: Mapping[str, KeptSpend],
    reported: Iterable[SpendFact],
    touches: Touches,
    recorded_at: int,
    live: Iterable[SpendFact] | None = None,
) -> DayChange | None:
    """What ``reported`` facts, other touches, or other ``live`` facts change at ``place``; None = nothing.

    ``kept`` by key; ``recorded_at`` (epoch ms) is for the rows. ``live``: all that clicks say by now, in the place of
    what is kept of them; None = as it is kept.
    """
    before = {key: one.fact for key, one in kept.items()}
    after = newest(before, reported)
    # A report may have been received before clicks that were told first: nothing is taken back before it was there.
    heard = [_milliseconds(fact.as_of) for fact in before.values() if fact.level is Level.live]
    recorded_at = max([recorded_at, *heard])
    if live is not None:
        after = {key: fact for key, fact in after.items() if fact.level is not Level.live}
        after |= {fact.key: fact for fact in live}
    labels = labelled(after, touches)
    counting = counted(after)
    fields: dict[str, tuple[bytes, bytes]] = {
        key: (encode_kept(kept[key]), b"") for key in sorted(before.keys() - after.keys())
    }
    for key, fact in after.items():
        now = KeptSpend(fact, labels[key] if key in counting else NO_LABELS)
        was = kept.get(key)
        if was != now:
            fields[key] = (encode_kept(was) if was is not None else b"", encode_kept(now))
    if not fields:
        return None
    rows: list[Row] = []
    stood = counted(before)
    for key in sorted(stood.keys() | counting.keys()):
        old, new = stood.get(key), counting.get(key)
        if old is not None and new is not None and same_figures(old, new):
            if kept[key].labels == labels[key]:
                continue
            cause = "match"
        else:
            cause = _cause(before.get(key), after.get(key))
        if old is not None:
            rows.append(spend_row(place.site, old, kept[key].labels, -1, cause, recorded_at))
        if new is not None:
            rows.append(spend_row(place.site, new, labels[key], 1, cause, recorded_at))
    return DayChange(*place, fields, rows)


def _cause(before: SpendFact | None, after: SpendFact | None) -> str:
    """Why a thing counts otherwise than before."""
    if before is not None and after is not None and same_figures(before, after):
        return "level"
    told = after or before
    return "live" if told is not None and told.level is Level.live else "report"


def spend_row(site: str, fact: SpendFact, labels: Labels, sign: int, cause: str, recorded_at: int) -> Row:
    """A row of ``spend``: amounts and counts are multiplied by ``sign``, what does not add up is not."""
    return (
        site,
        fact.day.isoformat(),
        fact.ad_network,
        fact.level.value,
        fact.account_id,
        fact.campaign_id,
        fact.campaign,
        fact.ad_group_id,
        fact.ad_group,
        fact.ad_id,
        fact.ad,
        *labels,
        sign * fact.impressions,
        fact.reach,
        sign * fact.clicks,
        sign * fact.views,
        sign * fact.installs,
        _decimal(sign * fact.cost),
        fact.currency,
        _decimal_or_none(fact.platform_conversions, sign),
        _decimal_or_none(fact.platform_value, sign),
        fact.bid_strategy,
        _decimal_or_none(fact.bid, 1),
        fact.time_zone,
        sign,
        cause,
        _milliseconds(fact.as_of),
        _milliseconds(fact.imported_at),
        recorded_at,
    )


def _decimal(millionths: int) -> str:
    whole, rest = divmod(abs(millionths), 1_000_000)
    return f"{'-' if millionths < 0 else ''}{whole}.{rest:06d}"


def _decimal_or_none(millionths: int | None, sign: int) -> str | None:
    return None if millionths is None else _decimal(sign * millionths)


def _milliseconds(instant: datetime) -> int:
    return round(instant.timestamp() * 1000)
