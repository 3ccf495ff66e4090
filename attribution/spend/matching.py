"""What of spend and touches did not meet: for a person who wants to mend tags, names or imports."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal

import msgspec

from attribution.channels import COSTS_MONEY
from attribution.spend.fact import normal_name
from attribution.spend.kept import Labels
from attribution.spend.labels import TouchLabel, network_of


class CampaignSpend(msgspec.Struct, frozen=True):
    """What a campaign cost in one currency, and the labels under which that stands."""

    site: str
    ad_network: str
    campaign_id: str
    campaign: str
    channel: str
    source: str
    medium: str
    campaign_label: str
    currency: str
    spend: Decimal
    clicks: int

    @property
    def labels(self) -> Labels:
        """As touches have them."""
        return self.channel, self.source, self.medium, self.campaign_label


class LoneTouches(msgspec.Struct, frozen=True):
    """Touches of a network whose campaign no cost report names; an empty campaign: they name none."""

    site: str
    ad_network: str
    channel: str
    source: str
    medium: str
    campaign: str
    touches: int


class SharedName(msgspec.Struct, frozen=True):
    """A name that several campaigns of a network have: touches that name it are joined to none of them."""

    site: str
    ad_network: str
    name: str
    campaign_ids: list[str]


class Matching(msgspec.Struct, frozen=True):
    """What did not meet, the greatest first."""

    spend_without_touch: list[CampaignSpend]
    touches_without_spend: list[LoneTouches]
    shared_names: list[SharedName]


def match(
    campaigns: Iterable[CampaignSpend], touches: Iterable[TouchLabel], all_touches: Iterable[TouchLabel]
) -> Matching:
    """``campaigns``: all that are known, of which those without spend are not listed; ``touches``: those to be listed,
    ``all_touches``: all that stand, whenever they were."""
    known = list(campaigns)
    ids: set[tuple[str, str, str]] = set()
    named: defaultdict[tuple[str, str, str], set[str]] = defaultdict(set)
    for one in known:
        ids.add((one.site, one.ad_network, one.campaign_id))
        if one.campaign:
            named[one.site, one.ad_network, normal_name(one.campaign)].add(one.campaign_id)
    of_touches = {(touch.site, network_of(touch), touch.labels) for touch in all_touches}
    lone: list[LoneTouches] = []
    for touch in touches:
        network = network_of(touch)
        if not network:
            continue
        text = touch.campaign.strip()
        is_known = text and (
            (touch.site, network, text) in ids or (touch.site, network, normal_name(text)) in named
        )
        if not is_known and touch.channel in COSTS_MONEY:
            lone.append(LoneTouches(touch.site, network, *touch.labels, touch.touches))
    return Matching(
        sorted(
            (one for one in known if one.spend and (one.site, one.ad_network, one.labels) not in of_touches),
            key=lambda one: (
                -one.spend,
                one.site,
                one.ad_network,
                one.campaign_id,
                one.campaign,
                one.currency,
            ),
        ),
        sorted(
            lone,
            key=lambda one: (-one.touches, one.site, one.ad_network, one.campaign, one.source, one.medium),
        ),
        [SharedName(*place, sorted(found)) for place, found in sorted(named.items()) if len(found) > 1],
    )
