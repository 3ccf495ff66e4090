"""Answers as text for people and programs: tables, JSON, CSV. Pure formatting."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from decimal import Decimal

import msgspec
from msgspec import UNSET, UnsetType
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from api.answers import Cell, QueryAnswer, Range, encode
from api.catalog import DIMENSIONS, SPREAD
from api.changes import ChangesAnswer
from api.explain import ConversionFacts, Correction, Explanation, Share
from api.person import PersonExplained

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""Cells that begin so run as formulas in spreadsheets, full-width forms included (OWASP ASVS 5.0, 1.2.10)."""


def to_json(answer: msgspec.Struct) -> str:
    """The same JSON as the query API answers."""
    return encode(answer).decode()


def to_csv(answer: QueryAnswer) -> str:
    """RFC 4180 with a header line. Text that a spreadsheet would take for a formula begins with an apostrophe."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    with_spread = _spread_columns(answer)
    writer.writerow([*answer.columns, *(f"{name}_{end}" for name in with_spread for end in ("low", "high"))])
    texts = [name in DIMENSIONS for name in answer.columns]
    for number, row in enumerate(answer.rows):
        cells = [
            guarded(str(cell)) if is_text else plain_text(cell)
            for cell, is_text in zip(row, texts, strict=True)
        ]
        ranges = (_ranges(answer, number)[name] for name in with_spread)
        writer.writerow([*cells, *(plain_text(end) for one in ranges for end in (one.low, one.high))])
    return out.getvalue()


def to_table(answer: QueryAnswer) -> RenderableType:
    """A table and what became of all revenue, for the terminal."""
    table = Table(header_style="bold")
    with_spread = _spread_columns(answer)
    campaign_names = answer.meta.campaign_names or {}
    for name in answer.columns:
        table.add_column(name, justify="left" if name in DIMENSIONS else "right")
        if name in with_spread:
            table.add_column("by model", justify="left", style="dim", no_wrap=True)
    for number, row in enumerate(answer.rows):
        cells = []
        for name, cell in zip(answer.columns, row, strict=True):
            text = plain_text(cell)
            if name == "campaign" and text in campaign_names:
                text = f"{campaign_names[text]} ({text})"
            # Text, not str: square brackets in a campaign's name are no markup.
            cells.append(Text(printable(text)))
            if name in with_spread:
                one = _ranges(answer, number)[name]
                cells.append(Text(f"{plain_text(one.low)} to {plain_text(one.high)}"))
        table.add_row(*cells)
    lines = [
        *coverage_parts(answer),
        *money_lines(answer),
        *customer_lines(answer),
        *learnt_lines(answer),
    ]
    return Group(table, Text(coverage_line(answer)), *(Text(printable(line)) for line in lines))


def learnt_lines(answer: QueryAnswer) -> list[str]:
    """How sure a learnt model is of each channel."""
    learnt = answer.meta.learnt
    if learnt is None:
        return []
    return [
        f"Learnt table {learnt.version}: share of each channel, and its 90 % interval",
        *(
            f"  {one.channel}: {100 * one.share:.1f} % ({100 * one.low:.1f} to {100 * one.high:.1f} %)"
            for one in learnt.shares
        ),
    ]


def money_lines(answer: QueryAnswer) -> list[str]:
    """What was converted, at how old a rate, and all spend of the time."""
    meta = answer.meta
    lines = [
        f"  converted: {one.revenue} {one.currency} = {one.worth} {meta.currency}{_age(one.oldest_rate_days)}"
        for one in meta.coverage.converted
    ]
    if meta.spend is None:
        return lines
    lines.append(f"Spend of the time: {meta.spend.spend} {meta.currency}")
    lines += [
        f"  billed: {one.spend} {one.currency}, not added up"
        if one.worth is None or one.oldest_rate_days is None
        else f"  billed: {one.spend} {one.currency} = {one.worth} {meta.currency}{_age(one.oldest_rate_days)}"
        for one in meta.spend.billed
        if one.currency != meta.currency
    ]
    return lines


def customer_lines(answer: QueryAnswer) -> list[str]:
    """How many customers there are, whatever the time asked for, and what their payback goes by."""
    customers = answer.meta.customers
    if customers is None:
        return []
    lines = [f"Customers of all time: {customers.customers:,}"]
    if customers.without_person:
        lines.append(f"  of whom {customers.without_person:,} are a purchase that nobody can be found for")
    if "payback_days" in answer.columns:
        lines.append(f"  payback: by {100 * customers.margin:g} % of revenue (HEADWATER_MARGIN)")
    return lines


def _age(days: int) -> str:
    return f" (oldest rate: {counted(days, 'day')} before)" if days else ""


def coverage_parts(answer: QueryAnswer) -> list[str]:
    """Why revenue is unattributed, one line for each reason that there is; and the robots."""
    coverage, currency = answer.meta.coverage, answer.meta.currency
    lines = [
        f"  {part.name.replace('_', ' ')}: {part.revenue} {currency} in {plain_text(part.conversions)} conversions"
        for part in coverage.parts[1:]
        if part.conversions
    ]
    if coverage.bot_hits:
        lines.append(
            f"  robots: {coverage.bot_hits} hits dropped; what they claim to buy is not in the revenue"
        )
    return lines


def _spread_columns(answer: QueryAnswer) -> list[str]:
    return [name for name in answer.columns if name in SPREAD] if answer.spread is not UNSET else []


def _ranges(answer: QueryAnswer, number: int) -> Mapping[str, Range]:
    return {} if isinstance(answer.spread, UnsetType) else answer.spread[number]


def coverage_line(answer: QueryAnswer) -> str:
    """What became of all revenue, in one sentence."""
    meta, coverage = answer.meta, answer.meta.coverage
    others = ", ".join(f"{other.revenue} {other.currency}" for other in coverage.other_currencies)
    missing = f"; not added up: {others}" if others else ""
    as_of = f", as of {meta.as_of}" if meta.as_of else ""
    return (
        f"{meta.model}, by {meta.basis}{as_of}: {coverage.revenue} {meta.currency}"
        f" in {plain_text(coverage.conversions)} conversions; {coverage.attributed_revenue} attributed,"
        f" {coverage.unattributed_revenue} without a touchpoint{missing}"
    )


def changes_to_csv(answer: ChangesAnswer) -> str:
    """RFC 4180: what changed by dimension and cause."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(answer.columns)
    width = len(answer.columns) - 2
    for row in answer.rows:
        writer.writerow([*(guarded(str(cell)) for cell in row[:width]), *map(plain_text, row[width:])])
    return out.getvalue()


def changes_to_table(answer: ChangesAnswer) -> RenderableType:
    """The sum from before to after, cause by cause, then where it happened."""
    meta = answer.meta
    until = meta.until or "now"
    total = Table("", header_style="bold")
    for name in ("conversions", f"revenue {meta.currency}"):
        total.add_column(name, justify="right")
    total.add_row(f"as of {meta.since}", plain_text(answer.before.conversions), answer.before.revenue)
    for one in answer.causes:
        total.add_row(f"  {printable(one.cause).replace('_', ' ')}", plain_text(one.conversions), one.revenue)
    total.add_row(f"as of {until}", plain_text(answer.after.conversions), answer.after.revenue)
    table = Table(header_style="bold")
    for name in answer.columns:
        table.add_column(name, justify="right" if name in SPREAD else "left")
    for row in answer.rows:
        table.add_row(*(Text(printable(plain_text(cell))) for cell in row))
    note = f"Revenue: what was billed in {meta.currency}; nothing is converted."
    return Group(Text(f"{meta.model}, by {meta.basis}"), total, table, Text(note, style="dim"))


def explanation_to_text(explanation: Explanation) -> RenderableType:
    """An explanation for the terminal: the conversion, its touchpoints, the corrections."""
    facts = explanation.conversion
    models = list(explanation.balanced)
    head = Text(
        printable(
            f"{facts.type} {facts.conversion_id} ({facts.status})\n"
            f"{facts.value} {facts.currency} at {facts.converted_at}"
            + (f", order {facts.order_id}" if facts.order_id else "")
            + (f", lookback {counted(facts.lookback_days, 'day')}" if facts.lookback_days is not None else "")
        )
    )
    table = Table(header_style="bold")
    for name in ("#", "touched at", "channel", "source / medium", "campaign", "landing page", "counts"):
        table.add_column(name, no_wrap=name in ("#", "touched at"))
    for number, touch in enumerate(explanation.touchpoints, start=1):
        cells = (
            str(number),
            touch.touched_at,
            touch.channel,
            f"{touch.source} / {touch.medium}",
            touch.campaign,
            touch.landing_page,
            touch.decision if touch.decision == "in" else f"out: {touch.reason.replace('_', ' ')}",
        )
        table.add_row(*(Text(printable(cell)) for cell in cells))
    credited = [
        (f"# {number}", touch.credits)
        for number, touch in enumerate(explanation.touchpoints, start=1)
        if touch.credits
    ]
    if explanation.unattributed:
        credited.append(("(unattributed)", explanation.unattributed))
    credit = Table("model", header_style="bold", title="Credit", title_justify="left")
    for heading, _ in credited:
        credit.add_column(heading, justify="right", no_wrap=True)
    for model in models:
        credit.add_row(model, *(_share(shares.get(model)) for _, shares in credited))
    books = [model for model, is_balanced in explanation.balanced.items() if not is_balanced]
    verdict = f"NOT BALANCED: {', '.join(books)}" if books else "Credit equals the value under every model."
    return Group(
        head,
        *_person(explanation.person),
        table,
        credit,
        Text(verdict),
        *_bookings(explanation),
        _history(explanation),
    )


def _bookings(explanation: Explanation) -> list[Table]:
    """What it was worth when; nothing for a conversion that was always worth the same."""
    if len(explanation.bookings) < 2:
        return []
    table = Table(
        *("booked at", "cause", "conversions", "value", "worth from then on"),
        header_style="bold",
        title="Bookings",
        title_justify="left",
    )
    for one in explanation.bookings:
        after = f"{one.value_after} {one.currency}"
        cells = (one.booked_at, one.cause, plain_text(one.conversions), one.value, after)
        table.add_row(*(Text(printable(cell)) for cell in cells))
    return [table]


def _person(person: PersonExplained) -> list[Text]:
    """Nothing for one visitor whom no id names."""
    visitors, colleagues = person.visitor_ids, person.colleague_ids
    lines = [f"Person of {counted(len(visitors), 'visitor')}"] if len(visitors) > 1 else []
    if colleagues:
        lines.append(f"Colleagues of {counted(len(colleagues), 'visitor')}: {', '.join(colleagues)}")
    lines += [
        f"  {link.visitor_id} {'is' if link.is_held else 'is no longer'} {link.id}"
        f" (event {link.event_id}, {link.said_at})"
        for link in person.links
    ]
    return [Text(printable(line)) for line in lines]


def _history(explanation: Explanation) -> Table:
    """Every correction with what it moved, per model and channel."""
    history = Table(
        *("recorded at", "cause", "policy", "moved"),
        header_style="bold",
        title="Ledger",
        title_justify="left",
    )
    for correction in explanation.corrections:
        history.add_row(
            correction.recorded_at,
            correction.cause.replace("_", " "),
            correction.policy_version,
            Text(printable(_moved(correction, explanation.conversion))),
        )
    return history


def _moved(correction: Correction, facts: ConversionFacts) -> str:
    """A line for each amount that moved. Weights are told only of a conversion without value: it has nothing else."""
    if not Decimal(facts.value):
        lines = [
            f"{move.model}: {move.channel} {move.weight_before:f} -> {move.weight_after:f}"
            for move in correction.moves
        ]
    else:
        lines = [
            f"{move.model}: {move.channel} {move.before} -> {move.after} {move.currency}"
            for move in correction.moves
            if move.before != move.after
        ]
    return "\n".join(lines) or ("weights only" if correction.moves else "within channels only")


def _share(share: Share | None) -> str:
    return "" if share is None else f"{share.weight:f} = {share.amount}"


def plain_text(cell: Cell) -> str:
    """A cell as text; nothing for ``None``."""
    if cell is None:
        return ""
    return f"{cell:f}" if isinstance(cell, Decimal) else str(cell)


def counted(number: float, what: str) -> str:
    """``1 day``, ``2 days``, ``0.5 days``."""
    text = f"{number:g}" if isinstance(number, float) else str(number)
    return f"{text} {what}" if number == 1 else f"{text} {what}s"


def guarded(text: str) -> str:
    """For a spreadsheet: text that it would take for a formula begins with an apostrophe."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def printable(text: str) -> str:
    """Without control characters: they would steer the terminal."""
    return "".join(char if char.isprintable() or char == "\n" else "\ufffd" for char in text)
