"""What the checks share: signatures compared in constant time, stamps in a window that is shut on both sides."""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Sequence

from collector.webhooks.reasons import WebhookRefusal, refusal

TOLERANCE_MS = 300_000
"""How far a stamp may lie from now, before and after: five minutes, as Stripe, HubSpot and Standard Webhooks do."""
MAX_SIGNATURES = 32
"""Signatures in one header; a rotation needs two."""
_HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)
_BASE64 = re.compile(r"[A-Za-z0-9+/]{43}=", re.ASCII)
_SECONDS = re.compile(r"[0-9]{1,11}", re.ASCII)
_MILLISECONDS = re.compile(r"[0-9]{1,14}", re.ASCII)


def hmac_hex(key: bytes, content: bytes) -> bytes:
    """HMAC-SHA256 as lower-case hex digits."""
    return hmac.digest(key, content, "sha256").hex().encode()


def hmac_base64(key: bytes, content: bytes) -> bytes:
    """HMAC-SHA256 as base64 with its padding."""
    return base64.b64encode(hmac.digest(key, content, "sha256"))


def is_hex(text: str) -> bool:
    """Whether ``text`` has the form of a SHA-256 in hex."""
    return _HEX.fullmatch(text) is not None


def is_base64(text: str) -> bool:
    """Whether ``text`` has the form of a SHA-256 in base64."""
    return _BASE64.fullmatch(text) is not None


def index_of_match(expected: Sequence[bytes], given: Sequence[str]) -> int | None:
    """Which of ``expected`` is among ``given``; None if none is.

    Texts are compared, not what they decode to, so that nothing but the one right spelling passes. All pairs
    are compared, whatever was found before.
    """
    found = None
    texts = [text.encode("utf-8", "surrogatepass") for text in given]
    for index, right in enumerate(expected):
        for text in texts:
            if hmac.compare_digest(right, text) and found is None:
                found = index
    return found


def match_or_refuse(expected: Sequence[bytes], given: Sequence[str], header: str, remedy: str) -> int:
    """The same; raises ``Rejected('bad_signature')`` if none is."""
    found = index_of_match(expected, given)
    if found is None:
        raise refusal(WebhookRefusal.bad_signature, remedy, header)
    return found


def parse_stamp(text: str | None, header: str, *, is_milliseconds: bool = False) -> int:
    """Epoch milliseconds of a stamp in seconds or milliseconds. Raises ``Rejected``: missing, malformed."""
    unit = "milliseconds" if is_milliseconds else "seconds"
    if text is None:
        raise refusal(WebhookRefusal.missing_stamp, f"Send the time of signing in epoch {unit}.", header)
    if not (_MILLISECONDS if is_milliseconds else _SECONDS).fullmatch(text):
        raise refusal(
            WebhookRefusal.malformed_stamp, f"The time of signing is no number of epoch {unit}.", header
        )
    return int(text) * (1 if is_milliseconds else 1000)


def check_window(signed_at: int, now_ms: int, tolerance_ms: int, header: str) -> None:
    """Raise ``Rejected`` if ``signed_at`` lies more than the tolerance before or after now (milliseconds).

    Called after the signature was found right: what is counted as stale was really signed then.
    """
    if now_ms - signed_at > tolerance_ms:
        raise refusal(
            WebhookRefusal.stale_stamp,
            "Signed too long ago: a repeat that the sender did not sign anew, or the clock here is ahead.",
            header,
        )
    if signed_at - now_ms > tolerance_ms:
        raise refusal(
            WebhookRefusal.future_stamp, "Signed in the future: check the clock here and there.", header
        )
