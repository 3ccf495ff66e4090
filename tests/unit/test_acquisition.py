"""What an address and a referrer say about the way here."""

import pytest

from attribution.acquisition import CLICK_IDS, MAX_FIELD, Acquisition, acquire, redact_personal_ids

PAGE = "https://shop.example/landing"


def _named(acquisition: Acquisition | None) -> tuple[str, str, str]:
    assert acquisition is not None
    return acquisition.channel, acquisition.source, acquisition.medium


def test_tags_name_the_visit() -> None:
    url = PAGE + (
        "?utm_source=NewsLetter&utm_medium=Email&utm_campaign=Spring%20Sale&utm_term=Shoes&utm_content=Top+Banner"
    )
    assert acquire(url, "https://mail.google.com/") == Acquisition(
        channel="Email",
        source="newsletter",
        medium="email",
        campaign="Spring Sale",
        term="Shoes",
        content="Top Banner",
        referrer_host="mail.google.com",
        is_tagged_or_paid=True,
    )


def test_utm_id_stands_in_for_a_campaign_without_name() -> None:
    with_id = acquire(PAGE + "?utm_source=a&utm_medium=cpc&utm_id=42", "")
    assert with_id is not None
    assert with_id.campaign == "42"
    named = acquire(PAGE + "?utm_source=a&utm_medium=cpc&utm_id=42&utm_campaign=Named", "")
    assert named is not None
    assert named.campaign == "Named"


@pytest.mark.parametrize(
    ("query", "campaign"),
    [
        ("gclid=x&gad_campaignid=17391234567", "17391234567"),
        ("gad_source=1&gad_campaignid=17391234567", "17391234567"),  # Safari took the gclid out
        ("utm_source=google&utm_medium=cpc&gclid=x&gad_campaignid=17", "17"),
        ("utm_source=google&utm_medium=cpc&utm_campaign=brand&gclid=x&gad_campaignid=17", "brand"),
        ("utm_source=google&utm_medium=cpc&utm_id=42&gclid=x&gad_campaignid=17", "42"),
        ("utm_source=newsletter&utm_medium=email&gclid=x&gad_campaignid=17", ""),  # a copied link
        ("msclkid=x&gad_campaignid=", ""),
        ("srsltid=x&gad_campaignid={campaignid}", ""),
        ("dclid=x", ""),
    ],
)
def test_google_names_the_campaign_of_a_click_that_it_tags_itself(query: str, campaign: str) -> None:
    acquisition = acquire(f"{PAGE}?{query}", "")
    assert acquisition is not None
    assert acquisition.campaign == campaign


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("gclid=x", ("Paid Search", "google", "cpc")),
        ("GCLID=x", ("Paid Search", "google", "cpc")),
        ("gbraid=x", ("Paid Search", "google", "cpc")),
        ("wbraid=x", ("Paid Search", "google", "cpc")),
        ("msclkid=x", ("Paid Search", "bing", "cpc")),
        ("li_fat_id=x", ("Paid Social", "linkedin", "cpc")),
        ("ttclid=x", ("Paid Social", "tiktok", "cpc")),
        ("twclid=x", ("Paid Social", "x", "cpc")),
        ("rdt_cid=x", ("Paid Social", "reddit", "cpc")),
        ("ScCid=x", ("Paid Social", "snapchat", "cpc")),
        ("yclid=x", ("Paid Search", "yandex", "cpc")),
        ("oppref=x", ("Paid Other", "chatgpt", "cpc")),
        ("dclid=x", ("Display", "google", "display")),
        ("irclickid=x", ("Affiliates", "impact", "affiliate")),
        ("ranSiteID=x", ("Affiliates", "rakuten-advertising", "affiliate")),
        ("mc_cid=x", ("Email", "mailchimp", "email")),
        ("_kx=x", ("Email", "klaviyo", "email")),
        ("_hsenc=x", ("Email", "hubspot", "email")),
        ("mkt_tok=x", ("Email", "marketo", "email")),
        ("fbclid=x", ("Organic Social", "facebook.com", "referral")),
        ("srsltid=x", ("Organic Search", "google", "organic")),
        ("gad_source=1", ("Paid Search", "google", "cpc")),
        ("dub_id=x", ("Referral", "dub", "link")),
    ],
)
def test_a_click_id_alone_names_its_platform(query: str, named: tuple[str, str, str]) -> None:
    assert _named(acquire(f"{PAGE}?{query}", "")) == named


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("utm_source=google&gclid=x", ("Paid Search", "google", "cpc")),
        ("utm_source=google&utm_medium=organic&gclid=x", ("Paid Search", "google", "organic")),
        ("utm_campaign=spring&gclid=x", ("Paid Search", "google", "cpc")),
        ("utm_source=linkedin&utm_medium=social&li_fat_id=x", ("Paid Social", "linkedin", "social")),
        ("utm_source=news&utm_medium=email&gclid=x", ("Email", "news", "email")),
        ("utm_source=facebook&fbclid=x", ("Organic Social", "facebook", "(not set)")),
        ("utm_source=facebook&utm_medium=cpc&fbclid=x", ("Paid Social", "facebook", "cpc")),
        ("utm_source=dv360&utm_medium=cpc&dclid=x", ("Display", "dv360", "cpc")),
        ("utm_source=weekly&mc_cid=x", ("Email", "weekly", "email")),
        ("utm_source=blog&utm_medium=referral&awc=x", ("Referral", "blog", "referral")),
        ("utm_source=blogger-jane&awc=x", ("Affiliates", "blogger-jane", "affiliate")),
        ("utm_source=chatgpt.com", ("AI Assistant", "chatgpt.com", "ai-assistant")),
        ("utm_source=partner", ("Unassigned", "partner", "(not set)")),
        ("utm_campaign=spring", ("Unassigned", "(not set)", "(not set)")),
        ("utm_medium=email", ("Email", "(not set)", "email")),
    ],
)
def test_a_click_id_fills_in_what_the_tags_leave_open(query: str, named: tuple[str, str, str]) -> None:
    assert _named(acquire(f"{PAGE}?{query}", "")) == named


def test_tags_win_the_names_and_the_click_id_is_still_recorded() -> None:
    acquisition = acquire(PAGE + "?utm_source=google&utm_medium=cpc&gclid=AbC-1", "")
    assert acquisition is not None
    assert (acquisition.ad_network, acquisition.click_id_param, acquisition.click_id) == (
        "google_ads",
        "gclid",
        "AbC-1",
    )


def test_the_strongest_of_several_click_ids_counts() -> None:
    acquisition = acquire(PAGE + "?fbclid=f&gad_source=1&gclid=g&mc_cid=m", "")
    assert acquisition is not None
    assert (acquisition.click_id_param, acquisition.click_id) == ("gclid", "g")


def test_a_hint_of_a_paid_click_is_no_id() -> None:
    acquisition = acquire(PAGE + "?gad_source=1", "")
    assert acquisition is not None
    assert (acquisition.click_id_param, acquisition.click_id) == ("gad_source", "")
    assert acquisition.is_tagged_or_paid


def test_an_empty_click_id_is_none() -> None:
    assert acquire(PAGE + "?gclid=&fbclid=", "") is None


@pytest.mark.parametrize("param", ["mc_eid", "mkt_tok", "_kx", "_hsenc"])
def test_the_value_of_a_personal_click_id_is_never_kept(param: str) -> None:
    acquisition = acquire(f"{PAGE}?{param}=person-4711", "")
    assert acquisition is not None
    assert (acquisition.channel, acquisition.click_id_param, acquisition.click_id) == ("Email", param, "")
    assert "person-4711" not in repr(acquisition)


@pytest.mark.parametrize(
    ("url", "redacted"),
    [
        (PAGE + "?a=1&mc_eid=4711&b=2#x", PAGE + "?a=1&mc_eid=removed&b=2#x"),
        (PAGE + "?MKT_TOK=4711&amp;_kx=4712", PAGE + "?MKT_TOK=removed&amp;_kx=removed"),
        (PAGE + "?my_kx=1&gclid=2&mc_eid=", PAGE + "?my_kx=1&gclid=2&mc_eid="),
        (PAGE, PAGE),
        ("", ""),
    ],
)
def test_an_address_can_be_kept_without_the_person_in_it(url: str, redacted: str) -> None:
    assert redact_personal_ids(url) == redacted
    assert acquire(redacted, "") == acquire(url, "")


@pytest.mark.parametrize(
    ("query", "starts"),
    [
        ("utm_source=a", True),
        ("utm_medium=a", True),
        ("utm_campaign=a", True),
        ("gclid=a", True),
        ("dclid=a", True),
        ("awc=a", True),
        ("fbclid=a", False),
        ("srsltid=a", False),
        ("mc_cid=a", False),
    ],
)
def test_only_tags_and_paid_clicks_start_a_session(query: str, starts: bool) -> None:
    acquisition = acquire(f"{PAGE}?{query}", "")
    assert acquisition is not None
    assert acquisition.is_tagged_or_paid is starts


def test_terms_alone_say_nothing() -> None:
    assert acquire(PAGE + "?utm_term=shoes&utm_content=x&page=2", "") is None


def test_blank_tags_say_nothing() -> None:
    assert acquire(PAGE + "?utm_source=%20&utm_medium=%00&utm_campaign=", "") is None


def test_an_explicit_direct_says_nothing() -> None:
    url = PAGE + "?utm_source=(direct)&utm_medium=(none)&utm_campaign=(not+set)"
    assert acquire(url, "") is None
    assert _named(acquire(url, "https://www.google.com/")) == ("Organic Search", "google", "organic")
    assert _named(acquire(url + "&gclid=x", "")) == ("Paid Search", "google", "cpc")


@pytest.mark.parametrize(
    ("referrer", "named"),
    [
        ("https://www.google.com/", ("Organic Search", "google", "organic")),
        ("https://www.google.co.in/search?q=x", ("Organic Search", "google", "organic")),
        ("https://www.google.de/url?sa=t", ("Organic Search", "google", "organic")),
        ("https://www.google.com", ("Organic Search", "google", "organic")),
        ("https://www.google.com/permissions/logo.html", ("Referral", "google.com", "referral")),
        ("https://www.google.com/aclk?sa=l", ("Paid Search", "google", "cpc")),
        ("https://www.bing.com/search?q=x", ("Organic Search", "bing", "organic")),
        ("https://r.search.yahoo.com/_ylt=x", ("Organic Search", "yahoo", "organic")),
        ("https://duckduckgo.com/", ("Organic Search", "duckduckgo", "organic")),
        ("https://docs.google.com/document/1", ("Referral", "docs.google.com", "referral")),
        ("https://mail.google.com/mail/u/0/", ("Referral", "mail.google.com", "referral")),
        ("https://groups.google.com/a/b", ("Organic Social", "groups.google.com", "referral")),
        ("https://l.facebook.com/l.php?u=x", ("Organic Social", "l.facebook.com", "referral")),
        ("https://t.co/abc", ("Organic Social", "t.co", "referral")),
        ("https://lnkd.in/abc", ("Organic Social", "lnkd.in", "referral")),
        ("https://www.youtube.com/watch?v=1", ("Organic Video", "youtube.com", "referral")),
        ("https://www.etsy.com/shop/1", ("Organic Shopping", "etsy.com", "referral")),
        ("https://chatgpt.com/", ("AI Assistant", "chatgpt.com", "ai-assistant")),
        ("https://www.perplexity.ai/search/1", ("AI Assistant", "perplexity.ai", "ai-assistant")),
        ("https://gemini.google.com/", ("AI Assistant", "gemini.google.com", "ai-assistant")),
        ("https://copilot.microsoft.com/", ("AI Assistant", "copilot.microsoft.com", "ai-assistant")),
        ("https://claude.ai/", ("AI Assistant", "claude.ai", "ai-assistant")),
        ("https://googleads.g.doubleclick.net/pagead/ads?x", ("Display", "google", "display")),
        ("https://www.blog.example/post", ("Referral", "blog.example", "referral")),
        ("android-app://com.google.android.gm/", ("Referral", "mail.google.com", "referral")),
        (
            "android-app://com.google.android.googlequicksearchbox/https/www.google.com",
            ("Organic Search", "google", "organic"),
        ),
        ("android-app://com.linkedin.android/", ("Organic Social", "linkedin.com", "referral")),
        ("android-app://com.openai.chatgpt", ("AI Assistant", "chatgpt.com", "ai-assistant")),
        ("android-app://org.example.unknown", ("Referral", "org.example.unknown", "referral")),
    ],
)
def test_a_referrer_is_named_as_ga4_names_it(referrer: str, named: tuple[str, str, str]) -> None:
    acquisition = acquire(PAGE, referrer)
    assert _named(acquisition) == named
    assert acquisition is not None
    assert not acquisition.is_tagged_or_paid


@pytest.mark.parametrize(
    "referrer",
    [
        "",
        "https://shop.example/cart",
        "https://www.shop.example/",
        "https://blog.shop.example/",
        "https://www.paypal.com/checkoutnow",
        "https://checkout.stripe.com/c/pay",
        "https://pay.klarna.com/eu",
        "https://accounts.google.com/o/oauth2",
        "https://appleid.apple.com/auth",
        "https://tenant.eu.auth0.com/login",
        "about:blank",
        "javascript:alert(1)",
        "file:///home/x",
        "chrome-extension://abcdef/page.html",
        "not an address",
        "https://<script>/",
    ],
)
def test_the_own_site_payment_and_login_bring_nobody(referrer: str) -> None:
    assert acquire(PAGE, referrer) is None


def test_tags_count_even_on_the_way_back_from_a_payment_page() -> None:
    assert _named(acquire(PAGE + "?utm_source=a&utm_medium=cpc", "https://paypal.com/")) == (
        "Paid Other",
        "a",
        "cpc",
    )


def test_an_unpaid_click_id_leaves_the_naming_to_the_referrer() -> None:
    acquisition = acquire(PAGE + "?fbclid=abc", "https://l.instagram.com/")
    assert _named(acquisition) == ("Organic Social", "l.instagram.com", "referral")
    assert acquisition is not None
    assert acquisition.click_id == "abc"


def test_two_clicks_of_one_advert_are_two_arrivals() -> None:
    first, second = acquire(PAGE + "?gclid=1", ""), acquire(PAGE + "?gclid=2", "")
    assert first is not None
    assert second is not None
    assert first.key != second.key


def test_long_tags_are_cut() -> None:
    acquisition = acquire(PAGE + f"?utm_source={'s' * 999}&gclid={'g' * 999}", "")
    assert acquisition is not None
    assert len(acquisition.source) == len(acquisition.click_id) == MAX_FIELD
    growing = acquire(PAGE + f"?utm_source={'İ' * 999}", "")  # two characters each in lower case
    assert growing is not None
    assert len(growing.source) == MAX_FIELD


def test_markup_in_tags_is_text_like_any_other() -> None:
    acquisition = acquire(PAGE + "?utm_source=%3Cscript%3Ealert(1)%3C/script%3E&utm_medium=%00cpc", "")
    assert _named(acquisition) == ("Paid Other", "<script>alert(1)</script>", "cpc")


def test_the_table_of_click_ids_is_sound() -> None:
    assert all(param == param.lower() for param in CLICK_IDS)
    assert {rule.kind for rule in CLICK_IDS.values()} == {
        "paid",
        "display",
        "affiliate",
        "email",
        "hint",
        "neutral",
    }
    assert not CLICK_IDS["fbclid"].is_ad_click
    assert not CLICK_IDS["fbclid"].is_paid


def test_our_own_parameter_names_the_click_of_a_tracker_and_proves_nothing() -> None:
    """A known click id that is proof goes before it, one that Meta adds to all links does not."""
    tags = "?utm_source=taboola&utm_medium=cpc"

    def click(query: str, referrer: str = "") -> tuple[str, str, str, str]:
        way = acquire(PAGE + query, referrer)
        assert way is not None
        return way.source, way.ad_network, way.click_id_param, way.click_id

    assert click(f"{tags}&hw_click_id=T1") == ("taboola", "", "hw_click_id", "T1")
    assert click(f"{tags}&hw_click_id=T1&gclid=G") == ("taboola", "google_ads", "gclid", "G")
    assert click("?fbclid=F&hw_click_id=T1") == ("facebook.com", "meta_ads", "hw_click_id", "T1")
    assert click("?hw_click_id=T1") == ("(not set)", "", "hw_click_id", "T1")
    assert click("?hw_click_id=T1", "https://blog.example/")[0] == "blog.example"
    untagged = acquire(PAGE + "?hw_click_id=T1", "")
    assert untagged is not None
    assert not untagged.is_tagged_or_paid
    assert acquire(PAGE + "?hw_click_id=", "") is None
