"""Ids of Salesforce: 15 characters in which case matters, or 18 of which the last three repeat the case.

The rule is Salesforce's own for every record id: for each five characters a number whose bits say which of them
are capitals, written as one of ``A-Z0-5``.
"""

from __future__ import annotations

import re

_ID = re.compile(r"[0-9A-Za-z]{15}(?:[A-Z0-5]{3})?", re.ASCII)
_LONG = 18
_SHORT = 15
_DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
_ORGANIZATION = "00D"
"""The key prefix that every organization's id begins with."""


def record_id_of(text: str) -> str | None:
    """The id in 18 characters; None if ``text`` is no id or its last three contradict the others."""
    if not _ID.fullmatch(text):
        return None
    short = text[:_SHORT]
    suffix = "".join(
        _DIGITS[sum(1 << at for at, letter in enumerate(short[start : start + 5]) if "A" <= letter <= "Z")]
        for start in range(0, _SHORT, 5)
    )
    return short + suffix if len(text) < _LONG or text.endswith(suffix) else None


def organization_id_of(text: str) -> str | None:
    """The same for the id of an organization."""
    return record_id_of(text) if text.startswith(_ORGANIZATION) else None
