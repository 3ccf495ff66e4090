"""Small stored forms: an ``Acquisition`` as a short tuple in which frequent words are numbers.

Used inside the MessagePack of timelines and statements. ``_WORDS`` is part of those formats: append only.
"""

from __future__ import annotations

from functools import lru_cache

from attribution.acquisition import Acquisition

Packed = tuple[int | str, ...]
"""(which optional fields follow as bits, channel, source, medium, the optional fields that are not empty)."""

# fmt: off
_WORDS = (
    "", "Direct", "(direct)", "(none)", "(not set)", "(unattributed)",
    "Cross-network", "Paid Shopping", "Paid Search", "Paid Social", "Paid Video", "Display", "Paid Other",
    "Organic Shopping", "Organic Social", "Organic Video", "Organic Search", "AI Assistant", "Referral",
    "Email", "Affiliates", "Audio", "SMS", "Mobile Push Notifications", "Unassigned",
    "cpc", "ppc", "cpm", "cpv", "paid", "paid_social", "paid-social", "display", "banner", "organic",
    "referral", "email", "affiliate", "social", "video", "audio", "sms", "push", "retargeting", "influencer",
    "ai-assistant", "newsletter", "programmatic", "partner", "link",
    "purchase", "lead", "sign_up",
    "first_touch", "last_touch", "last_non_direct_touch", "linear", "position_based", "time_decay",
    "google_ads", "microsoft_ads", "tiktok_ads", "linkedin_ads", "x_ads", "reddit_ads", "openai_ads",
    "snapchat_ads", "quora_ads", "yandex_ads", "google_display", "meta_ads", "pinterest_ads", "impact", "cj",
    "awin", "rakuten", "shareasale",
    "google", "bing", "yahoo", "duckduckgo", "baidu", "yandex", "ecosia", "brave", "facebook", "instagram",
    "meta", "linkedin", "tiktok", "x", "reddit", "pinterest", "youtube", "snapchat", "quora", "chatgpt",
    "mailchimp", "klaviyo", "hubspot", "marketo", "taboola", "outbrain",
    "www.google.com", "www.bing.com", "duckduckgo.com", "search.yahoo.com", "l.facebook.com",
    "lm.facebook.com", "m.facebook.com", "www.facebook.com", "facebook.com", "l.instagram.com",
    "instagram.com", "www.linkedin.com", "linkedin.com", "t.co", "www.reddit.com", "reddit.com",
    "www.youtube.com", "youtube.com", "www.tiktok.com", "chatgpt.com", "perplexity.ai", "mail.google.com",
)
# fmt: on
_NUMBERS: dict[str, int] = {word: number for number, word in enumerate(_WORDS)}

_TAGGED = 1
_OPTIONAL = ("campaign", "term", "content", "ad_network", "click_id_param", "click_id", "referrer_host")


def pack_word(word: str) -> int | str:
    """The number of a frequent word, any other word as it is."""
    return _NUMBERS.get(word, word)


def unpack_word(packed: int | str) -> str:
    """Inverse of ``pack_word``. Raises ``ValueError`` for a number that names no word."""
    if isinstance(packed, str):
        return packed
    if 0 <= packed < len(_WORDS):
        return _WORDS[packed]
    raise ValueError(f"no word has the number {packed}")


@lru_cache(maxsize=8192)
def pack_acquisition(acquisition: Acquisition) -> Packed:
    """The stored form of ``acquisition``."""
    mask = _TAGGED if acquisition.is_tagged_or_paid else 0
    fields = [acquisition.channel, acquisition.source, acquisition.medium]
    bit = _TAGGED
    for name in _OPTIONAL:
        bit <<= 1
        text: str = getattr(acquisition, name)
        if text:
            mask |= bit
            fields.append(text)
    return (mask, *map(pack_word, fields))


@lru_cache(maxsize=8192)
def unpack_acquisition(packed: Packed) -> Acquisition:
    """Inverse of ``pack_acquisition``. Raises ``ValueError`` when ``packed`` is no stored acquisition."""
    if len(packed) < 4 or not isinstance(packed[0], int):
        raise ValueError("too short for an acquisition")
    mask = packed[0]
    words = list(map(unpack_word, packed[1:]))
    if mask >> (len(_OPTIONAL) + 1) or len(words) != 3 + (mask >> 1).bit_count():
        raise ValueError("the mask of an acquisition does not fit its fields")
    rest = iter(words[3:])
    optional = [next(rest) if mask >> (1 + position) & 1 else "" for position in range(len(_OPTIONAL))]
    campaign, term, content, ad_network, click_id_param, click_id, referrer_host = optional
    return Acquisition(
        words[0],
        words[1],
        words[2],
        campaign,
        term,
        content,
        ad_network,
        click_id_param,
        click_id,
        referrer_host,
        mask & _TAGGED == _TAGGED,
    )
