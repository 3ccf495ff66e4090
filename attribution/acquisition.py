"""How a visitor came: what a URL and a referrer say about source, medium, campaign and channel.

Evidence, strongest first: UTM tags name the visit; a click id fills in what they leave open and proves payment; the
referrer speaks when neither is there. Plain referrers are named as GA4 does: source = host without ``www.``, medium
``referral`` (``organic`` for search engines, with the engine's name as source; ``ai-assistant``), never the network's
name: ``l.facebook.com / referral``. Webmail is a referral too: links in mails want tags. The visitor's own site,
payment providers and login pages are no referrers.
"""

from __future__ import annotations

import re

import msgspec

from attribution.channels import classify_channel
from attribution.sources import SourceKind, known_host, known_source
from attribution.tables import read_rows
from attribution.urls import ParsedUrl, host_labels_match, is_same_site, parse_url

_AD_REFERRER_MEDIA = frozenset(("cpc", "display"))
"""Untagged arrivals have these media only by a referrer that is an ad server's (tables, ``_AD_CLICK_PATHS``)."""
MAX_FIELD = 256
"""Characters kept of each tag."""
NOT_SET = "(not set)"


class Acquisition(msgspec.Struct, frozen=True, array_like=True, gc=False, cache_hash=True):
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

    @property
    def is_click(self) -> bool:
        """Whether it proves that an advertisement or a tagged link was followed: UTM tags, a click id of any kind, or
        an ad server's address as referrer."""
        return self.is_tagged_or_paid or self.click_id_param != "" or self.medium in _AD_REFERRER_MEDIA


def with_click_id(acquisition: Acquisition, param: str, click_id: str) -> Acquisition:
    """``acquisition`` with another click id, found in the query parameter ``param``."""
    return Acquisition(
        acquisition.channel,
        acquisition.source,
        acquisition.medium,
        acquisition.campaign,
        acquisition.term,
        acquisition.content,
        acquisition.ad_network,
        param,
        click_id,
        acquisition.referrer_host,
        acquisition.is_tagged_or_paid,
    )


DIRECT = Acquisition("Direct", "(direct)", "(none)")


class ClickIdRule(msgspec.Struct, frozen=True):
    """One row of ``tables/click_ids.tsv``."""

    param: str
    kind: str
    ad_network: str
    source: str
    medium: str
    is_personal: bool
    """Points at a person: it is classified, its value is never kept."""

    @property
    def has_value(self) -> bool:
        """Whether its value is an id that may be kept."""
        return not self.is_personal and self.kind != "hint"

    @property
    def is_ad_click(self) -> bool:
        """Whether it proves a click on an advertisement, which decides the channel."""
        return self.kind in ("paid", "display", "hint")

    @property
    def is_paid(self) -> bool:
        """Whether it proves that the click costs money: an advertisement or a commission."""
        return self.is_ad_click or self.kind == "affiliate"


class _Referral(msgspec.Struct, frozen=True):
    source: str
    medium: str


CLICK_IDS: dict[str, ClickIdRule] = {
    param: ClickIdRule(param, kind, network, source, medium, personal == "1")
    for param, kind, network, source, medium, personal in read_rows("click_ids.tsv")
}
"""Known click-id parameters, strongest evidence first."""

OWN_CLICK_ID = "hw_click_id"
"""Parameter of ours that names the click of a network or tracker whose own parameter is not in the table."""
_RANKS = {param: rank for rank, param in enumerate(CLICK_IDS)}
_APPS = {app: _Referral(source, medium) for app, source, medium in read_rows("apps.tsv")}
_PERSONAL = re.compile(
    f"([?&](?:amp;)?(?:{'|'.join(rule.param for rule in CLICK_IDS.values() if rule.is_personal)})=)[^&#]+",
    re.IGNORECASE,
)
_TAGS = ("utm_source", "utm_medium", "utm_campaign", "utm_id", "utm_term", "utm_content")
_GOOGLE_ADS, _GOOGLE_CAMPAIGN = "google_ads", "gad_campaignid"
_NAMING_TAGS = frozenset(_TAGS) - {"utm_term", "utm_content"}
_UNSAID = frozenset(("(direct)", "(none)", NOT_SET))
_MEDIUM_OF_KIND = {
    SourceKind.search: "organic",
    SourceKind.ai_assistant: "ai-assistant",
}
# Redirects of paid results; seen as referrer when the advertiser's site answers with a redirect of its own.
_AD_CLICK_PATHS = ("/aclk", "/aclick")
# On Google's own host only these first segments are result pages; /permissions, /intl, /imgres (a picture's page)
# and the like are plain links, as in Google's own labels.
# Browsers mostly send no path at all.
_GOOGLE_RESULT_PATHS = frozenset(("", "search", "url", "webhp", "xhtml", "m", "cse", "custom", "amp"))


def acquire(
    url: ParsedUrl | str, referrer: str, ignored_referrers: tuple[str, ...] = ()
) -> Acquisition | None:
    """What the page's address and its referrer say about the way here; None if they say nothing (Direct).

    ``ignored_referrers``: hosts that bring nobody, and those below them, beside the built-in ones. Never raises,
    whatever the text. Source and medium are in lower case, because GA4 compares them so and one source must not be
    three; campaign, term and content keep their case, because they are joined with the platforms' own campaign names.
    """
    page = parse_url(url) if isinstance(url, str) else url
    origin = parse_url(referrer)
    referral = _find_referral(page.host, origin, ignored_referrers)
    query = page.query
    tags = _read_tags(query)
    rule = _find_click_id(query)
    if rule is None and not tags.keys() & _NAMING_TAGS:
        if referral is None:
            return None
        channel = classify_channel(referral.source, referral.medium)
        return Acquisition(channel, referral.source, referral.medium, referrer_host=origin.host)

    source, medium = _cap(tags.get("utm_source", "").lower()), _cap(tags.get("utm_medium", "").lower())
    campaign = tags.get("utm_campaign") or tags.get("utm_id", "")
    is_ad_click = rule is not None and rule.is_ad_click
    is_tagged = bool(source or medium or campaign)
    source, medium = _fill_gaps(source, medium, rule, referral)
    ad_network = rule.ad_network if rule else ""
    # Whoever fills ours in will be told of conversions by it; what Meta adds to every link is not named by anybody.
    clicked = CLICK_IDS[OWN_CLICK_ID] if rule and rule.kind == "neutral" and query.get(OWN_CLICK_ID) else rule
    if not campaign and rule is not None and rule.is_ad_click:
        campaign = _auto_tagged_campaign(query, rule.ad_network, source)
    return Acquisition(
        channel=classify_channel(source, medium, campaign, ad_network=ad_network, is_paid_click=is_ad_click),
        source=source,
        medium=medium,
        campaign=campaign,
        term=tags.get("utm_term", ""),
        content=tags.get("utm_content", ""),
        ad_network=ad_network,
        click_id_param=clicked.param if clicked else "",
        click_id=_cap(query[clicked.param]) if clicked and clicked.has_value else "",
        referrer_host=origin.host,
        is_tagged_or_paid=is_tagged or (rule is not None and rule.is_paid),
    )


def _read_tags(query: dict[str, str]) -> dict[str, str]:
    """The UTM tags that say something; GA4's words for "unknown" do not."""
    tags = {name: _cap(query[name]) for name in _TAGS if name in query}
    return {name: tag for name, tag in tags.items() if tag and tag.lower() not in _UNSAID}


def _auto_tagged_campaign(query: dict[str, str], ad_network: str, source: str) -> str:
    """The campaign id of a click that Google Ads tags itself, "" if it says none or the tags name another source.

    Safari takes ``gclid`` out of an address and leaves this one.
    """
    campaign_id = query.get(_GOOGLE_CAMPAIGN, "")
    is_said = (
        ad_network == _GOOGLE_ADS and source == "google" and campaign_id.isascii() and campaign_id.isdigit()
    )
    return _cap(campaign_id) if is_said else ""


def redact_personal_ids(url: str) -> str:
    """``url`` with ``removed`` in place of the values of personal click ids; ``acquire`` says the same of both."""
    return _PERSONAL.sub(r"\1removed", url) if "?" in url else url


def _find_click_id(query: dict[str, str]) -> ClickIdRule | None:
    """The strongest click id of ``query`` that has a value."""
    found = [param for param in query if param in CLICK_IDS and query[param]]
    if not found:
        return None
    return CLICK_IDS[found[0]] if len(found) == 1 else CLICK_IDS[min(found, key=_RANKS.__getitem__)]


def _fill_gaps(
    source: str, medium: str, rule: ClickIdRule | None, referral: _Referral | None
) -> tuple[str, str]:
    """Source and medium where the UTM tags are silent: from the click id if it is telling, else the referrer."""
    is_telling = rule is not None and rule.kind != "neutral"
    if rule is not None and (is_telling or referral is None):
        hint = _Referral(rule.source, rule.medium)
    else:
        hint = referral or _Referral(NOT_SET, NOT_SET)
    if not source:
        return hint.source, medium or hint.medium
    if medium:
        return source, medium
    if is_telling:
        return source, hint.medium
    # ChatGPT and others tag their links with utm_source alone.
    is_assistant = known_source(source).kind is SourceKind.ai_assistant
    return source, "ai-assistant" if is_assistant else NOT_SET


def _find_referral(page_host: str, origin: ParsedUrl, ignored: tuple[str, ...]) -> _Referral | None:
    """What a plain referrer stands for; None if it brings nobody."""
    host = origin.host
    if not host:
        return None
    if origin.scheme in ("android-app", "ios-app"):
        return _APPS.get(host) or _Referral(host[:MAX_FIELD], "referral")
    if origin.scheme not in ("https", "http", "") or is_same_site(page_host, host):
        return None
    if ignored and any(host_labels_match(host, domain) for domain in ignored):
        return None
    known = known_host(host)
    if known.kind is SourceKind.ignored:
        return None
    if known.kind is SourceKind.search:
        if origin.path.startswith(_AD_CLICK_PATHS):
            return _Referral(known.source, "cpc")
        if known.source == "google" and origin.path.split("/", 2)[1] not in _GOOGLE_RESULT_PATHS:
            return _Referral(host.removeprefix("www."), "referral")
    source = known.source or host.removeprefix("www.")
    return _Referral(source, known.medium or _MEDIUM_OF_KIND.get(known.kind, "referral"))


def _cap(text: str) -> str:
    return text.strip()[:MAX_FIELD].rstrip()
