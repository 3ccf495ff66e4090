"""GA4's channel rules in their order, and Google's own labels on real sessions."""

import csv
import gzip
from collections import Counter
from pathlib import Path

import pytest

from attribution.acquisition import acquire
from attribution.channels import CHANNELS, classify_channel
from attribution.sources import SourceKind, known_host, known_source

SESSIONS = Path(__file__).parents[2] / "../shared/data/ga360/sessions.csv.gz"
OLDER_NAMES = {"Organic Social": "Social", "Organic Video": "Social", "AI Assistant": "Referral"}
"""GA360 (2017) knew fewer channels."""


@pytest.mark.parametrize(
    ("source", "medium", "campaign", "channel"),
    [
        ("", "", "", "Direct"),
        ("(direct)", "(none)", "", "Direct"),
        ("(direct)", "(not set)", "spring", "Direct"),
        ("google", "cpc", "Cross-Network spring", "Cross-network"),
        ("amazon", "cpc", "", "Paid Shopping"),
        ("google", "cpc", "e-shop de", "Paid Shopping"),
        ("google", "cpc", "eshop", "Paid Shopping"),
        ("google", "cpc", "Shopping_DE", "Paid Shopping"),
        ("google", "cpc", "workshop", "Paid Search"),
        ("google", "cpc", "workshop shop", "Paid Shopping"),
        ("google", "cpc", "", "Paid Search"),
        ("google", "cpm", "", "Paid Search"),
        ("bing", "ppc", "", "Paid Search"),
        ("google-ads", "retargeting", "", "Paid Search"),
        ("linkedin", "cpc", "", "Paid Social"),
        ("fb", "paid_social", "", "Paid Social"),
        ("meta", "paid", "", "Paid Social"),
        ("tiktok", "paidsocial", "", "Paid Social"),
        ("youtube.com", "cpv-cpc", "", "Paid Video"),
        ("dfa", "cpm", "", "Display"),
        ("dv360", "display", "", "Display"),
        ("google", "display", "", "Display"),
        ("newsletter", "interstitial", "", "Display"),
        ("partner", "cpc", "", "Paid Other"),
        ("chatgpt", "cpc", "", "Paid Other"),
        ("etsy.com", "referral", "", "Organic Shopping"),
        ("blog", "post", "shop the look", "Organic Shopping"),
        ("facebook.com", "referral", "", "Organic Social"),
        ("blog", "social", "", "Organic Social"),
        ("youtube.com", "referral", "", "Organic Video"),
        ("acme", "video-ad", "", "Organic Video"),
        ("google", "organic", "", "Organic Search"),
        ("unknown-engine", "organic", "", "Organic Search"),
        ("bing", "(not set)", "", "Organic Search"),
        ("www.google.co.in", "organic", "", "Organic Search"),
        ("chatgpt.com", "(not set)", "", "AI Assistant"),
        ("perplexity.ai", "referral", "", "AI Assistant"),
        ("new-assistant", "ai-assistant", "", "AI Assistant"),
        ("blog.example", "referral", "", "Referral"),
        ("acme", "link", "", "Referral"),
        ("acme", "app", "", "Referral"),
        ("email", "referral", "", "Referral"),
        ("newsletter", "email", "", "Email"),
        ("e-mail", "newsletter", "", "Email"),
        ("spring-e_mail", "", "", "Email"),
        ("awin", "affiliate", "", "Affiliates"),
        ("spotify", "audio", "", "Audio"),
        ("sms", "blast", "", "SMS"),
        ("acme", "sms", "", "SMS"),
        ("acme", "web-push", "", "Mobile Push Notifications"),
        ("acme", "mobile", "", "Mobile Push Notifications"),
        ("acme", "notification", "", "Mobile Push Notifications"),
        ("firebase", "x", "", "Mobile Push Notifications"),
        ("acme", "influencer", "", "Unassigned"),
        ("(not set)", "(not set)", "spring", "Unassigned"),
        (" GOOGLE ", " CPC ", "", "Paid Search"),
        ("", "cpc", "", "Paid Other"),
    ],
)
def test_the_first_rule_of_ga4_that_matches_names_the_channel(
    source: str, medium: str, campaign: str, channel: str
) -> None:
    assert classify_channel(source, medium, campaign) == channel


@pytest.mark.parametrize("medium", ["push", "partner", "podcast", "post", "print"])
def test_a_medium_is_not_paid_because_it_begins_with_p(medium: str) -> None:
    assert not classify_channel("google", medium).startswith("Paid")


@pytest.mark.parametrize(
    ("source", "medium", "channel"),
    [
        ("google", "(not set)", "Paid Search"),
        ("google", "organic", "Paid Search"),
        ("tiktok", "social", "Paid Social"),
        ("tiktok.com", "referral", "Paid Social"),
        ("newsletter", "email", "Email"),
        ("partner", "affiliate", "Affiliates"),
        ("", "", "Paid Other"),
    ],
)
def test_a_paid_click_id_overrules_a_missing_or_automatic_medium_only(
    source: str, medium: str, channel: str
) -> None:
    assert classify_channel(source, medium, ad_network="google_ads", is_paid_click=True) == channel


def test_a_display_click_is_display_whatever_the_medium() -> None:
    assert classify_channel("google", "cpc", ad_network="google_display", is_paid_click=True) == "Display"


@pytest.mark.parametrize(
    ("host", "kind"),
    [
        ("www.google.com", SourceKind.search),
        ("www.google.co.in", SourceKind.search),
        ("google.com.br", SourceKind.search),
        ("google.de", SourceKind.search),
        ("cse.google.co.ve", SourceKind.search),
        ("r.search.yahoo.com", SourceKind.search),
        ("uk.search.yahoo.com", SourceKind.search),
        ("mail.google.com", SourceKind.webmail),
        ("docs.google.com", SourceKind.plain),
        ("sites.google.com", SourceKind.plain),
        ("analytics.google.com", SourceKind.plain),
        ("adwords.google.com", SourceKind.plain),
        ("support.google.com", SourceKind.plain),
        ("productforums.google.com", SourceKind.plain),
        ("analytics.corp.google.com", SourceKind.plain),
        ("mall.googleplex.com", SourceKind.plain),
        ("finance.yahoo.com", SourceKind.plain),
        ("groups.google.com", SourceKind.social),
        ("l.facebook.com", SourceKind.social),
        ("lm.facebook.com", SourceKind.social),
        ("t.co", SourceKind.social),
        ("lnkd.in", SourceKind.social),
        ("out.reddit.com", SourceKind.social),
        ("away.vk.com", SourceKind.social),
        ("de.pinterest.com", SourceKind.social),
        ("pinterest.co.uk", SourceKind.social),
        ("m.youtube.com", SourceKind.video),
        ("youtu.be", SourceKind.video),
        ("walmart.com", SourceKind.shopping),
        ("www.amazon.co.jp", SourceKind.shopping),
        ("netflix.com", SourceKind.video),
        ("gemini.google.com", SourceKind.ai_assistant),
        ("copilot.microsoft.com", SourceKind.ai_assistant),
        ("www.perplexity.ai", SourceKind.ai_assistant),
        ("edgeservices.bing.com", SourceKind.ai_assistant),
        ("cn.bing.com", SourceKind.search),
        ("accounts.google.co.uk", SourceKind.ignored),
        ("checkout.stripe.com", SourceKind.ignored),
        ("stripe.com", SourceKind.plain),
        ("pay.amazon.com", SourceKind.ignored),
        ("google.com.evil.example", SourceKind.plain),
        ("notgoogle.com", SourceKind.plain),
        ("google.evil.com", SourceKind.plain),
        ("dropbox.com", SourceKind.plain),
        ("reddit.co", SourceKind.plain),
        ("", SourceKind.plain),
        ("com", SourceKind.plain),
    ],
)
def test_a_host_is_what_the_longest_listed_domain_says(host: str, kind: SourceKind) -> None:
    assert known_host(host).kind is kind


def test_bare_names_are_sources_too() -> None:
    assert known_source("google").kind is SourceKind.search
    assert known_source("ig").kind is SourceKind.social
    assert known_source("constructor").kind is SourceKind.plain


def _sessions() -> list[dict[str, str]]:
    if not SESSIONS.exists():
        pytest.skip("the real sessions (../shared/data/ga360) are not beside this repository")
    with gzip.open(SESSIONS, "rt", encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def test_google_agrees_on_every_session_whose_source_it_shows() -> None:
    shown = [row for row in _sessions() if row["source"] != "(direct)"]
    differing = []
    for row in shown:
        channel = classify_channel(row["source"], row["medium"], row["campaign"])
        assert channel in CHANNELS
        if OLDER_NAMES.get(channel, channel) != row["channel_grouping"]:
            differing.append((row["source"], row["medium"], channel, row["channel_grouping"]))
    assert differing == []
    assert len(shown) == 194


def test_referrers_alone_agree_with_google_as_far_as_they_can() -> None:
    """86 % is the possible best; 25 of the missing sessions were tagged, which the referrer cannot tell."""
    rows = _sessions()
    agreeing: Counter[bool] = Counter()
    for row in rows:
        acquisition = acquire(f"https://{row['landing_hostname']}/", row["entrance_referer"])
        channel = acquisition.channel if acquisition else "Direct"
        name = OLDER_NAMES.get(channel, channel)
        agreeing[name == row["channel_grouping"]] += 1
    print(f"agreement by referrer alone: {agreeing[True]} of {len(rows)} = {agreeing[True] / len(rows):.1%}")
    assert agreeing[True] / len(rows) >= 0.84
