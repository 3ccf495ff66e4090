"""What is known of a request that passed its check."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class WebhookSender(StrEnum):
    """Who sends; also the last part of the path ``/webhooks/<sender>``."""

    hubspot = "hubspot"
    salesforce = "salesforce"
    pipedrive = "pipedrive"
    stripe = "stripe"
    shopify = "shopify"
    standard = "standard"


class WebhookScheme(StrEnum):
    """The check that a request passed."""

    hubspot_v1 = "hubspot_v1"
    hubspot_v2 = "hubspot_v2"
    hubspot_v3 = "hubspot_v3"
    salesforce_soap = "salesforce_soap"
    salesforce_data360 = "salesforce_data360"
    pipedrive_basic = "pipedrive_basic"
    stripe_v1 = "stripe_v1"
    shopify_hmac = "shopify_hmac"
    standard_v1 = "standard_v1"


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """One of the things that a request tells."""

    position: int
    """Index within the request, from 0."""
    keys: tuple[str, ...]
    """Names that stay the same when the sender tries again; it is a repeat if any of them is remembered. They
    name the sender, not the site: keep them per site."""
    attempt: int = 0
    """Which try this is, from 0, as far as the sender says."""


@dataclass(frozen=True, slots=True)
class Verified:
    """The request is from whom it says."""

    sender: WebhookSender
    scheme: WebhookScheme
    events: tuple[WebhookEvent, ...]
    """In the order of the request; HubSpot and Salesforce send up to 100 at once. May be empty."""
    secret_index: int = 0
    """Which of the configured secrets it was, from 0: when the old one has not been seen for as long as the
    sender tries again, it can go."""
    signed_at: int | None = None
    """Epoch milliseconds of the signed stamp; None where the sender signs none."""
    is_read: bool = True
    """False: the body is not what the sender documents. It is theirs all the same: keep it as one event under
    the key of its bytes, for the dead letters."""
