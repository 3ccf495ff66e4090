"""What the JSON endpoints do with a body: every event becomes a hit or a refusal with its reason."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from attribution.errors import Rejected
from attribution.hit import Hit
from collector.fields import Heard, build_hit, check_site, clean_fields
from collector.reasons import Refusal
from collector.segment import (
    BATCH,
    KINDS,
    Batch,
    country_told,
    fields_of,
    parse_batch,
    parse_event,
    stand_in_for_visitor,
)


class House(NamedTuple):
    """What an installation knows that bodies do not say."""

    sites: frozenset[str]
    default_currency: str
    country_of_network: Callable[[str], str] = lambda network: ""
    """By what is kept of an address."""


class Taken(NamedTuple):
    """Outcome of one body, one entry for each event in it."""

    outcomes: list[Hit | Rejected]

    @property
    def hits(self) -> list[Hit]:
        """The events that are hits."""
        return [outcome for outcome in self.outcomes if isinstance(outcome, Hit)]

    @property
    def refusals(self) -> list[Rejected]:
        """The events that are not."""
        return [outcome for outcome in self.outcomes if isinstance(outcome, Rejected)]


def user_of_basic(authorization: str) -> str:
    """User name of HTTP Basic authorization, where Segment's libraries put the write key; "" if there is none."""
    scheme, _, credentials = authorization.partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(credentials, validate=True).decode().partition(":")[0]
    except (binascii.Error, ValueError):
        return ""


def take_body(kind: str, body: bytes, authorized_site: str, heard: Heard, house: House) -> Taken:
    """Hits of a body posted to ``/v1/{kind}``.

    Raises ``Rejected`` when the body as a whole is unusable; what is wrong with one event stays with that event.
    """
    if kind != BATCH:
        event = parse_event(body)
        return Taken([_take(kind, event, authorized_site, heard, house)])
    batch = parse_batch(body)
    site = batch.site or batch.write_key or authorized_site
    defaults = _defaults(batch)
    outcomes: list[Hit | Rejected] = []
    for raw in batch.batch:
        try:
            event = parse_event(raw)
            for name, value in defaults.items():
                event.setdefault(name, value)
            kind_of_event = event.get("type", "track")
            if kind_of_event not in KINDS:
                raise Rejected(Refusal.malformed, f"Send one of {', '.join(KINDS)}.", "type")
            outcomes.append(_take(kind_of_event, event, site, heard, house))
        except Rejected as error:
            outcomes.append(error)
    if not outcomes:
        raise Rejected(Refusal.missing_field, "Send at least one event.", BATCH)
    return Taken(outcomes)


def _defaults(batch: Batch) -> Mapping[str, Any]:
    defaults: dict[str, Any] = {}
    if batch.sent_at is not None:
        defaults["sentAt"] = batch.sent_at
    if batch.context:
        defaults["context"] = batch.context
    return defaults


def _take(kind: str, event: dict[str, Any], site: str, heard: Heard, house: House) -> Hit | Rejected:
    try:
        fields, props = fields_of(kind, event)
        fields.setdefault("site", site)
        check_site(fields["site"], house.sites)
        if not fields.get("visitor_id") and not heard.visitor_id:
            fields["visitor_id"] = stand_in_for_visitor(fields, event)
        clean_fields(fields)
        heard = _at_the_visitors(heard, fields, event, house)
        return build_hit(fields, heard, house.default_currency, props)
    except Rejected as error:
        return error


def _at_the_visitors(
    heard: Heard, fields: Mapping[str, str], event: Mapping[str, Any], house: House
) -> Heard:
    """``heard`` with the country of the visitor: as the event tells it, else of the address that it names, else of
    whoever sends it, unless that is somebody who passes on what another browser did."""
    country = country_told(event)
    if not country and "ip" in fields:
        country = house.country_of_network(fields["ip"])
    elif not country:
        is_own = fields.get("user_agent", heard.user_agent) == heard.user_agent
        country = heard.country if is_own else ""
    return heard if country == heard.country else msgspec.structs.replace(heard, country=country)
