"""Consent, as it was given with a hit."""

from __future__ import annotations

ANALYTICS = "analytics"


def denies_analytics(consent: str, *, gpc: bool, dnt: bool) -> bool:
    """Global Privacy Control, Do Not Track, or granted purposes (comma separated) without ``analytics``.

    No purposes at all say nothing: a sender without a consent banner.
    """
    return gpc or dnt or (consent != "" and ANALYTICS not in consent.split(","))
