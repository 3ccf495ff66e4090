"""The paths before conversions, read off the roll-up ``path_metrics``: the same rows that ``paths.sql`` answers.

All lists but that of the most frequent paths have few rows a day, whatever the number of conversions. Nearly each
long path is one conversion's own, so the paths of a day are nearly as many rows as conversions; but frequent ones are
few. They are sought in two steps. Each path falls by its hash into one of 65,536 buckets, and a bucket holds at least
as many conversions as any path in it. So the buckets with the most are read path by path, and if the last path that is
wanted has more than the least of these buckets, no path outside has as many: the list is exact. If not, all are
counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from api.measures import EARNED
from api.queries import load_sql
from attribution.errors import Transient

MAX_PATHS = 1000
"""Most rows of a kind; of paths with equally many conversions those with the lower hash."""
_BUCKETS = 1 << 16
LIKELY_BUCKETS = 512
"""Of 65,536. More would be read longer, fewer more often in vain."""
_MOST_SOUGHT = 100
"""For more paths than this the last buckets would decide: all are counted at once."""
_OF_CHANNELS = frozenset({"has", "last"})
_WORTH = f"sum(if(currency = {{currency:String}} AND {EARNED}, revenue, 0))"

_SETTINGS = {"max_threads": 1}
"""A second thread makes these statements a tenth dearer and no faster."""
_SETTINGS_OF_NAMES = {**_SETTINGS, "max_block_size": 8192}
"""Reading can end after each block."""

Ask = Callable[[str, Mapping[str, Any], Mapping[str, Any]], Sequence[Sequence[Any]]]
"""Rows of a statement with its parameters, under settings of its own."""
Found = tuple[str, tuple[str, ...], int, str]
"""Kind, key, conversions, revenue, as ``paths.sql`` answers."""


class RollUp(NamedTuple):
    """Where and how a question is answered. Fragments are SQL of ours, never text from users."""

    paths: str
    """The quoted table, and ``path_metrics``."""
    path_metrics: str
    where: str
    """Conditions on the rows of ``paths``, and the same on ``path_metrics``."""
    metrics_where: str
    is_collapsed: bool
    parameters: dict[str, Any]


class Path(NamedTuple):
    """A path that some conversions came."""

    hash: int
    conversions: int
    worth: str


def read_roll_up(question: RollUp, limit: int, ask: Ask) -> list[Found]:
    """The rows of the answer, sorted; of paths only those that are as frequent as the ``limit``-th.

    Raises ``Transient`` or ``Misconfigured``.
    """
    listed: list[Path] | None = None
    if limit <= _MOST_SOUGHT:
        rows = _metrics(question, "path_metrics_likely", ask)
        listed = most_frequent(_paths(rows), limit)
    if listed is None:
        rows = _metrics(question, "path_metrics_first", ask)
        listed = as_frequent(_paths(rows), limit)
    names = _names(question, [path.hash for path in listed], ask)
    found: list[Found] = [
        (kind, (channel,) if kind in _OF_CHANNELS else (str(number),), conversions, worth)
        for kind, number, channel, conversions, worth in rows
        if kind != "path"
    ]
    found += [("path", names[path.hash], path.conversions, path.worth) for path in listed]
    return sorted(found, key=lambda row: (row[0], -row[2], row[1]))


def most_frequent(paths: Sequence[Path], limit: int) -> list[Path] | None:
    """Those as frequent as the ``limit``-th; ``paths`` are all of the ``LIKELY_BUCKETS`` largest buckets.

    ``None`` if one outside these buckets might belong to them.
    """
    buckets: Counter[int] = Counter()
    for path in paths:
        buckets[path.hash % _BUCKETS] += path.conversions
    # Fewer buckets than were asked for: the others are empty.
    most_outside = min(buckets.values()) if len(buckets) >= LIKELY_BUCKETS else 0
    listed = as_frequent(paths, limit)
    is_certain = len(listed) >= limit and listed[-1].conversions > most_outside
    return listed if is_certain or not most_outside else None


def as_frequent(paths: Sequence[Path], limit: int) -> list[Path]:
    """Of the first ``MAX_PATHS`` those with as many conversions as the ``limit``-th, the most frequent first."""
    ranked = sorted(paths, key=lambda path: (-path.conversions, path.hash))[:MAX_PATHS]
    least = ranked[limit - 1].conversions if len(ranked) >= limit else 0
    return [path for path in ranked if path.conversions >= least]


def _metrics(question: RollUp, of_paths: str, ask: Ask) -> Sequence[Sequence[Any]]:
    places = {
        "path_metrics": question.path_metrics,
        "where": question.metrics_where,
        "worth": _WORTH,
    }
    path_rows = load_sql(of_paths, path_hash="number" if question.is_collapsed else "path_hash", **places)
    return ask(
        load_sql("path_metrics", path_rows=path_rows, **places),
        {**question.parameters, "buckets": LIKELY_BUCKETS, "most": MAX_PATHS},
        _SETTINGS,
    )


def _paths(rows: Sequence[Sequence[Any]]) -> list[Path]:
    return [Path(number, count, worth) for kind, number, _, count, worth in rows if kind == "path"]


def _names(question: RollUp, hashes: Sequence[int], ask: Ask) -> dict[int, tuple[str, ...]]:
    """The channels of each path in the order of time. Raises ``Transient`` if one is not there."""
    if not hashes:
        return {}
    sql = load_sql(
        "path_names",
        paths=question.paths,
        where=question.where,
        path_hash="collapsed_hash" if question.is_collapsed else "path_hash",
        shown="arrayCompact(channels)" if question.is_collapsed else "channels",
    )
    parameters = {**question.parameters, "hashes": list(hashes), "many": len(hashes)}
    found = ask(sql, parameters, _SETTINGS_OF_NAMES)
    names = {path_hash: tuple(channels) for path_hash, channels in found}
    if len(names) < len(hashes):
        # Rows of `paths` are there before those of the roll-up, but a replica may be behind.
        raise Transient("The channels of some paths are not there yet.")
    return names
