"""The marketing of the simulated shop: one row per programme, with its tags and what it truly does.

A programme is what a marketer buys or runs ("LinkedIn"); a channel is what Headwater must find out about
each of its visits from URL and referrer alone. Some arrivals are traps on purpose: auto-tagged clicks
without UTM, an organic ``fbclid``, ``cpm`` of a display network, a referrer (dropbox.com) whose name holds
another network's (x.com).
"""

from __future__ import annotations

import random
import string
from dataclasses import dataclass
from urllib.parse import urlencode

SHOP = "https://www.lumen-lamps.example"
"""The shop whose visitors are simulated (a name reserved for examples, RFC 2606)."""

_ID_LETTERS = string.ascii_letters + string.digits


@dataclass(frozen=True)
class Arrival:
    """One way to come: the tags on the landing URL, the referrer, and the channel that is right for it."""

    channel: str
    source: str = ""
    medium: str = ""
    campaign: str = ""
    click_param: str = ""
    referrer: str = ""

    @property
    def is_tagged_or_paid(self) -> bool:
        """UTM tags or a paid click id: starts a new session even shortly after another visit."""
        return bool(self.source) or self.click_param not in ("", "fbclid")

    def query(self, rng: random.Random) -> str:
        """The query string of the landing URL, "" for an untagged arrival; click ids are fresh."""
        pairs: list[tuple[str, str]] = []
        if self.source:
            pairs += [
                ("utm_source", self.source),
                ("utm_medium", self.medium),
                ("utm_campaign", self.campaign),
            ]
        if self.click_param:
            pairs.append((self.click_param, "".join(rng.choices(_ID_LETTERS, k=22))))
        return urlencode(pairs)


@dataclass(frozen=True)
class Programme:
    """One programme: how often it brings people first and again, and what one touch truly does.

    ``uplift`` is the probability of a purchase that one touch adds (additive over touches). ``opening`` and
    ``closing`` are relative frequencies among first and later visits.
    """

    name: str
    label: str
    opening: float
    closing: float
    uplift: float
    arrivals: tuple[Arrival, ...]


PROGRAMMES = (
    Programme(
        "google_ads",
        "Google Ads",
        12,
        14,
        0.030,
        (
            Arrival("Paid Search", "google", "cpc", "gads_generic", "gclid", "https://www.google.com/"),
            Arrival("Paid Search", "google", "cpc", "gads_brand", "gclid", "https://www.google.com/"),
            Arrival("Paid Search", click_param="gclid", referrer="https://www.google.com/"),
            Arrival("Paid Search", click_param="gbraid", referrer="https://www.google.com/"),
        ),
    ),
    Programme(
        "bing_ads",
        "Microsoft Ads (Bing)",
        4,
        4,
        0.035,
        (
            Arrival("Paid Search", "bing", "cpc", "bing_generic", "msclkid", "https://www.bing.com/"),
            Arrival("Paid Search", click_param="msclkid", referrer="https://www.bing.com/"),
        ),
    ),
    Programme(
        "linkedin",
        "LinkedIn Ads",
        5,
        2,
        0.080,
        (
            Arrival(
                "Paid Social",
                "linkedin",
                "paid_social",
                "li_offices",
                "li_fat_id",
                "https://www.linkedin.com/",
            ),
            Arrival("Paid Social", "LinkedIn", "cpc", "li_leadgen", "", "https://lnkd.in/"),
        ),
    ),
    Programme(
        "meta",
        "Meta Ads",
        14,
        7,
        0.045,
        (
            Arrival(
                "Paid Social",
                "facebook",
                "paid_social",
                "meta_prospecting",
                "fbclid",
                "https://l.facebook.com/",
            ),
            Arrival(
                "Paid Social",
                "instagram",
                "paid_social",
                "meta_stories",
                "fbclid",
                "https://l.instagram.com/",
            ),
        ),
    ),
    Programme(
        "tiktok",
        "TikTok Ads",
        8,
        2,
        0.030,
        (Arrival("Paid Social", "tiktok", "cpc", "tt_sparks", "ttclid", "https://www.tiktok.com/"),),
    ),
    Programme(
        "x",
        "X Ads",
        4,
        2,
        0.015,
        (Arrival("Paid Social", "twitter", "paid_social", "x_takeover", "twclid", "https://t.co/"),),
    ),
    Programme(
        "programmatic",
        "Programmatic display",
        10,
        6,
        0.020,
        (
            Arrival(
                "Display", "dv360", "display", "prog_prospecting", "dclid", "https://ads.publisher.example/"
            ),
            Arrival("Display", "criteo", "cpm", "prog_returning", "", "https://ads.publisher.example/"),
        ),
    ),
    Programme(
        "affiliate",
        "Affiliates",
        5,
        5,
        0.025,
        (
            Arrival(
                "Affiliates", "awin", "affiliate", "aff_content", "awc", "https://lamp-reviews.example/best"
            ),
            Arrival(
                "Affiliates", "impact", "affiliate", "aff_coupon", "irclickid", "https://coupons.example/"
            ),
        ),
    ),
    Programme(
        "influencer",
        "Influencers",
        7,
        2,
        0.090,
        (
            Arrival("Organic Social", "instagram", "influencer", "inf_mira", "", "https://l.instagram.com/"),
            Arrival("Organic Video", "youtube", "influencer", "inf_homelab", "", "https://www.youtube.com/"),
            Arrival("Organic Social", click_param="fbclid", referrer="https://l.facebook.com/"),
        ),
    ),
    Programme(
        "email",
        "Email",
        1,
        16,
        0.050,
        (
            Arrival("Email", "newsletter", "email", "mail_weekly", "mc_cid", ""),
            Arrival("Email", "lifecycle", "email", "mail_basket", "", "https://mail.google.com/"),
        ),
    ),
    Programme(
        "organic_search",
        "Organic search",
        16,
        14,
        0.015,
        (
            Arrival("Organic Search", referrer="https://www.google.com/"),
            Arrival("Organic Search", referrer="https://www.google.de/"),
            Arrival("Organic Search", referrer="https://www.bing.com/"),
            Arrival("Organic Search", referrer="https://duckduckgo.com/"),
        ),
    ),
    Programme(
        "referral",
        "Referral",
        6,
        3,
        0.040,
        (
            Arrival("Referral", referrer="https://lighting-forum.example/threads/8812"),
            Arrival("Referral", referrer="https://www.dropbox.com/"),
        ),
    ),
    # The ad leads to the store where the app is, and nobody of those comes to the shop.
    Programme(
        "app",
        "App installs",
        0,
        0,
        0.0,
        (Arrival("Paid Social", "tiktok", "cpc", "tt_app", "ttclid", "https://www.tiktok.com/"),),
    ),
    Programme("direct", "Direct", 8, 23, 0.0, (Arrival("Direct"),)),
)
"""Frequencies and uplifts are made up, so that what closes most (brand search, direct) does little and what
opens (influencers, LinkedIn) does more: the case in which models differ."""

BY_NAME = {programme.name: programme for programme in PROGRAMMES}

_BY_CAMPAIGN = {
    arrival.campaign: programme.name
    for programme in PROGRAMMES
    for arrival in programme.arrivals
    if arrival.campaign
}
_BY_CHANNEL_AND_SOURCE = {("Paid Search", "google"): "google_ads", ("Paid Search", "bing"): "bing_ads"}
_BY_CHANNEL = {
    "Organic Social": "influencer",
    "Organic Search": "organic_search",
    "Referral": "referral",
    "Direct": "direct",
}


def programme_of(channel: str, source: str, campaign: str) -> str | None:
    """The programme that a reported row belongs to; None when the report names what the shop does not run."""
    if campaign in _BY_CAMPAIGN:
        return _BY_CAMPAIGN[campaign]
    return _BY_CHANNEL_AND_SOURCE.get((channel, source)) or _BY_CHANNEL.get(channel)
