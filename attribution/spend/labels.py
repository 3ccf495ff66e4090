"""Under which channel, source, medium and campaign spend stands: those of the touches that its campaign brought.

A touch names its campaign by ``utm_campaign`` (or ``utm_id``), which people fill with the campaign's id or with its
name. So a campaign's spend is joined to touches of the same site and network by id first, then by name if only one
campaign of that day has it; without a touch it stands under what clicks of its network are. Joining never changes an
amount.

Everything is a function of the facts known of a day and of the touches known: not of which of them came first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from attribution.channels import COSTS_MONEY, classify_channel
from attribution.spend.fact import Level, SpendFact, normal_name
from attribution.spend.kept import Labels
from attribution.tables import read_rows


class TouchLabel(NamedTuple):
    """How many touches of a site have these labels."""

    site: str
    ad_network: str
    """That the click id names; empty without one."""
    channel: str
    source: str
    medium: str
    campaign: str
    touches: int

    @property
    def labels(self) -> Labels:
        """As spend bears them."""
        return self.channel, self.source, self.medium, self.campaign


_NETWORKS = {row[0]: (row[1], row[2]) for row in read_rows("spend_networks.tsv")}
_NETWORK_OF_SOURCE = {
    source: row[0]
    for row in reversed(read_rows("spend_networks.tsv"))
    for source in (row[1], *(row[3].split(",") if len(row) > 3 and row[3] else ()))
}


def network_of(touch: TouchLabel) -> str:
    """The network that a touch came from; empty when nothing tells.

    A click id tells it, else the source of a touch that was paid for.
    """
    if touch.ad_network or touch.channel not in COSTS_MONEY:
        return touch.ad_network
    return network_of_source(touch.source)


def network_of_source(source: str) -> str:
    """The network whose paid clicks have this ``utm_source``: of one that nobody knows the source is its name."""
    name = source.strip().casefold()
    return _NETWORK_OF_SOURCE.get(name, name.replace("-", "_"))


@dataclass(frozen=True)
class Touches:
    """The touches known of one site and network, as spend looks them up. Equal when they label alike."""

    by_text: Mapping[str, Labels] = field(default_factory=dict)
    """Labels by what touches say of their campaign."""
    by_name: Mapping[str, Labels] = field(default_factory=dict)
    """The same by ``normal_name``."""

    @classmethod
    def of(cls, touches: Iterable[TouchLabel]) -> Touches:
        """What ``touches`` of one site and network say."""
        by_text: defaultdict[str, list[TouchLabel]] = defaultdict(list)
        by_name: defaultdict[str, list[TouchLabel]] = defaultdict(list)
        for touch in touches:
            if touch.touches > 0 and (text := touch.campaign.strip()):
                by_text[text].append(touch)
                by_name[normal_name(text)].append(touch)
        return cls(
            {text: _most(found) for text, found in by_text.items()},
            {name: _most(found) for name, found in by_name.items()},
        )

    def of_id(self, campaign_id: str) -> Labels | None:
        """Labels of touches that name the campaign by its id."""
        return self.by_text.get(campaign_id) if campaign_id else None

    def of_name(self, campaign: str) -> Labels | None:
        """Labels of touches that name the campaign by its name, however written (``normal_name``)."""
        return self.by_name.get(normal_name(campaign)) if campaign else None


def by_network(touches: Iterable[TouchLabel]) -> dict[tuple[str, str], Touches]:
    """The touches of each (site, network)."""
    found: defaultdict[tuple[str, str], list[TouchLabel]] = defaultdict(list)
    for touch in touches:
        if network := network_of(touch):
            found[touch.site, network].append(touch)
    return {place: Touches.of(those) for place, those in found.items()}


def labelled(facts: Mapping[str, SpendFact], touches: Touches) -> dict[str, Labels]:
    """Labels by key of the ``facts`` known of one site, network and day."""
    of_name: defaultdict[str, set[str]] = defaultdict(set)
    for fact in facts.values():
        # What clicks say is no report's name: it parts no labels of what reports tell.
        if fact.campaign and fact.level is not Level.live:
            of_name[normal_name(fact.campaign)].add(fact.campaign_day[1])
    found: dict[str, Labels] = {}
    for key, fact in facts.items():
        if fact.level is Level.live:
            labels = _of_clicks(fact, touches)
        else:
            labels = touches.of_id(fact.campaign_id)
            if labels is None and len(of_name[normal_name(fact.campaign)]) == 1:
                labels = touches.of_name(fact.campaign)
        found[key] = labels or default_labels(fact)
    return found


def _of_clicks(fact: SpendFact, touches: Touches) -> Labels | None:
    """A touch bears the campaign that its own click named: as it is written, before any name like it."""
    return touches.of_id(fact.campaign or fact.campaign_id) or touches.of_name(fact.campaign)


def default_labels(fact: SpendFact) -> Labels:
    """Labels of a fact without touches: what clicks of its network are, and its campaign by name, or id."""
    source, medium = _NETWORKS.get(fact.ad_network, (fact.ad_network, "cpc"))
    campaign = "" if fact.level is Level.account else fact.campaign or fact.campaign_id
    channel = classify_channel(source, medium, campaign, ad_network=fact.ad_network, is_paid_click=True)
    return channel, source, medium, campaign


def _most(touches: Iterable[TouchLabel]) -> Labels:
    """The labels that most of them have; paid ones before others, of equally many the smallest."""
    sums: defaultdict[Labels, int] = defaultdict(int)
    for touch in touches:
        sums[touch.labels] += touch.touches
    return min(sums, key=lambda labels: (labels[0] not in COSTS_MONEY, -sums[labels], labels))
