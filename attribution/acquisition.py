"""How a visitor came: what a URL and a referrer say about source, medium, campaign and channel."""

from __future__ import annotations

import msgspec


class Acquisition(msgspec.Struct, frozen=True, array_like=True):
    """Where a hit came from. Immutable; a hit without one is Direct."""

    channel: str
    source: str
    medium: str
    campaign: str = ""
    term: str = ""
    content: str = ""
    ad_network: str = ""
    click_id_param: str = ""
    click_id: str = ""
    referrer_host: str = ""
    is_tagged_or_paid: bool = False
    """UTM-tagged or carrying a paid click id: starts a new session under the default switch."""

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What makes two acquisitions the same arrival: source, medium, campaign, click id."""
        return (self.source, self.medium, self.campaign, self.click_id)


DIRECT = Acquisition("Direct", "(direct)", "(none)")
