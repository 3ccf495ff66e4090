"""Names, parents, currencies and time zones by id, valid from an instant: what connectors' history tables tell."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping
from datetime import date, datetime

_LEVELS = ("ad", "ad_group", "campaign", "account")
"""From fine to coarse: a version of an ad tells its ad group and campaign, a campaign's its account."""
_Thing = tuple[str, str, str]
"""(ad network, level, id)."""
_Versions = dict[datetime, dict[str, str]]


class Histories:
    """Versions of ads, ad groups, campaigns and accounts, in any order of arrival."""

    def __init__(self) -> None:
        self._told: defaultdict[_Thing, _Versions] = defaultdict(dict)
        self._parents: defaultdict[_Thing, _Versions] = defaultdict(dict)
        """What versions of finer things say of coarser ones: an ad's campaign belongs to the ad's account."""

    def add(self, ad_network: str, changed_at: datetime, told: Mapping[str, str]) -> None:
        """Note a version: ``told`` are fields of a fact; the finest id among them is what it is a version of."""
        levels = [level for level in _LEVELS if told.get(f"{level}_id")]
        for place, level in enumerate(levels):
            thing = ad_network, level, told[f"{level}_id"]
            if place == 0:
                _note(self._told[thing], changed_at, dict(told))
            else:
                ids = {f"{coarser}_id": told[f"{coarser}_id"] for coarser in levels[place:]}
                _note(self._parents[thing], changed_at, ids)

    def fill(self, ad_network: str, day: date, fields: dict[str, str]) -> None:
        """Put into ``fields`` what it lacks and the versions valid on ``day`` tell.

        A version counts for the whole day on which it begins (its instant is UTC, the day the account's); before
        the first known version the first one counts, because connectors do not know what was before them.
        """
        for level in _LEVELS:
            for table in (self._told, self._parents):
                thing = fields.get(f"{level}_id")
                versions = table.get((ad_network, level, thing)) if thing else None
                if not versions:
                    continue
                instants = sorted(versions)
                place = bisect_right([instant.date() for instant in instants], day)
                for field, value in versions[instants[max(place - 1, 0)]].items():
                    if value and not fields.get(field):
                        fields[field] = value


def _note(versions: _Versions, changed_at: datetime, told: dict[str, str]) -> None:
    # Of two versions of one instant the greater counts, so that their order does not matter.
    if changed_at not in versions or sorted(told.items()) > sorted(versions[changed_at].items()):
        versions[changed_at] = told
