"""Salesforce's outbound messages, read without trusting them: SOAP 1.1 into notifications.

expat of the standard library is enough, and no dependency is taken for it. SOAP 1.1 (section 3) forbids document
type declarations and processing instructions, so both are refused as soon as they begin: without a DOCTYPE there
are no entities but the five of XML, nothing to expand ("billion laughs") and nothing to fetch. The whole text is
given in one piece, so that expat before 2.6 does not read long tokens again and again (CVE-2023-52425). defusedxml
would refuse the same for ElementTree, and no limits of levels or elements.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from xml.parsers import expat

from attribution.errors import Rejected
from collector.limits import MAX_BODY, MAX_DEPTH
from collector.webhooks.reasons import WebhookRefusal, refusal

MAX_NOTIFICATIONS = 100
"""Of one message (developer.salesforce.com, "Understanding Notifications")."""
MAX_ELEMENTS = 30_000
"""A hundred records of three hundred fields each. Reading so many takes some 0.15 s of processor time."""
_SOAP = "http://schemas.xmlsoap.org/soap/envelope/"
_OUT = "http://soap.sforce.com/2005/09/outbound"
_XSI = "http://www.w3.org/2001/XMLSchema-instance"
_WAY = (
    f"{_SOAP} Envelope",
    f"{_SOAP} Body",
    f"{_OUT} notifications",
    f"{_OUT} Notification",
    f"{_OUT} sObject",
)
_NOTIFICATION_DEPTH = 4
_SOBJECT_DEPTH = 5
_NIL = f"{_XSI} nil"
_TYPE = f"{_XSI} type"


@dataclass(frozen=True, slots=True)
class SalesforceNotification:
    """One record as it stood when the message was sent."""

    notification_id: str
    object_type: str
    """``Opportunity``, ``Lead``, ``My_Object__c``; "" if the record was deleted meanwhile (it has no fields then)."""
    fields: Mapping[str, str | None]
    """By name without namespace; None where Salesforce says nil. Fields within a field are ``Outer.Inner``."""


@dataclass(frozen=True, slots=True)
class OutboundMessage:
    """What one request tells."""

    organization_id: str
    notifications: tuple[SalesforceNotification, ...]
    has_session_id: bool
    """It holds a key to Salesforce: untick "Send Session ID"."""


def parse_outbound_message(body: bytes) -> OutboundMessage:
    """Raises ``Rejected``: ``malformed_xml``, ``forbidden_xml``, ``xml_too_large``."""
    if len(body) > MAX_BODY:
        raise _too_large(f"An outbound message has at most {MAX_BODY} bytes.")
    # Salesforce sends UTF-8. expat would take UTF-16 by its first bytes, whatever encoding it is told.
    if b"\0" in body or not _is_utf8(body):
        raise _malformed("The body is not UTF-8.")
    reader = _Reader()
    parser = expat.ParserCreate("utf-8", " ")
    parser.buffer_text = True
    parser.XmlDeclHandler = reader.declare
    parser.StartDoctypeDeclHandler = reader.refuse_doctype
    parser.ProcessingInstructionHandler = reader.refuse_instruction
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.take_text
    try:
        parser.Parse(body, True)
    except expat.ExpatError as error:
        raise _malformed(f"The body is no XML (line {error.lineno}).") from error
    return reader.message()


def _is_utf8(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _malformed(message: str) -> Rejected:
    return refusal(WebhookRefusal.malformed_xml, message, "body")


def _too_large(message: str) -> Rejected:
    return refusal(WebhookRefusal.xml_too_large, message, "body")


def _local(name: str) -> str:
    return name.rpartition(" ")[2]


class _Reader:
    """Follows one message. What it does not know it passes over; what it needs must stand exactly once."""

    def __init__(self) -> None:
        self._path: list[str] = []
        self._known = 0
        """How many elements of the path are those of ``_WAY``, from the outermost."""
        self._elements = 0
        self._text: list[str] = []
        self._has_children = False
        self._is_nil = False
        self._organization_id: str | None = None
        self._has_session_id = False
        self._notifications: list[SalesforceNotification] = []
        self._id: str | None = None
        self._type: str | None = None
        self._fields: dict[str, str | None] = {}

    def declare(self, version: str, encoding: str | None, standalone: int) -> None:
        if encoding is not None and encoding.lower() not in ("utf-8", "utf8"):
            raise _malformed("The body is not UTF-8.")

    def refuse_doctype(self, name: str, system: str | None, public: str | None, has_subset: int) -> None:
        raise refusal(WebhookRefusal.forbidden_xml, "SOAP allows no DOCTYPE.", "body")

    def refuse_instruction(self, target: str, data: str) -> None:
        raise refusal(WebhookRefusal.forbidden_xml, "SOAP allows no processing instructions.", "body")

    def start(self, name: str, attributes: dict[str, str]) -> None:
        path = self._path
        depth = len(path)
        self._elements += 1
        if self._elements > MAX_ELEMENTS or depth >= MAX_DEPTH:
            raise _too_large("The message has too many elements or levels.")
        if depth == self._known < len(_WAY) and name == _WAY[depth]:
            self._known += 1
        elif not depth:
            raise _malformed("The body is no SOAP 1.1 envelope.")
        path.append(name)
        self._text.clear()
        self._has_children = False
        self._is_nil = attributes.get(_NIL) in ("true", "1")
        if self._known == depth + 1 == _NOTIFICATION_DEPTH:
            if len(self._notifications) >= MAX_NOTIFICATIONS:
                raise _too_large(f"A message has at most {MAX_NOTIFICATIONS} notifications.")
            self._id, self._type, self._fields = None, None, {}
        elif self._known == depth + 1 == _SOBJECT_DEPTH:
            if self._type is not None:
                raise _malformed("A notification has several sObjects.")
            self._type = attributes.get(_TYPE, "").rpartition(":")[2]

    def take_text(self, text: str) -> None:
        self._text.append(text)

    def end(self, name: str) -> None:
        depth, text = len(self._path), "".join(self._text)
        self._text.clear()
        if self._known == _SOBJECT_DEPTH < depth:
            self._take_field(text)
        elif self._known == _NOTIFICATION_DEPTH == depth - 1 and name == f"{_OUT} Id":
            if self._id is not None:
                raise _malformed("A notification has several Ids.")
            self._id = text.strip()
        elif self._known == _NOTIFICATION_DEPTH == depth:
            self._close_notification()
        elif self._known == _NOTIFICATION_DEPTH - 1 == depth - 1:
            self._take_head(name, text.strip())
        self._path.pop()
        self._known = min(self._known, depth - 1)
        self._has_children = True
        self._is_nil = False

    def _take_field(self, text: str) -> None:
        if self._has_children:
            return
        field = ".".join(map(_local, self._path[_SOBJECT_DEPTH:]))
        if field in self._fields:
            raise _malformed("An sObject has a field twice.")
        self._fields[field] = None if self._is_nil else text

    def _take_head(self, name: str, text: str) -> None:
        if name == f"{_OUT} OrganizationId":
            if self._organization_id is not None:
                raise _malformed("The message has several OrganizationIds.")
            self._organization_id = text
        elif name == f"{_OUT} SessionId":
            self._has_session_id = bool(text)

    def _close_notification(self) -> None:
        if not self._id:
            raise _malformed("A notification lacks its Id.")
        self._notifications.append(SalesforceNotification(self._id, self._type or "", self._fields))

    def message(self) -> OutboundMessage:
        if not self._organization_id or not self._notifications:
            raise _malformed("The message lacks its OrganizationId or notifications.")
        return OutboundMessage(self._organization_id, tuple(self._notifications), self._has_session_id)
