"""A webhook's request into a delivery for the deals stage: whose it is, whether it is theirs, what stays of it."""

from __future__ import annotations

from urllib.parse import parse_qs

from attribution.deals.delivery import Delivery
from attribution.errors import Rejected
from collector.reasons import Refusal
from collector.requests import Request
from collector.webhooks.deliveries import DELIVERIES, WebhookAnswer
from collector.webhooks.reasons import WebhookRefusal, refusal
from collector.webhooks.request import WebhookHeaders, WebhookRequest
from collector.webhooks.secrets import WebhookSecrets
from collector.webhooks.settings import Webhooks
from collector.webhooks.verified import Verified, WebhookScheme, WebhookSender
from collector.webhooks.verify import verify

PATH = "/webhooks/{sender}"
_MAX_PARAMETERS = 32
_KEPT_HEADERS: dict[WebhookSender, tuple[str, ...]] = {
    WebhookSender.shopify: ("x-shopify-topic", "x-shopify-triggered-at"),
    WebhookSender.standard: ("webhook-id",),
}
"""What the adapters (``attribution.deals.adapters``) read beside the body."""


def receive(
    sender: WebhookSender, request: Request, body: bytes, peer: str, settings: Webhooks | None, now_ms: int
) -> Delivery:
    """The delivery, if the request is from ``sender``; ``peer`` is the address that it comes from.

    Raises ``Rejected`` with a ``WebhookRefusal`` or, where the site is not named as it must be, ``missing_field``.
    """
    settings = settings or Webhooks()
    site = _site_of(sender, request.query, settings)
    headers = WebhookHeaders(
        (name.decode("latin-1"), value.decode("latin-1")) for name, value in request.lines
    )
    given = WebhookRequest(
        method=request.method,
        url=settings.public_url + request.target.decode("latin-1"),
        headers=headers,
        body=body,
        peer=peer,
    )
    verified = _verified(sender, given, settings.secrets[site, sender], now_ms)
    return Delivery(
        site=site,
        source=sender.value,
        scheme=verified.scheme.value,
        keys=[list(event.keys) for event in verified.events],
        received_at=now_ms,
        headers={
            name: values[0] for name in _KEPT_HEADERS.get(sender, ()) if (values := headers.get_all(name))
        },
        body=body,
        is_read=verified.is_read,
    )


def answer_to(delivery: Delivery) -> WebhookAnswer:
    """What tells the sender of ``delivery`` that it is durable."""
    return DELIVERIES[WebhookScheme(delivery.scheme)].answer


def _site_of(sender: WebhookSender, query: str, settings: Webhooks) -> str:
    """The site that the address names, else the only one for which ``sender`` may send."""
    try:
        named = parse_qs(query, max_num_fields=_MAX_PARAMETERS).get("site", [])
    except ValueError:  # more parameters than anybody needs
        named = ["", ""]
    known = settings.sites_of(sender)
    if len(named) > 1 or (not named and len(known) > 1):
        raise Rejected(Refusal.missing_field, "End the address with one site=, the write key.", "site")
    site = named[0] if named else "".join(known)
    if site not in known:
        raise refusal(
            WebhookRefusal.not_configured,
            f"The settings hold nothing of {sender.value} for this site.",
            "site",
        )
    return site


def _verified(
    sender: WebhookSender, request: WebhookRequest, secrets: tuple[WebhookSecrets, ...], now_ms: int
) -> Verified:
    """By the first that fits; if none does, why not by the first."""
    failure: Rejected | None = None
    for each in secrets:
        try:
            return verify(sender, request, each, now_ms)
        except Rejected as error:
            failure = failure or error
    if failure is None:
        raise refusal(WebhookRefusal.not_configured, "There is no secret.", "site")
    raise failure
