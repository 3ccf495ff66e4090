"""Why a webhook is refused: a closed list, each reason with its HTTP status."""

from __future__ import annotations

from enum import StrEnum

from attribution.errors import Rejected


class WebhookRefusal(StrEnum):
    """Reasons of the checks. A forged request and a wrong secret look the same, and are ``bad_signature``."""

    missing_signature = "missing_signature"
    """The header that carries the proof is not there."""
    malformed_signature = "malformed_signature"
    """It is there, but is no signature of this sender: cut short, of another encoding, without its version."""
    bad_signature = "bad_signature"
    """It is well-formed and belongs to none of the secrets, or the body, the stamp or the id were changed."""
    weak_signature = "weak_signature"
    """HubSpot: only an older version is there, and the settings do not allow it."""
    missing_stamp = "missing_stamp"
    malformed_stamp = "malformed_stamp"
    stale_stamp = "stale_stamp"
    """Signed longer ago than the tolerance: sent again by somebody, or our clock is ahead."""
    future_stamp = "future_stamp"
    """Signed later than now plus the tolerance: a clock is wrong."""
    missing_id = "missing_id"
    malformed_id = "malformed_id"
    missing_credentials = "missing_credentials"
    """No HTTP Basic name and password, or no token in the address."""
    bad_credentials = "bad_credentials"
    unknown_organization = "unknown_organization"
    """Salesforce: a message of another organization."""
    unknown_address = "unknown_address"
    """Salesforce: the message comes from outside the allowed networks."""
    duplicate_header = "duplicate_header"
    """A header that must stand once stands several times: two servers could read the request differently."""
    not_configured = "not_configured"
    """The settings hold nothing with which this kind of request could be checked."""
    malformed_body = "malformed_body"
    """Not the JSON that the sender sends, where the check cannot do without reading it."""
    malformed_xml = "malformed_xml"
    forbidden_xml = "forbidden_xml"
    """A DOCTYPE (and so entities) or a processing instruction: SOAP 1.1, section 3, allows neither."""
    xml_too_large = "xml_too_large"
    """More bytes, levels, elements or notifications than an outbound message has."""


_STATUS = {
    WebhookRefusal.duplicate_header: 400,
    WebhookRefusal.malformed_body: 400,
    WebhookRefusal.malformed_xml: 400,
    WebhookRefusal.forbidden_xml: 400,
    WebhookRefusal.xml_too_large: 413,
}


def status_of(reason: WebhookRefusal) -> int:
    """HTTP status: 401 whenever it is not shown who sends; 400 and 413 when the request cannot be read at all."""
    return _STATUS.get(reason, 401)


def refusal(reason: WebhookRefusal, message: str, field: str) -> Rejected:
    """``field`` is a header in lower case, ``body``, ``url``, ``peer`` or an element of XML.

    ``message`` never holds what was sent.
    """
    return Rejected(reason.value, message, field)
