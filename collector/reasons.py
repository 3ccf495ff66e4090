"""Why the collector refuses input: a closed list, each reason with its HTTP status. Every refusal is counted."""

from __future__ import annotations

from enum import StrEnum

from collector.webhooks.reasons import WebhookRefusal
from collector.webhooks.reasons import status_of as status_of_webhook


class Refusal(StrEnum):
    """Reasons of the collector. Money has its own, named by ``attribution.money``; webhooks and spend, too."""

    bad_http = "bad_http"
    """No HTTP/1.1 or HTTP/1.0 request, or one that two servers could read differently."""
    url_too_long = "url_too_long"
    headers_too_large = "headers_too_large"
    slow_request = "slow_request"
    """The request line and the headers did not arrive in time."""
    incomplete = "incomplete"
    """The client went away in the middle of its request."""
    too_many_connections = "too_many_connections"
    malformed = "malformed"
    """Not JSON, or not the JSON object that the endpoint wants."""
    not_utf8 = "not_utf8"
    wrong_type = "wrong_type"
    missing_field = "missing_field"
    too_deep = "too_deep"
    too_many_keys = "too_many_keys"
    bad_encoding = "bad_encoding"
    """The gzip stream is broken or ends early."""
    unknown_site = "unknown_site"
    not_found = "not_found"
    method_not_allowed = "method_not_allowed"
    slow_body = "slow_body"
    body_too_large = "body_too_large"
    gzip_bomb = "gzip_bomb"
    event_too_large = "event_too_large"
    batch_too_large = "batch_too_large"
    unsupported_media_type = "unsupported_media_type"
    too_long = "too_long"
    """One field is longer than its limit."""
    bad_time = "bad_time"
    bad_url = "bad_url"
    bad_email_hash = "bad_email_hash"
    rate_limited = "rate_limited"
    too_busy = "too_busy"
    """The bodies that others are sending take all the memory there is for bodies."""
    not_durable = "not_durable"
    """The spool is full or its disk fails: nothing was kept. The sender must try again."""
    unauthorized = "unauthorized"
    """The secret key that the settings demand is missing or another one."""
    state_away = "state_away"
    """What is known of spend cannot be read, so that it cannot be said what is new."""
    internal = "internal"
    """A fault of ours, logged with its traceback."""


MONEY_REASONS = frozenset({"unknown_currency", "bad_money", "negative_money", "money_out_of_range"})
"""What ``attribution.money`` refuses; all of it is understood but impossible."""

SPEND_REASONS = frozenset(
    (
        *("bad_number", "bad_count", "bad_day", "bad_instant", "bad_network", "damaged_id", "out_of_range"),
        *("unknown_currency", "campaign_unknown", "repeated_key"),
    )
)
"""What ``attribution.spend`` refuses of one fact's fields."""

_STATUS: dict[str, int] = {
    Refusal.bad_http: 400,
    Refusal.incomplete: 400,
    Refusal.malformed: 400,
    Refusal.not_utf8: 400,
    Refusal.wrong_type: 400,
    Refusal.missing_field: 400,
    Refusal.too_deep: 400,
    Refusal.too_many_keys: 400,
    Refusal.bad_encoding: 400,
    Refusal.unknown_site: 401,
    Refusal.unauthorized: 401,
    Refusal.not_found: 404,
    Refusal.method_not_allowed: 405,
    Refusal.slow_request: 408,
    Refusal.slow_body: 408,
    Refusal.body_too_large: 413,
    Refusal.gzip_bomb: 413,
    Refusal.event_too_large: 413,
    Refusal.batch_too_large: 413,
    Refusal.url_too_long: 414,
    Refusal.unsupported_media_type: 415,
    Refusal.rate_limited: 429,
    Refusal.headers_too_large: 431,
    Refusal.internal: 500,
    Refusal.not_durable: 503,
    Refusal.too_many_connections: 503,
    Refusal.too_busy: 503,
    Refusal.state_away: 503,
    **{reason: status_of_webhook(reason) for reason in WebhookRefusal},
}


_ROUTING = frozenset({Refusal.not_found, Refusal.method_not_allowed})
_OF_EVENTS = frozenset(
    {
        Refusal.event_too_large,
        Refusal.too_many_keys,
        Refusal.bad_time,
        Refusal.bad_url,
        Refusal.bad_email_hash,
    }
)
_OF_JSON = frozenset({Refusal.malformed, Refusal.not_utf8, Refusal.too_deep, Refusal.wrong_type})
_OF_BATCHES = frozenset({Refusal.batch_too_large, Refusal.bad_encoding, Refusal.gzip_bomb})


def event_reasons() -> frozenset[str]:
    """Every ``code`` of the routes that take events."""
    return frozenset({*Refusal} - _ROUTING - {Refusal.unauthorized, Refusal.state_away}) | MONEY_REASONS


def spend_reasons() -> frozenset[str]:
    """Every ``code`` of ``/v1/spend``."""
    return frozenset({*Refusal} - _ROUTING - _OF_EVENTS) | SPEND_REASONS


def webhook_reasons() -> frozenset[str]:
    """Every ``code`` of ``/webhooks/*``."""
    others = _ROUTING | _OF_EVENTS | _OF_JSON | _OF_BATCHES
    others |= {Refusal.unauthorized, Refusal.unknown_site, Refusal.state_away}
    return frozenset({*Refusal} - others | {*WebhookRefusal})


def postback_reasons() -> frozenset[str]:
    """Every ``code`` of ``/postback``."""
    others = _ROUTING | _OF_EVENTS | _OF_BATCHES | {Refusal.state_away}
    return frozenset({*Refusal} - others | {Refusal.too_many_keys})


def all_reasons() -> frozenset[str]:
    """Every ``code`` that an answer can have."""
    return frozenset({reason.value for reason in Refusal}) | MONEY_REASONS | SPEND_REASONS | {*WebhookRefusal}


def status_of(reason: str) -> int:
    """HTTP status of a refusal; what is understood but impossible (money and figures of spend included) is 422."""
    return _STATUS.get(reason, 422)
