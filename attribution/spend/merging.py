"""The newest figure of each key, and the signed entries that a change makes: a spend ledger is their sum."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime

import msgspec

from attribution.spend.fact import Level, SpendFact, normal_name

Facts = dict[str, SpendFact]
"""The newest known fact by key."""
_AGELESS = datetime(2000, 1, 1, tzinfo=UTC)
_COARSE_FIRST = (Level.ad, Level.ad_group, Level.campaign)


class SpendEntry(msgspec.Struct, frozen=True):
    """One row of the ledger: the figures of ``fact`` count (``sign`` 1) or count no more (-1)."""

    fact: SpendFact
    sign: int


def newest(old: Mapping[str, SpendFact], new: Iterable[SpendFact]) -> Facts:
    """``old`` and ``new`` merged: of each key the figure read last; commutative, associative, idempotent.

    Two figures read at one instant: the one imported later; of one import the one whose bytes are greater, so that
    order of arrival never matters.
    """
    merged = dict(old)
    for fact in new:
        standing = merged.get(fact.key)
        if standing is None or _age(fact) > _age(standing):
            merged[fact.key] = fact
    return merged


def counted(facts: Mapping[str, SpendFact]) -> Facts:
    """The facts that count: the same money may be reported by account, campaign, ad group and ad.

    A campaign's day counts at one level, that of the figure read last (of one instant the coarser, which misses
    nothing); a row of a whole account counts only where nothing finer of that account and day is known. What clicks
    told live counts until any report tells the same (``_Told``), and has no say in which report does. A pure function
    of ``facts``, so that it does not depend on the order in which they came.
    """
    of_campaign: dict[tuple[str, str, date], tuple[datetime, int]] = {}
    finer: set[tuple[str, str, date]] = set()
    reports = {key: fact for key, fact in facts.items() if fact.level is not Level.live}
    for fact in reports.values():
        if fact.level is not Level.account:
            finer.add(fact.account_day)
            rank = fact.as_of, _COARSE_FIRST.index(fact.level)
            of_campaign[fact.campaign_day] = max(of_campaign.get(fact.campaign_day, rank), rank)
    counting = {
        key: fact
        for key, fact in reports.items()
        if (fact.account_day not in finer)
        or (
            fact.level is not Level.account
            and of_campaign[fact.campaign_day][1] == _COARSE_FIRST.index(fact.level)
        )
    }
    if len(reports) < len(facts):
        told = _Told(counting.values())
        counting |= {key: fact for key, fact in facts.items() if key not in reports and not told.tells(fact)}
    return counting


class _Told:
    """Of which campaigns and days the reports that count have told what they cost."""

    def __init__(self, reports: Iterable[SpendFact]) -> None:
        self._accounts: set[tuple[str, date]] = set()
        self._days: set[tuple[str, date]] = set()
        self._campaigns: set[tuple[str, date, str]] = set()
        for report in reports:
            day = report.ad_network, report.day
            self._days.add(day)
            if report.level is Level.account:
                self._accounts.add(day)
            self._campaigns |= {
                (*day, name) for name in (report.campaign_id, normal_name(report.campaign)) if name
            }

    def tells(self, live: SpendFact) -> bool:
        """Whether a report tells the same money: of the campaign, by an id or the name that its clicks bear, or of a
        whole account. Clicks without a campaign may be of any: a report of the network's day tells of them.
        """
        day = live.ad_network, live.day
        names = (live.campaign_id, live.campaign, normal_name(live.campaign))
        if day in self._accounts or not any(names):
            return day in self._days
        return any((*day, name) in self._campaigns for name in names if name)


def replace(old: Mapping[str, SpendFact], new: Iterable[SpendFact]) -> tuple[Facts, list[SpendEntry]]:
    """(newest facts after ``new`` arrived, signed entries that move the ledger from ``old`` to them).

    The same figures again make no entry, also when they were read later. Entries are in the order of their keys,
    what is taken back before what takes its place.
    """
    after = newest(old, new)
    return after, differences(counted(old), counted(after))


def differences(before: Mapping[str, SpendFact], after: Mapping[str, SpendFact]) -> list[SpendEntry]:
    """Signed entries from one set of counted facts to another."""
    entries: list[SpendEntry] = []
    for key in sorted(before.keys() | after.keys()):
        was, is_now = before.get(key), after.get(key)
        if was is not None and is_now is not None and same_figures(was, is_now):
            continue
        if was is not None:
            entries.append(SpendEntry(was, -1))
        if is_now is not None:
            entries.append(SpendEntry(is_now, 1))
    return entries


def balance(entries: Iterable[SpendEntry]) -> dict[tuple[str, str, date], int]:
    """Micros by (network, currency, day) as a plain sum over a ledger says, without those that are nothing."""
    sums: defaultdict[tuple[str, str, date], int] = defaultdict(int)
    for entry in entries:
        sums[entry.fact.ad_network, entry.fact.currency, entry.fact.day] += entry.sign * entry.fact.cost
    return {place: micros for place, micros in sums.items() if micros}


def same_figures(one: SpendFact, other: SpendFact) -> bool:
    """Whether both say the same, whenever they were read."""
    return _figures(one) == _figures(other)


def _figures(fact: SpendFact) -> SpendFact:
    return msgspec.structs.replace(fact, as_of=_AGELESS, imported_at=_AGELESS)


def _age(fact: SpendFact) -> tuple[datetime, datetime, bytes]:
    return fact.as_of, fact.imported_at, msgspec.json.encode(_figures(fact))
