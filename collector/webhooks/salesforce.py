"""Salesforce: outbound messages (SOAP, not signed) and Data 360 webhooks (``x-signature``).

Sources: developer.salesforce.com, "Considerations for Security" of outbound messages (organization id, address
ranges) and "Webhook Data Action Targets in Data 360" (HMAC-SHA256 of the payload). An organization's id is no
secret: with it alone anybody who knows it can send deals. So the settings take a token in the address as well,
which TLS keeps from others, and the networks that messages may come from.
"""

from __future__ import annotations

import hmac
from ipaddress import IPv6Address, ip_address
from urllib.parse import parse_qs, urlsplit

from collector.webhooks.keys import body_key, key_of
from collector.webhooks.organizations import organization_id_of
from collector.webhooks.reasons import WebhookRefusal, refusal
from collector.webhooks.request import WebhookRequest
from collector.webhooks.secrets import SalesforceSecrets
from collector.webhooks.signing import hmac_base64, index_of_match, is_base64, match_or_refuse
from collector.webhooks.soap import parse_outbound_message
from collector.webhooks.verified import Verified, WebhookEvent, WebhookScheme, WebhookSender

HEADER = "x-signature"
_PARAMETER = "token"
_MAX_PARAMETERS = 32
_REMEDY = "The signature belongs to no secret key of the target, or the body was changed."


def verify_salesforce(request: WebhookRequest, secrets: SalesforceSecrets) -> Verified:
    """Raises ``Rejected``. Neither kind has a stamp: against replay only the remembered keys help."""
    signature = request.headers.get(HEADER)
    if signature is not None:
        return _verify_data360(request, secrets, signature)
    if not secrets.organizations:
        raise refusal(WebhookRefusal.missing_signature, "Data 360 sends x-signature.", HEADER)
    return _verify_soap(request, secrets)


def _verify_data360(request: WebhookRequest, secrets: SalesforceSecrets, signature: str) -> Verified:
    if not secrets.data360_keys:
        raise refusal(WebhookRefusal.not_configured, "The settings have no data360_keys.", HEADER)
    if not is_base64(signature):
        raise refusal(
            WebhookRefusal.malformed_signature, "Send base64 of 32 bytes, as Data 360 does.", HEADER
        )
    expected = [hmac_base64(key.encode(), request.body) for key in secrets.data360_keys]
    index = match_or_refuse(expected, [signature], HEADER, _REMEDY)
    event = WebhookEvent(0, (body_key("salesforce", request.body),))
    return Verified(WebhookSender.salesforce, WebhookScheme.salesforce_data360, (event,), index)


def _verify_soap(request: WebhookRequest, secrets: SalesforceSecrets) -> Verified:
    """What costs least comes first, and XML is read only of those who passed the rest."""
    if secrets.allowed and not _is_allowed(request.peer, secrets):
        raise refusal(
            WebhookRefusal.unknown_address, "The sender's address is in none of the allowed networks.", "peer"
        )
    index = _token_index(request.url, secrets) if secrets.url_tokens else 0
    message = parse_outbound_message(request.body)
    sent = (organization_id_of(message.organization_id) or "").encode()
    # No early way out: which of the organizations it is must not be told by the time it takes.
    known = [hmac.compare_digest(right.encode(), sent) for right in secrets.organizations]
    if not any(known):
        raise refusal(
            WebhookRefusal.unknown_organization, "The message is of another organization.", "OrganizationId"
        )
    events = tuple(
        WebhookEvent(position, (key_of("salesforce", sent.decode(), notification.notification_id),))
        for position, notification in enumerate(message.notifications)
    )
    return Verified(WebhookSender.salesforce, WebhookScheme.salesforce_soap, events, index)


def _is_allowed(peer: str, secrets: SalesforceSecrets) -> bool:
    try:
        address = ip_address(peer)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return any(address in network for network in secrets.allowed)


def _token_index(url: str, secrets: SalesforceSecrets) -> int:
    try:
        tokens = parse_qs(urlsplit(url).query, max_num_fields=_MAX_PARAMETERS).get(_PARAMETER, [])
    except ValueError:  # no address, or more parameters than anybody needs
        tokens = []
    if len(tokens) != 1:
        raise refusal(WebhookRefusal.missing_credentials, "The address must hold one token=… .", "url")
    index = index_of_match([token.encode() for token in secrets.url_tokens], tokens)
    if index is None:
        raise refusal(
            WebhookRefusal.bad_credentials, "The token in the address is not that of the site.", "url"
        )
    return index
