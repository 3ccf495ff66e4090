"""The channel of a visit: GA4's default channel group, by tables.

Rules and their order are those of GA4 for web traffic (support.google.com/analytics/answer/9756891; definitions
C1), compared in lower case, first match wins. Where we differ, and why:

- ``AI Assistant`` has no published source list; ours is ``tables/ai_assistants.tsv``. It stands before Referral.
- A source of the search list with medium ``referral`` is Referral: whoever wrote ``referral`` has ruled out a
  result page (``google.com / referral`` is a link on google.com/permissions). Google's own older grouping does so
  too. Referrers that are result pages get medium ``organic`` (see ``acquisition``), so no search is lost.
- ``mail.google.com`` and other webmail are not search engines, ``sites.google.com`` is not a social network and
  ``rakuten`` is a marketplace, although Google's list says otherwise.
- The lists hold newer sites and ad account spellings (``meta``, ``fb_ads``, ``google-ads``), which GA4 leaves in
  Paid Other, and drop dead ones. Hosts match by whole labels below a listed domain; GA4 lists each host.
- A paid click id makes a visit paid when the medium is missing or says only ``organic``, ``referral`` or social.
  GA4 does this for Google's own click ids (auto-tagging), we do it for every platform. ``fbclid`` proves nothing.
- Clicks with ``dclid`` (Campaign Manager, Display & Video 360) are Display whatever the medium, as auto-tagging
  would say.
- An address with ``utm_campaign`` alone is no Direct visit: somebody tagged it. Source and medium are ``(not set)``;
  the campaign may still say Cross-network or Shopping, else it is Unassigned.
- Email is "contains" (GA4 words it as a match), so ``newsletter-email`` is Email.
"""

from __future__ import annotations

from attribution.sources import SourceKind, known_source

CHANNELS = (
    "Direct",
    "Cross-network",
    "Paid Shopping",
    "Paid Search",
    "Paid Social",
    "Paid Video",
    "Display",
    "Paid Other",
    "Organic Shopping",
    "Organic Social",
    "Organic Video",
    "Organic Search",
    "AI Assistant",
    "Referral",
    "Email",
    "Affiliates",
    "Audio",
    "SMS",
    "Mobile Push Notifications",
    "Unassigned",
)
"""Every channel, in the order of the rules."""

PAID_CHANNELS = frozenset(CHANNELS[1:8])
"""Those that GA4's rules reach by payment or display: Cross-network to Paid Other. Affiliates, e-mail and messages cost
money too, but their tags do not say so."""

COSTS_MONEY = PAID_CHANNELS | {"Affiliates"}
"""Channels whose touches an advertiser is billed for, as far as a channel tells."""

DISPLAY_NETWORK = "google_display"
"""``ad_network`` of ``dclid``."""

_UNSET = frozenset(("", "(none)", "(not set)"))
_DISPLAY_MEDIA = frozenset(("display", "banner", "expandable", "interstitial", "cpm"))
_SOCIAL_MEDIA = frozenset(
    ("social", "social-network", "social-media", "sm", "social network", "social media")
)
_REFERRAL_MEDIA = frozenset(("referral", "app", "link"))
_EMAIL_WORDS = ("email", "e-mail", "e_mail", "e mail")
_OVERRULED_BY_A_CLICK = _UNSET | _SOCIAL_MEDIA | {"organic", "referral"}

_PAID = {
    SourceKind.shopping: "Paid Shopping",
    SourceKind.search: "Paid Search",
    SourceKind.social: "Paid Social",
    SourceKind.video: "Paid Video",
}


def classify_channel(
    source: str, medium: str, campaign: str = "", *, ad_network: str = "", is_paid_click: bool = False
) -> str:
    """One of ``CHANNELS``. ``is_paid_click``: the address carries a paid click id, of ``ad_network``."""
    source, medium, campaign = source.strip().lower(), medium.strip().lower(), campaign.strip().lower()
    if not is_paid_click and source in ("", "(direct)") and medium in _UNSET:
        return "Direct"
    if "cross-network" in campaign:
        return "Cross-network"
    kind = known_source(source).kind
    is_shopping = kind is SourceKind.shopping or _is_shopping_campaign(campaign)
    if ad_network == DISPLAY_NETWORK and is_paid_click:
        return "Display"
    if _is_paid(medium) or (is_paid_click and medium in _OVERRULED_BY_A_CLICK):
        if is_shopping:
            return "Paid Shopping"
        return _PAID.get(kind) or ("Display" if medium in _DISPLAY_MEDIA else "Paid Other")
    if medium in _DISPLAY_MEDIA:
        return "Display"
    return _classify_unpaid(source, medium, kind, is_shopping)


def _classify_unpaid(source: str, medium: str, kind: SourceKind, is_shopping: bool) -> str:
    if is_shopping:
        return "Organic Shopping"
    if kind is SourceKind.social or medium in _SOCIAL_MEDIA:
        return "Organic Social"
    if kind is SourceKind.video or "video" in medium:
        return "Organic Video"
    if medium == "organic" or (kind is SourceKind.search and medium != "referral"):
        return "Organic Search"
    if kind is SourceKind.ai_assistant or medium == "ai-assistant":
        return "AI Assistant"
    if medium in _REFERRAL_MEDIA:
        return "Referral"
    if any(word in source or word in medium for word in _EMAIL_WORDS):
        return "Email"
    if medium == "affiliate":
        return "Affiliates"
    if medium == "audio":
        return "Audio"
    if "sms" in (source, medium):
        return "SMS"
    if medium.endswith("push") or "mobile" in medium or "notification" in medium or source == "firebase":
        return "Mobile Push Notifications"
    return "Unassigned"


def _is_paid(medium: str) -> bool:
    """GA4's ``^(.*cp.*|ppc|retargeting|paid.*)$``."""
    return "cp" in medium or medium in ("ppc", "retargeting") or medium.startswith("paid")


def _is_shopping_campaign(campaign: str) -> bool:
    """GA4's ``^(.*(([^a-df-z]|^)shop|shopping).*)$``: "shop" at the start, or after "e" or a non-letter."""
    if "shop" not in campaign:
        return False
    if "shopping" in campaign:
        return True
    start = campaign.find("shop")
    while start >= 0:
        if start == 0 or campaign[start - 1] not in "abcdfghijklmnopqrstuvwxyz":
            return True
        start = campaign.find("shop", start + 1)
    return False
