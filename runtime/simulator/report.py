"""The last word of the demo: what each programme truly did, what each model says, and whether the books balance.

Pure: from the truth and a snapshot to tables and checks.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from attribution.money import format_amount
from runtime.simulator.crm import CURRENCY
from runtime.simulator.observer import Amounts, Place, Snapshot
from runtime.simulator.programmes import BY_NAME, programme_of
from runtime.simulator.world import Truth

UNATTRIBUTED = "(unattributed)"
STRAY = "(not run by the shop)"
"""Row of credit and traffic that was put where the shop has no marketing: a wrong classification."""
SERVER = "(told by the shop's server)"
"""Row of hits without page and referrer: they belong to no visit and came through no channel."""


@dataclass(frozen=True)
class Check:
    """One thing that must be equal. ``measured`` and ``expected`` are for people."""

    name: str
    expected: str
    measured: str
    is_met: bool


@dataclass(frozen=True)
class Line:
    """One programme: measured traffic, true and credited revenue in US cents."""

    name: str
    label: str
    channels: str
    hits: int
    sessions: int
    conversions: Decimal
    """Under ``linear``."""
    caused: int
    credited: Mapping[str, int]
    """By model."""


def build_lines(truth: Truth, snapshot: Snapshot) -> list[Line]:
    """A line for every programme in the seed list's order, then what belongs to none of them, if anything."""
    traffic = _by_programme(snapshot.traffic)
    credit = {model: _by_programme(places) for model, places in snapshot.credit.items()}
    channels: dict[str, set[str]] = defaultdict(set)
    for place in snapshot.traffic:
        channels[_programme(place)].add(place[0])
    used = {*traffic, *(name for places in credit.values() for name in places)}
    lines = []
    for name in [*BY_NAME, *(extra for extra in (SERVER, STRAY, UNATTRIBUTED) if extra in used)]:
        seen = traffic.get(name, Amounts())
        lines.append(
            Line(
                name,
                BY_NAME[name].label if name in BY_NAME else name,
                ", ".join(sorted(channels[name])),
                seen.hits,
                seen.sessions,
                credit.get("linear", {}).get(name, Amounts()).conversions,
                truth.caused[name],
                {model: places.get(name, Amounts()).revenue for model, places in credit.items()},
            )
        )
    return lines


def shares(amounts: Mapping[str, int]) -> dict[str, float]:
    """Percentages; all zero when there is nothing to share."""
    total = sum(amounts.values())
    return {name: 100 * amount / total if total else 0.0 for name, amount in amounts.items()}


def misplaced(true_shares: Mapping[str, float], model_shares: Mapping[str, float]) -> float:
    """Percentage points of revenue that a model gives to the wrong programme (half the sum of all errors)."""
    names = {*true_shares, *model_shares}
    return sum(abs(true_shares.get(name, 0.0) - model_shares.get(name, 0.0)) for name in names) / 2


def build_checks(truth: Truth, snapshot: Snapshot, repeated: int) -> list[Check]:
    """Everything that must be equal. ``repeated`` hits may have been sent once more than the simulator meant."""
    hits = sum(amounts.hits for amounts in snapshot.traffic.values())
    bots = snapshot.drops.get("bot", 0)
    duplicates = snapshot.drops.get("duplicate", 0)
    others = sum(snapshot.drops.values()) - bots - duplicates
    # A request that was repeated for lack of an answer may add duplicates, never hits.
    extra = bots + duplicates - truth.bots - truth.duplicates
    is_extra_explained = 0 <= extra <= repeated
    checks = [
        _equal("hits kept", truth.unique, hits),
        Check(
            "bots and duplicates dropped",
            f"{truth.bots:,} + {truth.duplicates:,}" + (f" (up to {repeated:,} more)" if repeated else ""),
            f"{bots:,} + {duplicates:,}",
            is_extra_explained,
        ),
        Check(
            "sent = kept + dropped",
            f"{truth.sent + (extra if is_extra_explained else 0):,}",
            f"{hits + bots + duplicates + others:,}",
            hits + bots + duplicates + others == truth.sent + (extra if is_extra_explained else 0),
        ),
        _sessions_check(truth, snapshot),
    ]
    for model, places in snapshot.credit.items():
        total = _sum(places.values())
        checks.append(
            Check(
                f"credit = revenue, {model}",
                f"{dollars(truth.revenue)} in {truth.conversions:,}",
                f"{dollars(total.revenue)} in {total.conversions.normalize():f}",
                total.revenue == truth.revenue and total.conversions == truth.conversions,
            )
        )
    used = {*snapshot.traffic, *(place for by_place in snapshot.credit.values() for place in by_place)}
    strays = sorted({f"{channel}: {source}" for channel, source, _ in filter(_is_stray, used)})
    checks.append(
        Check("nothing where the shop has no marketing", "none", ", ".join(strays) or "none", not strays)
    )
    return checks


def dollars(cents: int) -> str:
    """US cents for people: ``12,345.67``."""
    whole, _, part = format_amount(cents, CURRENCY).partition(".")
    return f"{int(whole):,}.{part}"


def _sessions_check(truth: Truth, snapshot: Snapshot) -> Check:
    measured: Counter[str] = Counter()
    for (channel, _, _), amounts in snapshot.traffic.items():
        measured[channel] += amounts.sessions
    wrong = {
        channel: (truth.sessions[channel], measured[channel])
        for channel in sorted({*truth.sessions, *measured})
        if truth.sessions[channel] != measured[channel]
    }
    differences = "; ".join(f"{channel} {true:,} -> {seen:,}" for channel, (true, seen) in wrong.items())
    total = f"{truth.sessions.total():,}"
    found = f"{measured.total():,}" + (f" ({differences})" if wrong else "")
    return Check(f"sessions in each of {len(truth.sessions)} channels", total, found, not wrong)


def _equal(name: str, expected: int, measured: int) -> Check:
    return Check(name, f"{expected:,}", f"{measured:,}", expected == measured)


def _programme(place: Place) -> str:
    channel, source, campaign = place
    if channel == UNATTRIBUTED:
        return UNATTRIBUTED
    if (channel, source) == ("Unassigned", "(not set)"):
        return SERVER
    return programme_of(channel, source, campaign) or STRAY


def _is_stray(place: Place) -> bool:
    return _programme(place) == STRAY


def _by_programme(places: Mapping[Place, Amounts]) -> dict[str, Amounts]:
    sums: dict[str, Amounts] = defaultdict(Amounts)
    for place, amounts in places.items():
        sums[_programme(place)] += amounts
    return dict(sums)


def _sum(amounts: Iterable[Amounts]) -> Amounts:
    total = Amounts()
    for one in amounts:
        total += one
    return total
