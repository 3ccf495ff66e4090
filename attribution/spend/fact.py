"""The canonical fact of spend: what one campaign, ad group or ad cost on one day of its account."""

from __future__ import annotations

from datetime import date, datetime
from enum import StrEnum

import msgspec

MICROS = 1_000_000
"""Micros of one major unit: platforms bill fractions of a cent, so a fact is kept finer than the minor unit."""
MAX_COST_MICROS = 10**18 - 1
"""Largest absolute amount of a fact: fits ``Decimal(18, 6)`` and a signed integer of 64 bits."""


_UNIQUE_IDS = frozenset(("google_ads", "microsoft_ads", "meta_ads", "linkedin_ads", "tiktok_ads", "x_ads"))
"""Networks whose ids are unique over their accounts."""


class Level(StrEnum):
    """How fine the report was that a fact comes from."""

    account = "account"
    campaign = "campaign"
    ad_group = "ad_group"
    ad = "ad"
    live = "live"
    """No report: what clicks said that they cost, by campaign (``spend.click_costs``). Any report goes before it."""


class SpendFact(msgspec.Struct, frozen=True, kw_only=True):
    """The newest known figures of one thing on one day; ``key`` says of what, ``as_of`` how new they are.

    Amounts are whole micros of the currency as billed: exact for every platform (Google and X report micros, the
    others decimals). They are rounded to minor units only where a report shows them, after summing. Additive counts
    that a report does not have are 0; what cannot be summed, or what a 0 would lie about, is None.
    """

    day: date
    """The day of the platform's account, in ``time_zone``; it is not converted, because platforms sum by it."""
    ad_network: str
    """As in ``tables/click_ids.tsv``: google_ads, microsoft_ads, meta_ads, linkedin_ads, tiktok_ads, x_ads, ..."""
    level: Level
    account_id: str = ""
    campaign_id: str = ""
    campaign: str = ""
    """Name valid on ``day``, as far as the report or a history tells; else empty."""
    ad_group_id: str = ""
    """Ad group, ad set (Meta) or line item (X). LinkedIn has none: its campaigns stand below campaign groups."""
    ad_group: str = ""
    ad_id: str = ""
    ad: str = ""
    currency: str
    """ISO 4217 code of ``cost`` and ``platform_value``."""
    cost: int
    """Micros; below zero is a credit note."""
    impressions: int = 0
    reach: int | None = None
    """People reached on this day by this thing. Not additive: None as soon as rows had to be summed."""
    clicks: int = 0
    """Clicks on the ad's link where the report tells them apart (Meta, X, TikTok), else the platform's clicks."""
    views: int = 0
    """Video views as the platform counts them."""
    installs: int = 0
    platform_conversions: int | None = None
    """What the platform claims, in millionths (data-driven conversions are fractions). Never summed with ours."""
    platform_value: int | None = None
    """Micros that the platform claims. Never summed with ours."""
    bid_strategy: str = ""
    bid: int | None = None
    """Micros."""
    time_zone: str = ""
    """Zone of ``day``: an IANA name, or the platform's own word for it (Microsoft); empty if not told."""
    as_of: datetime
    """When these figures were read from the platform (UTC): the connector's instant, else the import's."""
    imported_at: datetime
    """When they were imported (UTC). Of two readings of one instant the later import counts, so that an import with a
    wrong assumption (currency, account) can be repeated with the right one."""

    @property
    def key(self) -> str:
        """What this is the figure of: a newer figure with the same key replaces it.

        On networks whose ids are unique over accounts the finest id alone if there is one, so that a history or an
        account id that comes later makes no second key (an ad of Google with its campaign: an id may be in several).
        Else the path of ids and names.
        """
        return "|".join((self.ad_network, self.day.isoformat(), self.level, self._entity()))

    @property
    def campaign_day(self) -> tuple[str, str, date]:
        """(network, campaign, day): counted at one level only, see ``merging.counted``."""
        return self.ad_network, self._campaign, self.day

    @property
    def account_day(self) -> tuple[str, str, date]:
        """(network, account, day): what a row without campaign is the total of."""
        return self.ad_network, self.account_id, self.day

    def _entity(self) -> str:
        if self.level is Level.account:
            return self.account_id
        if self.level is Level.live:
            # Sums of clicks: they have no account, and what is told in two currencies is not one figure.
            path = [self.campaign_id, normal_name(self.campaign), self.currency]
            return msgspec.json.encode(path).decode()
        if self.ad_network in _UNIQUE_IDS:
            finest = {
                Level.campaign: self.campaign_id,
                Level.ad_group: self.ad_group_id,
                Level.ad: self.ad_id,
            }[self.level]
            if finest and self.level is Level.ad and self.ad_network == "google_ads":
                return f"{self.campaign_id}~{finest}"
            if finest:
                return finest
        path = [self._campaign]
        if self.level in (Level.ad_group, Level.ad):
            path.append(self.ad_group_id or normal_name(self.ad_group))
        if self.level is Level.ad:
            path.append(self.ad_id or normal_name(self.ad))
        # JSON: a name may hold any separator.
        return msgspec.json.encode(path).decode()

    @property
    def _campaign(self) -> str:
        """The campaign's id, or its name, within its account where it is not unique."""
        if self.campaign_id and self.ad_network in _UNIQUE_IDS:
            return self.campaign_id
        return msgspec.json.encode([self.account_id, self.campaign_id or normal_name(self.campaign)]).decode()


def normal_name(name: str) -> str:
    """A name as it is compared: without case, blanks at the ends and repeated blanks."""
    return " ".join(name.casefold().split())
