"""What each sender's requests are checked with, per site. Several secrets at once, the newest first: rotation."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Literal

from attribution.errors import Misconfigured
from collector.webhooks.organizations import organization_id_of

HubspotVersion = Literal["v1", "v2", "v3"]
_STANDARD_PREFIX = "whsec_"
_MIN_STANDARD_BYTES = 24
"""Standard Webhooks, "Signature scheme": a signing secret has at least 24 bytes."""


def _filled(name: str, values: tuple[str, ...]) -> None:
    if not values or not all(values):
        raise Misconfigured(f"{name} is empty.", "Write at least one secret, and no empty one.")


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningSecrets:
    """Stripe (``whsec_…`` as it stands) and Shopify (the app's client secret). Raises ``Misconfigured``."""

    secrets: tuple[str, ...] = field(repr=False)

    def __post_init__(self) -> None:
        _filled("secrets", self.secrets)

    @property
    def keys(self) -> tuple[bytes, ...]:
        """HMAC keys."""
        return tuple(secret.encode() for secret in self.secrets)


@dataclass(frozen=True, slots=True, kw_only=True)
class StandardSecrets:
    """Standard Webhooks: ``whsec_`` and base64, the prefix may be missing. Raises ``Misconfigured``."""

    secrets: tuple[str, ...] = field(repr=False)
    keys: tuple[bytes, ...] = field(init=False, repr=False)
    """HMAC keys."""

    def __post_init__(self) -> None:
        _filled("secrets", self.secrets)
        object.__setattr__(self, "keys", tuple(_standard_key(secret) for secret in self.secrets))


def _standard_key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(_STANDARD_PREFIX).encode(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) < _MIN_STANDARD_BYTES:
        raise Misconfigured(
            "A secret of a standard webhook is no base64 of 24 bytes or more.",
            "Copy it whole, whsec_ included; public keys (whpk_) are not supported.",
        )
    return key


@dataclass(frozen=True, slots=True, kw_only=True)
class HubspotSecrets:
    """Client secrets of the app. Raises ``Misconfigured``."""

    client_secrets: tuple[str, ...] = field(repr=False)
    oldest_version: HubspotVersion = "v3"
    """The weakest signature that may stand alone; ``v1`` and ``v2`` have no stamp, and v1 no address either."""

    def __post_init__(self) -> None:
        _filled("client_secrets", self.client_secrets)
        if self.oldest_version not in ("v1", "v2", "v3"):
            raise Misconfigured(
                "oldest_version is no version of HubSpot's signatures.", "Write v1, v2 or v3."
            )

    @property
    def keys(self) -> tuple[bytes, ...]:
        """Secrets as bytes."""
        return tuple(secret.encode() for secret in self.client_secrets)


@dataclass(frozen=True, slots=True, kw_only=True)
class PipedriveSecrets:
    """HTTP Basic names and passwords (``http_auth_user``, ``http_auth_password``). Raises ``Misconfigured``."""

    logins: tuple[tuple[str, str], ...] = field(repr=False)

    def __post_init__(self) -> None:
        _filled("logins", tuple(part for login in self.logins for part in login))
        if any(":" in name for name, _ in self.logins):
            raise Misconfigured("A name of a login has a colon.", "RFC 7617 forbids it; choose another name.")


@dataclass(frozen=True, slots=True, kw_only=True)
class SalesforceSecrets:
    """Outbound messages are not signed: organization, and whatever else is given. Raises ``Misconfigured``."""

    organization_ids: tuple[str, ...] = ()
    """15 or 18 characters each; none refuses outbound messages. No secret: Salesforce shows it in many places."""
    url_tokens: tuple[str, ...] = field(default=(), repr=False)
    """If any, the address must end in ``?token=<one of them>`` (or hold it among its parameters)."""
    networks: tuple[str, ...] = ()
    """If any, the sender's address must be in one of them, such as ``13.108.0.0/14``."""
    data360_keys: tuple[str, ...] = field(default=(), repr=False)
    """Secret keys of Data 360 webhook targets; none refuses signed messages."""
    organizations: tuple[str, ...] = field(init=False, repr=False)
    """``organization_ids``, all of 18 characters."""
    allowed: tuple[IPv4Network | IPv6Network, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.organization_ids and not self.data360_keys:
            raise Misconfigured(
                "Salesforce has neither organization_ids nor data360_keys.", "Write at least one of the two."
            )
        for name in ("url_tokens", "data360_keys"):
            if values := getattr(self, name):
                _filled(name, values)
        organizations = tuple(organization_id_of(text) for text in self.organization_ids)
        if None in organizations:
            raise Misconfigured(
                "An organization id of Salesforce is wrong.",
                "Copy the 15 characters under Setup, Company Information (00D…), or the 18 of the API.",
            )
        try:
            allowed = tuple(ip_network(network) for network in self.networks)
        except ValueError as error:
            raise Misconfigured(
                f"A network of Salesforce is none: {error}.", "Write networks such as 13.108.0.0/14."
            ) from error
        object.__setattr__(self, "organizations", organizations)
        object.__setattr__(self, "allowed", allowed)


WebhookSecrets = HubspotSecrets | SalesforceSecrets | PipedriveSecrets | SigningSecrets | StandardSecrets
