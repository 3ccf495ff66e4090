"""What ``/openapi.json`` says of spend, webhooks and postbacks."""

from __future__ import annotations

from attribution.spend.fields import MAX_TEXT, NAMES, REQUIRED
from collector import postbacks
from collector.description_parts import JSON, TEXT, Schema, json_of, problems, ref
from collector.feeds import SPEND_PATH, WEBHOOKS
from collector.limits import MAX_BODY, MAX_DECOMPRESSED
from collector.reasons import postback_reasons, spend_reasons, webhook_reasons
from collector.responses import SpendAnswer, SpendProblem, Success
from collector.spend import FACTS, MAX_FACTS
from collector.webhooks.verified import WebhookSender

_FORM = "application/x-www-form-urlencoded"


def feeds_paths() -> Schema:
    """Paths with their operations."""
    return {
        SPEND_PATH: {"post": _spend()},
        **{path: {"post": _webhook(sender)} for path, sender in WEBHOOKS.items()},
        postbacks.PATH: {"get": _postback("get"), "post": _postback("post")},
    }


def _spend() -> Schema:
    fact = ref("SpendFact")
    facts = {"type": "array", "items": fact, "minItems": 1, "maxItems": MAX_FACTS}
    site = {"type": ["string", "null"], "description": "Write key for the facts that name none."}
    envelope = {"type": "object", "properties": {FACTS: facts, "site": site}, "required": [FACTS]}
    body = {"schema": {"anyOf": [envelope, facts, fact]}}
    return {
        "operationId": "spend",
        "summary": f"What ads cost: up to {MAX_FACTS} facts, each the figures of one thing on one day",
        "description": (
            f"Plain or gzip, up to {MAX_BODY} bytes ({MAX_DECOMPRESSED} unpacked). Of one thing and day the figures"
            " read last count; see docs/spend.md. A bad fact costs itself only."
        ),
        "security": [{"spend_key": []}, {"write_key": []}, {}],
        "requestBody": {"required": True, "content": {JSON: body, TEXT: body}},
        "responses": {
            "200": json_of("Durable, at least one.", ref(SpendAnswer.__name__)),
            **problems(spend_reasons(), SpendProblem),
        },
    }


_TEXT_FIELD = {"type": ["string", "integer", "null"], "maxLength": MAX_TEXT}
_COUNT_FIELD = {"type": ["integer", "string", "null"], "minimum": 0, "pattern": "^[0-9]{1,11}$"}
_AMOUNT_FIELD = {"type": ["number", "string", "null"], "pattern": r"^-?[0-9]{1,11}(\.[0-9]{1,6})?$"}
_SPEND_FIELDS: dict[str, Schema] = {
    "site": {
        "type": ["string", "null"],
        "description": "Write key; else that of the body, else the user of HTTP Basic.",
    },
    **dict.fromkeys(NAMES, _TEXT_FIELD),
    "day": {"type": "string", "format": "date", "description": "Of the platform's account."},
    "ad_network": {"type": "string", "pattern": "^[a-z0-9_]{1,64}$"},
    "cost": {
        **_AMOUNT_FIELD,
        "type": ["number", "string"],
        "description": "In major units; a credit note is below 0.",
    },
    "currency": {"type": "string", "description": "ISO 4217."},
    **dict.fromkeys(("impressions", "reach", "clicks", "views", "installs"), _COUNT_FIELD),
    **dict.fromkeys(("platform_conversions", "platform_value", "bid"), _AMOUNT_FIELD),
    "as_of": {
        "type": ["string", "null"],
        "format": "date-time",
        "description": "When the figures were read; now, if it is not told.",
    },
}


def spend_fact() -> Schema:
    """One fact of spend."""
    return {
        "type": "object",
        "description": "The columns of the plain CSV of docs/spend.md, and the site. Other names are not looked at.",
        "properties": _SPEND_FIELDS,
        "required": list(REQUIRED),
    }


def _webhook(sender: WebhookSender) -> Schema:
    is_soap = sender is WebhookSender.salesforce
    content: Schema = {"application/xml" if is_soap else JSON: {"schema": {}}}
    answer: Schema = {"description": "Durable."}
    if is_soap:
        answer |= {
            "description": "Durable; with an Ack where it is an outbound message.",
            "content": {"text/xml": {"schema": {"type": "string"}}},
        }
    return {
        "operationId": f"webhook_{sender.value}",
        "summary": f"What {sender.value} tells",
        "description": "With that sender's own proof (docs/webhooks.md). The bytes are kept as they come.",
        "parameters": [
            {
                "name": "site",
                "in": "query",
                "required": False,
                "description": "Write key; needed where several sites have the sender.",
                "schema": {"type": "string"},
            }
        ],
        "requestBody": {"required": True, "content": content},
        "responses": {"200": answer, **problems(webhook_reasons())},
    }


_POSTBACK_FIELDS = {
    "site": "Public write key of the website.",
    "key": "Secret, where the settings have one for the site.",
    "click_id": "The network's click id, as the landing page got it.",
    "payout": "What the network pays, in major units.",
    "currency": "ISO 4217.",
    "transaction_id": "Names the conversion: the same one again is the same conversion.",
    "event": "What happened.",
}


def _postback(method: str) -> Schema:
    operation: Schema = {
        "operationId": f"postback_{method}",
        "summary": "What affiliate and mobile networks tell",
        "description": "Names of other trackers are understood too (docs/webhooks.md); anything else is kept.",
        "responses": {"200": json_of("Durable.", ref(Success.__name__)), **problems(postback_reasons())},
    }
    text = {"type": "string", "maxLength": postbacks.MAX_TEXT}
    if method == "get":
        return operation | {
            "parameters": [
                {
                    "name": name,
                    "in": "query",
                    "required": name in ("site", "click_id"),
                    "description": meaning,
                    "schema": text,
                }
                for name, meaning in _POSTBACK_FIELDS.items()
            ]
        }
    fields = {name: text | {"description": meaning} for name, meaning in _POSTBACK_FIELDS.items()}
    form = {"schema": {"type": "object", "properties": fields, "additionalProperties": text}}
    return operation | {
        "requestBody": {"required": False, "content": {_FORM: form, JSON: form}},
        "parameters": [],
    }
