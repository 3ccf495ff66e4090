"""Who may ask: read keys, kept as hashes and compared in constant time; and whose address is near enough."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from ipaddress import ip_address

from attribution.errors import Rejected

_MAX_HEADER = 1000


class ReadKeys:
    """The keys that may read."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._digests = tuple(_digest(key) for key in keys)

    def check(self, authorization: str | None) -> None:
        """Pass if the ``Authorization`` header holds one of the keys. Raises ``Rejected('unauthorized')``."""
        scheme, _, key = (authorization or "")[:_MAX_HEADER].partition(" ")
        given = _digest(key.strip())
        # No early exit: how long this takes does not tell which key comes close.
        matches = [hmac.compare_digest(given, digest) for digest in self._digests]
        if scheme.lower() != "bearer" or not any(matches):
            raise Rejected("unauthorized", "Send a read key: Authorization: Bearer <key>.", "Authorization")


def check_private(host: str | None, forwarded_for: str | None) -> None:
    """Pass if ``host`` is loopback or in a private network, and asks for itself. Raises ``Rejected('not_found')``.

    What operations read is for them (OWASP ASVS 5.0, 13.4.5). Behind a proxy every client has a private address.
    """
    try:
        is_private = ip_address((host or "").partition("%")[0]).is_private
    except ValueError:
        is_private = False
    if not is_private or forwarded_for is not None:
        raise Rejected("not_found", "There is nothing at this address. See /openapi.json.")


def _digest(key: str) -> bytes:
    # Keys are long and random, so a fast hash is enough; lone surrogates must not raise.
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
