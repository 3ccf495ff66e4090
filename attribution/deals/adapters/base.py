"""What all adapters share: the envelope, the rules, and a reader that notes what it cannot take.

An adapter is a pure function of a verified payload. It never raises for what a sender may send: every fact that can be
read is read, everything else has a named problem with the path of its field. The payload itself is stored unchanged, so
a corrected mapping can read it again.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple, Protocol
from zoneinfo import ZoneInfo

import msgspec

from attribution.acquisition import CLICK_IDS
from attribution.deals.facts import CLICK, CONTACT_IN, ObjectFact, ObjectType, Problem, Value

_MAX_TEXT = 1024
_MAX_EXPONENT = 30
_EARLIEST_MS, _LATEST_MS = 0, 253_402_300_799_000
"""Until the end of the year 9999."""

_SECONDS = re.compile(r"[0-9]{9,15}", re.ASCII)
"""Since 1970; a shorter number may be a date, as ISO 8601 writes it."""

_decode = msgspec.json.Decoder(float_hook=Decimal).decode
_encode = msgspec.json.Encoder(order="deterministic").encode


class Envelope(msgspec.Struct, frozen=True):
    """What came with a payload."""

    received_at: int
    """Epoch milliseconds, UTC. Stored with the payload: a replay reads the same."""
    headers: Mapping[str, str] = {}
    """Names in lower case."""


class AdapterRules(msgspec.Struct, frozen=True):
    """What an installation may say about its senders."""

    site: str
    own_fields: dict[str, dict[str, str]] = {}
    """By source and object type (``hubspot/deal``): the sender's field to ours (``visitor_id``, ``amount``, ...)."""
    own_objects: dict[str, dict[str, ObjectType]] = {}
    """By source: the sender's object to ours (``Design_Registration__c`` is a ``deal``)."""
    time_zone: str = "UTC"
    """IANA name; of times that a sender writes without one."""
    shopify_order_id: str = "id"
    """Field of a Shopify order that pages send as order id: ``id``, ``order_number`` or ``name``."""
    is_shop_money: bool = True
    """Shopify: amounts in the shop's currency; False = in the one that the customer was shown."""
    accepts_test_data: bool = False
    """Stripe's test mode and Shopify's test orders count."""
    postback_events: dict[str, str] = msgspec.field(
        default_factory=lambda: {
            **dict.fromkeys(("", "conversion", "sale", "purchase", "approved", "deposit"), "purchase"),
            **dict.fromkeys(("lead", "registration"), "lead"),
        }
    )
    """Postback: ``event`` in lower case ("" = none is said) to the conversion type that it is."""
    postback_refusals: tuple[str, ...] = (
        *("rejected", "declined", "cancelled", "canceled", "refused", "trash", "chargeback", "refund"),
    )
    """Postback: events by which a network takes a conversion back."""
    postback_duplicates: str = "replace"
    """Postback, of one transaction told again with another payout: ``replace``, or ``ignore`` for the first one."""


class Mapped(NamedTuple):
    """What an adapter has read."""

    facts: tuple[ObjectFact, ...]
    problems: tuple[Problem, ...]
    ignored: tuple[str, ...] = ()
    """What is well-formed and of no use to us: event types, properties. In order, each once."""


class Adapter(Protocol):
    """One sender's mapping."""

    def __call__(self, body: bytes, envelope: Envelope, rules: AdapterRules) -> Mapped:
        """Facts of a verified payload. Never raises for what the payload holds."""


class Notes:
    """Problems and ignored names of one payload, while it is read."""

    def __init__(self) -> None:
        self._problems: dict[Problem, None] = {}
        self._ignored: dict[str, None] = {}

    def note(self, reason: str, field: str, remedy: str) -> None:
        """Something could not be taken as it was said."""
        self._problems.setdefault(Problem(reason, field, remedy))

    def ignore(self, name: str) -> None:
        """Something is of no use to us."""
        self._ignored.setdefault(name[:200])

    def mapped(self, facts: list[ObjectFact]) -> Mapped:
        """The result."""
        return Mapped(tuple(facts), tuple(self._problems), tuple(sorted(self._ignored)))


class Reader:
    """An object of JSON with its path. Absent and null are the same; a value of the wrong kind is a problem."""

    def __init__(self, data: Mapping[str, Any], path: str, notes: Notes) -> None:
        self.data, self.path, self.notes = data, path, notes

    def __bool__(self) -> bool:
        return bool(self.data)

    def has(self, name: str) -> bool:
        """Whether the field is there, be it null."""
        return name in self.data

    def raw(self, name: str) -> Any:
        """The value as it is."""
        return self.data.get(name)

    def where(self, name: str) -> str:
        """Path of a field."""
        return f"{self.path}.{name}" if self.path else name

    def text(self, name: str, *, is_wanted: bool = False) -> str:
        """Text, or a number's digits; "" when it is not there, a problem if it ``is_wanted``."""
        value = self.data.get(name)
        if isinstance(value, str):
            found = value.strip()[:_MAX_TEXT]
        elif isinstance(value, (int, Decimal)) and not isinstance(value, bool):
            found = plain(value)
        else:
            found = ""
            if value is not None:
                self._bad(name, "text")
        if is_wanted and not found and value in (None, ""):
            self.notes.note("missing_field", self.where(name), "Send this field.")
        return found

    def amount(self, name: str) -> str | None:
        """Decimal text; None when it is not there."""
        value = self.data.get(name)
        if value is None or value == "":
            return None
        if isinstance(value, str):
            return decimal_text(value)
        if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
            return plain(value)
        self._bad(name, "a decimal number")
        return None

    def whole(self, name: str) -> int | None:
        """A whole number."""
        value = self.data.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        if value is not None:
            self._bad(name, "a whole number")
        return None

    def flag(self, name: str) -> bool | None:
        """True or false, also as text."""
        value = self.data.get(name)
        known = {"true": True, "false": False}.get(str(value).strip().lower())
        if known is None and value not in (None, ""):
            self._bad(name, "true or false")
        return known

    def object(self, name: str) -> Reader:
        """An object; an empty one when it is not there."""
        value = self.data.get(name)
        if value is not None and not isinstance(value, dict):
            self._bad(name, "an object")
        return Reader(value if isinstance(value, dict) else {}, self.where(name), self.notes)

    def objects(self, name: str) -> Iterator[Reader]:
        """The objects of a list."""
        value = self.data.get(name)
        if value is not None and not isinstance(value, list):
            self._bad(name, "a list")
        for number, item in enumerate(value if isinstance(value, list) else ()):
            if isinstance(item, dict):
                yield Reader(item, f"{self.where(name)}[{number}]", self.notes)
            else:
                self.notes.note("bad_field", f"{self.where(name)}[{number}]", "Send an object here.")

    def time(self, name: str, rules: AdapterRules) -> int | None:
        """An instant in epoch milliseconds: ISO 8601 text, or seconds or milliseconds since 1970."""
        value = self.data.get(name)
        if value is None or value == "":
            return None
        found = instant(value, rules.time_zone)
        if found is None:
            self._bad(name, "a time such as 2026-11-23T12:00:00Z, or seconds since 1970")
        return found

    def _bad(self, name: str, kind: str) -> None:
        self.notes.note("bad_field", self.where(name), f"Send {kind} here.")


def read_json(body: bytes, notes: Notes) -> Any:
    """The payload; None and a problem when it is no JSON. Numbers with a point are ``Decimal``."""
    try:
        return _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError, ArithmeticError):
        notes.note(
            "not_json", "", "Send UTF-8 JSON. The payload is kept and can be replayed after a correction."
        )
        return None


def read_object(body: bytes, notes: Notes) -> Reader | None:
    """The payload as one object; None and a problem when it is none."""
    data = read_json(body, notes)
    if isinstance(data, dict):
        return Reader(data, "", notes)
    if data is not None:
        notes.note("bad_payload", "", "Send one JSON object.")
    return None


def digest(value: Any) -> str:
    """16 hex digits of a part of a payload: names an event whose sender does not."""
    return hashlib.blake2b(_encode(value), digest_size=8).hexdigest()


def plain(number: int | Decimal) -> str:
    """Digits without an exponent; one that is out of all reason stays as it is, and is refused later."""
    if isinstance(number, int):
        return str(number)
    if not number.is_finite() or abs(number.adjusted()) > _MAX_EXPONENT:
        return str(number)
    return f"{number:f}"


def decimal_text(text: str) -> str:
    """Text of an amount without an exponent (``1.2E5`` is how XML writes doubles); other text as it is."""
    stripped = text.strip()[:_MAX_TEXT]
    if "e" not in stripped.lower():
        return stripped
    try:
        return plain(Decimal(stripped))
    except ArithmeticError:
        return stripped


def instant(value: Any, time_zone: str) -> int | None:
    """Epoch milliseconds, UTC; None when ``value`` is no time. Numbers beyond 10^11 are milliseconds."""
    number: int | Decimal | None = None
    if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
        number = value
    elif isinstance(value, str) and _SECONDS.fullmatch(value.strip()):
        number = int(value)
    if number is not None:
        if not 0 <= number < 10**16:
            return None
        found = int(number) if number > 10**11 else int(number * 1000)
    elif isinstance(value, str):
        try:
            at = datetime.fromisoformat(value.strip())
        except ValueError:
            return None
        if at.tzinfo is None:
            at = at.replace(tzinfo=ZoneInfo(time_zone))
        try:
            since = at.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
        except OverflowError:
            return None
        found = since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000
    else:
        return None
    return found if _EARLIEST_MS <= found <= _LATEST_MS else None


def email_sha256(address: str) -> str | None:
    """64 hex digits of the address in lower case without blanks around; None when it is none (definitions C9)."""
    cleaned = address.strip().lower()
    if "@" not in cleaned:
        return None
    return hashlib.sha256(cleaned.encode("utf-8", "surrogatepass")).hexdigest()


_KNOWN = {
    "visitor_id": "visitor_id",
    "hw_visitor_id": "visitor_id",
    "headwater_visitor_id": "visitor_id",
    "user_id": "user_id",
    "hw_user_id": "user_id",
    "email_sha256": "email_sha256",
    "crm_contact_id": "crm_contact_id",
    "order_id": "order_id",
    "hw_order_id": "order_id",
}
"""Custom fields, metadata and note attributes that mean the same to every sender; compared without case."""


def known_fields(named: Mapping[str, Any]) -> dict[str, Value]:
    """Our ids among a sender's custom fields: visitor, user, order, click ids."""
    found: dict[str, Value] = {}
    for name, value in named.items():
        lower = name.strip().lower().removesuffix("__c")
        text = plain(value) if isinstance(value, (int, Decimal)) and not isinstance(value, bool) else value
        if not isinstance(text, str) or not text.strip():
            continue
        text = text.strip()[:_MAX_TEXT]
        if ours := _KNOWN.get(lower):
            found[ours] = text.lower() if ours == "email_sha256" else text
        elif (rule := CLICK_IDS.get(lower)) is not None and rule.has_value:
            found[CLICK + rule.param] = text
    return found


def own_fields(
    named: Mapping[str, Any], source: str, object_type: ObjectType, rules: AdapterRules
) -> dict[str, Value]:
    """What the installation's own mapping reads; an e-mail address is hashed."""
    found: dict[str, Value] = {}
    for theirs, ours in rules.own_fields.get(f"{source}/{object_type}", {}).items():
        value = named.get(theirs)
        if isinstance(value, Decimal) or (isinstance(value, int) and not isinstance(value, bool)):
            value = plain(value)
        if not isinstance(value, (str, bool)):
            continue
        if ours == "email":
            hashed = email_sha256(value) if isinstance(value, str) else None
            if hashed:
                found["email_sha256"] = hashed
        elif ours == "contact":
            found[CONTACT_IN + theirs] = str(value).strip() or None
        else:
            found[ours] = value
    return found
