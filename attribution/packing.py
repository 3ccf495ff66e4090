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
    "first_paid_touch", "last_paid_touch", "j_shaped", "inverse_j_shaped", "w_shaped", "full_path",
    "(no consent)", "(no person)", "(no touch in window)", "(no touch of the model)",
)
# fmt: on
_NUMBERS: dict[str, int] = {word: number for number, word in enumerate(_WORDS)}

_TAGGED = 1
# Bits 2, 4, ... 128 of the mask: campaign, term, content, ad_network, click_id_param, click_id, referrer_host follow.
_CLICK_ID = 64
_EVERY_FIELD = 255


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


def pack_acquisition(acquisition: Acquisition) -> Packed:
    """The stored form of ``acquisition``."""
    # With its click id nearly every paid arrival is one of a kind: a cache would never find it again.
    return _pack(acquisition) if acquisition.click_id else _cached_pack(acquisition)


def unpack_acquisition(packed: Packed) -> Acquisition:
    """Inverse of ``pack_acquisition``. Raises ``ValueError`` when ``packed`` is no stored acquisition."""
    mask = packed[0] if packed else -1
    if not isinstance(mask, int) or not 0 <= mask <= _EVERY_FIELD:
        raise ValueError("the mask of an acquisition is none")
    return _unpack(packed, mask) if mask & _CLICK_ID else _cached_unpack(packed, mask)


def channel_of(packed: Packed) -> str:
    """The channel of a stored acquisition. Raises ``ValueError`` when it is none."""
    if len(packed) < 2:
        raise ValueError("a stored acquisition has a channel")
    return unpack_word(packed[1])


def _pack(acquisition: Acquisition) -> Packed:
    number_of = _NUMBERS.get
    channel, source, medium = acquisition.channel, acquisition.source, acquisition.medium
    mask = _TAGGED if acquisition.is_tagged_or_paid else 0
    packed = [mask, number_of(channel, channel), number_of(source, source), number_of(medium, medium)]
    if text := acquisition.campaign:
        mask |= 2
        packed.append(number_of(text, text))
    if text := acquisition.term:
        mask |= 4
        packed.append(number_of(text, text))
    if text := acquisition.content:
        mask |= 8
        packed.append(number_of(text, text))
    if text := acquisition.ad_network:
        mask |= 16
        packed.append(number_of(text, text))
    if text := acquisition.click_id_param:
        mask |= 32
        packed.append(number_of(text, text))
    if text := acquisition.click_id:
        mask |= _CLICK_ID
        packed.append(number_of(text, text))
    if text := acquisition.referrer_host:
        mask |= 128
        packed.append(number_of(text, text))
    packed[0] = mask
    return tuple(packed)


def _unpack(packed: Packed, mask: int) -> Acquisition:
    words = [word if isinstance(word, str) else unpack_word(word) for word in packed[1:]]
    if len(words) != 3 + (mask >> 1).bit_count():
        raise ValueError("the mask of an acquisition does not fit its fields")
    rest = iter(words[3:])
    return Acquisition(
        words[0],
        words[1],
        words[2],
        next(rest) if mask & 2 else "",
        next(rest) if mask & 4 else "",
        next(rest) if mask & 8 else "",
        next(rest) if mask & 16 else "",
        next(rest) if mask & 32 else "",
        next(rest) if mask & _CLICK_ID else "",
        next(rest) if mask & 128 else "",
        mask & _TAGGED == _TAGGED,
    )


_cached_pack = lru_cache(maxsize=8192)(_pack)
_cached_unpack = lru_cache(maxsize=8192)(_unpack)
