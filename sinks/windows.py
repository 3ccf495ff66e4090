"""The start-up check of deduplication windows: without one on every target a repeated insert counts twice."""

from __future__ import annotations

import re
from dataclasses import dataclass

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import Error

from attribution.errors import Misconfigured
from sinks.engine_errors import explain_error
from sinks.queries import load_sql
from sinks.tables import TABLES

MIN_WINDOW = 1_000
"""Fewest inserts a table must remember."""
MIN_WINDOW_SECONDS = 604_800
"""A replicated table must remember them for a week; since ClickHouse 25.10 the default is one hour."""

_PLAIN = "non_replicated_deduplication_window"
_REPLICATED = "replicated_deduplication_window"
_SECONDS = "replicated_deduplication_window_seconds"
_NAME = r"(?:`(?:[^`\\]|\\.)+`|\w+)"
_TO = re.compile(rf"CREATE MATERIALIZED VIEW {_NAME}(?:\.{_NAME})?(?: UUID '[^']*')? TO ({_NAME})\.({_NAME})")

Place = tuple[str, str]
"""(database, table)."""


@dataclass(frozen=True)
class Known:
    """What ``system.tables`` says about one table or view."""

    engine: str
    engine_full: str
    create_query: str
    uuid: str
    views: tuple[Place, ...]
    """Materialized views that read what is inserted here."""


def check_windows(client: Client, database: str) -> None:
    """Refuse to run unless every table of ours, and every table a view fills from them, remembers its
    inserts.

    Raises ``Misconfigured`` naming the table and the ALTER to run, or the migration if a table is missing;
    ``Transient`` when ClickHouse is away.
    """
    try:
        rows = client.query(load_sql("tables")).result_rows
        defaults = _defaults(client)
    except Error as error:
        raise explain_error(error) from error
    known = {
        (place, name): Known(engine, full, create, uuid, tuple(zip(view_databases, views, strict=True)))
        for place, name, engine, full, create, uuid, view_databases, views in rows
    }
    for place in _reachable(known, database):
        if place not in known:
            raise Misconfigured(f"The table {'.'.join(place)} does not exist.", "Run `headwater migrate`.")
        check_table(place, known[place], defaults)


def check_table(place: Place, table: Known, defaults: dict[str, int]) -> None:
    """Raises ``Misconfigured`` when a table that keeps rows remembers too few inserts, or for too short.

    ``defaults``: the server's own values of the settings, for tables that do not say.
    """
    if not table.engine.endswith("MergeTree"):
        return
    replicated = table.engine.startswith(("Replicated", "Shared"))
    wanted = {_REPLICATED: MIN_WINDOW, _SECONDS: MIN_WINDOW_SECONDS} if replicated else {_PLAIN: MIN_WINDOW}
    for setting, least in wanted.items():
        if _read_setting(table.engine_full, setting, defaults.get(setting, 0)) < least:
            good = 10_000 if least == MIN_WINDOW else least
            raise Misconfigured(
                f"The table {'.'.join(place)} forgets its inserts too soon: {setting} is below {least}, so an"
                " insert that is repeated after a crash would count twice.",
                f"Run: ALTER TABLE `{place[0]}`.`{place[1]}` MODIFY SETTING {setting} = {good}",
            )


def _read_setting(engine_full: str, setting: str, default: int) -> int:
    found = re.search(rf"\b{setting}\s*=\s*'?(\d+)", engine_full)
    return int(found[1]) if found else default


def _reachable(known: dict[Place, Known], database: str) -> list[Place]:
    """Our tables, and whatever materialized views fill from them, directly or through other views."""
    found: list[Place] = [(database, name) for name in TABLES]
    for place in found:
        views = known[place].views if place in known else ()
        for view in views:
            if view in known and (target := _target(view, known[view])) not in found:
                # Appended while iterating on purpose: a target may feed further views.
                found.append(target)
    return found


def _target(place: Place, view: Known) -> Place:
    if found := _TO.match(view.create_query):
        return (found[1].strip("`"), found[2].strip("`"))
    # Without TO the view keeps its rows in a table of its own, named after its UUID.
    return (place[0], f".inner_id.{view.uuid}")


def _defaults(client: Client) -> dict[str, int]:
    """What the server gives tables that do not say: plain and replicated tables have separate defaults."""
    defaults: dict[str, int] = {}
    for table, settings in (
        ("merge_tree_settings", (_PLAIN,)),
        ("replicated_merge_tree_settings", (_REPLICATED, _SECONDS)),
    ):
        rows = client.query(
            f"SELECT name, value FROM system.{table} WHERE name IN {{names:Array(String)}}",  # noqa: S608
            parameters={"names": list(settings)},
        ).result_rows
        defaults.update({name: int(value) for name, value in rows})
    return defaults
