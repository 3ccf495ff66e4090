"""What is stored against what was promised: each acknowledged event once, and every table as the oracle says.

Slice by slice: the visitors of a slice, and all that they lead to, are read and compared by themselves, so that a
million events need no more memory than one slice's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import msgspec
from clickhouse_connect.driver.client import Client

from attribution.hit import Hit
from attribution.ledger import WEIGHT_ONE
from attribution.money import format_amount
from attribution.oracle import World, oracle
from attribution.policy import AttributionPolicy
from attribution.standing_path import StandingPath
from bench.chaos.journal import Ledger
from bench.chaos.traffic import Event
from sinks.checks import Check, run_checks
from sinks.tables import CONVERSIONS_COLUMNS, PATHS_COLUMNS, SESSIONS_COLUMNS, TOUCHPOINTS_COLUMNS
from streams.rows import conversion_row, path_row, session_row, touchpoint_row

CURRENCY = "USD"
_SHOWN = 5
_FROM_SENDER = ("event", "url", "referrer", "title", "order_id", "value", "currency", "user_id", "user_agent")
_OF_VISITORS = ("hits", "sessions", "touchpoints", "conversions", "credits", "identity_links")
_WRITER_COLUMNS = frozenset({"sign", "cause", "recorded_at", "src_broker", "src_partition", "src_offset"})
"""Columns that say who wrote a row and why: the oracle knows nothing of them."""


def seen_outside(unbalanced: Sequence[str], refused: Sequence[str], given_up: int) -> list[str]:
    """What readers of the books and senders met that must not happen, in words."""
    said = []
    if unbalanced:
        said.append(f"books seen unbalanced ({len(unbalanced)}): {'; '.join(unbalanced[:_SHOWN])}")
    if refused:
        said.append(f"refused ({len(refused)}): {'; '.join(refused[:_SHOWN])}")
    if given_up:
        said.append(f"{given_up} events were never acknowledged")
    return said


@dataclass
class Verdict:
    """Counts, and everything that is wrong, in words."""

    sent: int = 0
    acknowledged: int = 0
    stored: int = 0
    robots: int = 0
    flawed: int = 0
    """Acknowledged events that make the worker's stage raise: they must end as dead letters."""
    missing: list[str] = field(default_factory=list)
    """Acknowledged and not in ``hits``."""
    duplicated: list[str] = field(default_factory=list)
    invented: list[str] = field(default_factory=list)
    """In ``hits`` although never sent, or with other content than was sent."""
    differences: dict[str, list[str]] = field(default_factory=dict)
    """By table: where it is unlike the oracle."""
    compared: dict[str, int] = field(default_factory=dict)
    """By table: how many facts the oracle expects."""
    strangers: dict[str, int] = field(default_factory=dict)
    """By table: rows of visitors of no slice; in ``paths`` of conversions that nobody reported."""
    checks: list[Check] = field(default_factory=list)

    def add(self, other: Verdict) -> None:
        """Take in the verdict over another slice."""
        self.sent += other.sent
        self.acknowledged += other.acknowledged
        self.stored += other.stored
        self.robots += other.robots
        self.flawed += other.flawed
        self.missing += other.missing
        self.duplicated += other.duplicated
        self.invented += other.invented
        for table, found in other.differences.items():
            self.differences.setdefault(table, []).extend(found)
            self.compared[table] = self.compared.get(table, 0) + other.compared[table]

    @property
    def faults(self) -> list[str]:
        """Everything that is wrong; empty means the promise was kept."""
        lists = {"missing": self.missing, "duplicated": self.duplicated, "invented": self.invented}
        said = [
            f"{name} ({len(found)}): {', '.join(found[:_SHOWN])}"
            for name, found in {**lists, **self.differences}.items()
            if found
        ]
        said.extend(
            f"{table} holds {count} rows of {'conversions' if table == 'paths' else 'visitors'} that never were"
            for table, count in self.strangers.items()
            if count
        )
        said.extend(
            f"check {check.name}: {finding.subject}: {finding.detail}"
            for check in self.checks
            for finding in check.findings[:_SHOWN]
        )
        return said


@dataclass(frozen=True)
class Stored:
    """A row of ``hits`` as far as it is asked for."""

    event_id: str
    visitor_id: str
    occurred_at: int
    received_at: int
    clock_skew_ms: int
    time_flag: str
    content: dict[str, str]


def judge(
    client: Client,
    database: str,
    site: str,
    slices: Iterable[tuple[str, Ledger]],
    policy: AttributionPolicy,
) -> Verdict:
    """Read every table and compare. Call it when nothing is under way any more.

    ``slices``: how the ids of a slice's visitors begin ("" = all visitors), and what is known of them.
    """
    verdict = Verdict()
    prefixes = []
    for prefix, ledger in slices:
        prefixes.append(prefix)
        verdict.add(_judge_slice(client, database, site, prefix, ledger, policy))
    for table in _OF_VISITORS:
        known = " OR ".join(f"startsWith(visitor_id, '{prefix}')" for prefix in prefixes)
        query = f"SELECT count() FROM {database}.{table} WHERE NOT ({known})"
        verdict.strangers[table] = client.query(query).result_rows[0][0]
    known = f"SELECT conversion_id FROM {database}.conversions"
    query = f"SELECT count() FROM {database}.paths WHERE conversion_id NOT IN ({known})"
    verdict.strangers["paths"] = client.query(query).result_rows[0][0]
    verdict.checks = run_checks(client, database, at_rest_seconds=0)
    return verdict


def _judge_slice(
    client: Client, database: str, site: str, prefix: str, ledger: Ledger, policy: AttributionPolicy
) -> Verdict:
    rows = read_hits(client, database, site, prefix)
    acknowledged = [ledger.sent[event_id] for event_id in ledger.acknowledged]
    verdict = Verdict(
        sent=len(ledger.sent),
        acknowledged=len(acknowledged),
        stored=len(rows),
        robots=sum(event.is_robot for event in acknowledged),
        flawed=sum(event.is_flawed for event in acknowledged),
    )
    counts = Counter(row.event_id for row in rows)
    verdict.missing = sorted(
        event.event_id
        for event in acknowledged
        if event.event_id not in counts and not event.is_robot and not event.is_flawed
    )
    verdict.duplicated = sorted(f"{event_id} x{count}" for event_id, count in counts.items() if count > 1)
    verdict.invented = sorted(_unlike(row, ledger.sent.get(row.event_id)) for row in rows)
    verdict.invented = [said for said in verdict.invented if said]
    kept = {row.event_id: row for row in rows}
    hits = [_as_hit(site, ledger.sent[i], row) for i, row in kept.items() if i in ledger.sent]
    world = oracle(hits, policy, CURRENCY)
    _compare_facts(client, database, prefix, world, verdict)
    _compare_credits(client, database, prefix, world, verdict)
    _compare_links(client, database, prefix, world, verdict)
    _compare_claims(client, database, prefix, ledger, policy, verdict)
    return verdict


def read_hits(client: Client, database: str, site: str, prefix: str = "") -> list[Stored]:
    """Rows of ``hits`` of ``site``: those of visitors whose ids begin with ``prefix``."""
    content = ", ".join(f"ifNull(toString({name}), '')" for name in _FROM_SENDER)
    query = (
        f"SELECT event_id, visitor_id, toUnixTimestamp64Milli(occurred_at), toUnixTimestamp64Milli(received_at),"
        f" clock_skew_ms, time_flag, {content} FROM {database}.hits"
        f" WHERE site = {{site:String}} AND {_of(prefix)}"
    )
    return [
        Stored(
            event_id, visitor_id, occurred, received, skew, flag, dict(zip(_FROM_SENDER, told, strict=True))
        )
        for event_id, visitor_id, occurred, received, skew, flag, *told in client.query(
            query, parameters={"site": site}
        ).result_rows
    ]


def _unlike(row: Stored, event: Event | None) -> str:
    """How a stored hit differs from what was sent under its id; "" if it does not."""
    if event is None:
        return f"{row.event_id} was never sent"
    if event.is_flawed or event.is_robot:
        return f"{row.event_id} must not be a hit"
    want = {
        "event": "page_view",
        **{name: "" for name in _FROM_SENDER if name != "event"},
        **{name: value for name, value in event.fields.items() if name in _FROM_SENDER},
        "user_agent": event.user_agent,
    }
    found = dict(row.content)
    for values in (want, found):
        values["value"] = str(Decimal(values["value"]).normalize()) if values["value"] else ""
    if not want["value"]:
        found["currency"] = want["currency"]
    wrong = [
        f"{name} {found[name]!r} for {want[name]!r}" for name in _FROM_SENDER if found[name] != want[name]
    ]
    if row.visitor_id != event.visitor_id:
        wrong.append(f"visitor {row.visitor_id}")
    if not row.time_flag and row.occurred_at - row.clock_skew_ms != int(event.fields["occurred_at"]):
        wrong.append(f"occurred_at {row.occurred_at}")
    return f"{row.event_id}: {'; '.join(wrong)}" if wrong else ""


def _as_hit(site: str, event: Event, row: Stored) -> Hit:
    """What was sent, at the instants that the collector has settled."""
    names = {f.name for f in msgspec.structs.fields(Hit)}
    fields = {name: value for name, value in event.fields.items() if name in names}
    instants = {"occurred_at": row.occurred_at, "received_at": row.received_at, "time_flag": row.time_flag}
    return Hit(**{**fields, "site": site, "user_agent": event.user_agent, **instants})


def _compare_facts(client: Client, database: str, prefix: str, world: World, verdict: Verdict) -> None:
    """Sessions, touchpoints, conversions, paths: the rows that no other row takes back, against the oracle's."""
    tables: dict[str, tuple[tuple[str, ...], list[tuple[Any, ...]]]] = {
        "sessions": (SESSIONS_COLUMNS, [session_row(s, 1, "", 0, 0) for s in world.sessions]),
        "touchpoints": (TOUCHPOINTS_COLUMNS, [touchpoint_row(t, 1, "", 0, 0) for t in world.touchpoints]),
        "conversions": (
            CONVERSIONS_COLUMNS,
            [conversion_row(c, 1, "", 0) for c in world.conversions.values()],
        ),
        "paths": (
            PATHS_COLUMNS,
            [path_row(c.site, i, _path(world, i), 1, 0) for i, c in world.conversions.items()],
        ),
    }
    # A path does not name its visitor. All who ever reported a conversion are of one slice.
    its = f"conversion_id IN (SELECT conversion_id FROM {database}.conversions WHERE {_of(prefix)})"
    for table, (columns, rows) in tables.items():
        names = [name for name in columns if name not in _WRITER_COLUMNS]
        want = Counter(
            tuple(_plain(value) for name, value in zip(columns, row, strict=True) if name in names)
            for row in rows
        )
        shown = ", ".join(_shown(name) for name in names)
        # Grouped by the columns themselves: the shown forms have the same names otherwise.
        query = (
            f"SELECT {shown}, sum(sign) AS stands FROM {database}.{table}"
            f" WHERE {its if table == 'paths' else _of(prefix)} GROUP BY {', '.join(names)} HAVING stands != 0"
        )
        found = Counter({tuple(map(_plain, row[:-1])): row[-1] for row in client.query(query).result_rows})
        verdict.compared[table] = len(want)
        verdict.differences[table] = _differences(want, found)


def _path(world: World, conversion_id: str) -> StandingPath:
    """The path that must stand for a conversion, put together without its statement."""
    fact = world.conversions[conversion_id]
    touches = world.paths[conversion_id]
    return StandingPath(
        fact.type,
        fact.occurred_at,
        fact.currency,
        fact.value_minor or 0,
        tuple(touch.acquisition.channel for touch in touches),
        touches[0].touched_at if touches else fact.occurred_at,
        touches[-1].touched_at if touches else fact.occurred_at,
    )


def _compare_links(client: Client, database: str, prefix: str, world: World, verdict: Verdict) -> None:
    """Who is linked with which id. Which of several hits is named as the evidence depends on the order of arrival."""
    want = Counter({link: 1 for link, is_held in world.links.items() if is_held})
    query = (
        f"SELECT site, visitor_id, id, sum(sign) AS stands FROM {database}.identity_links"
        f" WHERE {_of(prefix)} GROUP BY site, visitor_id, id HAVING stands != 0"
    )
    found = Counter({tuple(row[:-1]): row[-1] for row in client.query(query).result_rows})
    verdict.compared["identity_links"] = len(want)
    verdict.differences["identity_links"] = _differences(want, found)


def _compare_claims(
    client: Client, database: str, prefix: str, ledger: Ledger, policy: AttributionPolicy, verdict: Verdict
) -> None:
    """What robots claim to have bought. Copies have rows of their own: readers count each conversion once."""

    def claim(event: Event) -> tuple[str, str, str]:
        value = event.fields.get("value", "")
        return event.event_id, event.fields["event"], str(Decimal(value).normalize()) if value else ""

    def claims(events: Iterable[Event]) -> set[tuple[str, str, str]]:
        bought = policy.conversion_lookbacks_ms
        return {claim(event) for event in events if event.is_robot and event.fields.get("event") in bought}

    sent = claims(ledger.sent.values())
    want = claims(ledger.sent[event_id] for event_id in ledger.acknowledged)
    query = (
        f"SELECT DISTINCT event_id, conversion_type, ifNull(toString(value), '') FROM {database}.dropped_conversions"
        f" WHERE reason = 'bot' AND startsWith(event_id, '{prefix}')"
    )
    found = {
        (event_id, type_, str(Decimal(value).normalize()) if value else "")
        for event_id, type_, value in client.query(query).result_rows
    }
    verdict.compared["dropped_conversions"] = len(want)
    verdict.differences["dropped_conversions"] = [
        *(f"{' '.join(row)} is missing" for row in sorted(want - found)),
        *(f"{' '.join(row)} was never sent" for row in sorted(found - sent)),
    ]


def _compare_credits(client: Client, database: str, prefix: str, world: World, verdict: Verdict) -> None:
    """The net ledger: weight and amount of every (conversion, model, touchpoint), attributes included."""
    touches = {touch.touchpoint_id: touch for touch in world.touchpoints}
    want: dict[tuple[Any, ...], tuple[Decimal, Decimal]] = {}
    for (conversion_id, model, touchpoint_id), (weight, minor) in world.credits.items():
        if not weight and not minor:
            continue
        fact = world.conversions[conversion_id]
        touch = touches.get(touchpoint_id)
        way = touch.acquisition if touch else world.missing[conversion_id, model].acquisition
        touched_at = touch.touched_at if touch else fact.occurred_at
        key = (
            *(conversion_id, model, touchpoint_id, fact.type, fact.visitor_id, fact.currency),
            *(way.channel, way.source, way.medium, way.campaign, touched_at, fact.occurred_at),
        )
        want[key] = (Decimal(weight) / WEIGHT_ONE, Decimal(format_amount(minor, fact.currency)))
    names = (
        *("conversion_id", "model", "touchpoint_id", "conversion_type", "visitor_id", "currency"),
        *("channel", "source", "medium", "campaign", "touched_at", "converted_at"),
    )
    query = (
        f"SELECT {', '.join(_shown(name) for name in names)}, sum(credits.weight) AS w, sum(credits.amount) AS a"
        f" FROM {database}.credits AS credits WHERE {_of(prefix)} GROUP BY {', '.join(names)} HAVING w != 0 OR a != 0"
    )
    found = {tuple(row[:-2]): (row[-2], row[-1]) for row in client.query(query).result_rows}
    verdict.compared["credits"] = len(want)
    verdict.differences["credits"] = [
        f"{' '.join(map(str, key[:3]))}: {found.get(key, 'nothing')} for {want.get(key, 'nothing')}"
        for key in sorted({*want, *found}, key=str)
        if want.get(key) != found.get(key)
    ]


def _of(prefix: str) -> str:
    """Condition: rows of visitors whose ids begin so. The prefix is the harness's own, letters and digits."""
    return f"startsWith(visitor_id, '{prefix}')"


def _shown(column: str) -> str:
    """The column in a form that compares with the writer's values."""
    if column.endswith("_at"):
        return f"toUnixTimestamp64Milli({column})"
    if column == "hours":
        return "arrayMap(h -> toUnixTimestamp(h), hours)"
    return column


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(value)
    if isinstance(value, Decimal):
        return format(value.normalize(), "f")
    if isinstance(value, str) and value.replace(".", "", 1).isdecimal() and "." in value:
        return format(Decimal(value).normalize(), "f")
    return value


def _differences(want: Mapping[Any, int], found: Mapping[Any, int]) -> list[str]:
    return [
        f"{_brief(row)} stands {found.get(row, 0)} times for {want.get(row, 0)}"
        for row in sorted({*want, *found}, key=str)
        if want.get(row, 0) != found.get(row, 0)
    ]


def _brief(row: Sequence[Any] | Iterable[Any]) -> str:
    return " ".join(str(part) for part in row if part != "")[:200]
