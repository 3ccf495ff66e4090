"""Options of the command line that are one of a few words."""

from __future__ import annotations

from enum import StrEnum


class Format(StrEnum):
    """How a report is written."""

    table = "table"
    json = "json"
    csv = "csv"


class ExplanationFormat(StrEnum):
    """How an explanation is written."""

    table = "table"
    json = "json"


class Basis(StrEnum):
    """Which instant dates a credit."""

    conversion = "conversion"
    touch = "touch"


class FunnelBy(StrEnum):
    """What a funnel is parted by."""

    channel = "channel"


class FunnelOrder(StrEnum):
    """Whether stages have to be reached in their order."""

    any = "any"
    strict = "strict"


class WorthOf(StrEnum):
    """What a set of channels is worth."""

    conversion_rate = "conversion_rate"
    conversions = "conversions"


class ResendHits(StrEnum):
    """Whether a restatement judges stored hits once more."""

    auto = "auto"
    yes = "yes"
    no = "no"


class ImportKind(StrEnum):
    """What a file holds."""

    hits = "hits"
    log = "log"
    spend = "spend"
    rates = "rates"
    deals = "deals"


class ReplayOf(StrEnum):
    """What goes through the stream again."""

    dead_letters = "dead-letters"
    deliveries = "deliveries"
