"""The settings of deals as a TOML file: what each key means, and how a file becomes ``DealSettings``.

Every key and its default: docs/deals.md.
"""

from __future__ import annotations

import re
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, model_validator

from attribution.deals.adapters import ADAPTERS, AdapterRules
from attribution.deals.facts import ObjectType
from attribution.deals.rules import DealRules
from attribution.deals.settings import DealSettings
from attribution.deals.stages import NOT_A_STEP, Stage, StageMap
from attribution.errors import Rejected
from attribution.money import currency_of
from attribution.policy_tables import Table
from attribution.toml_text import read_settings

_TYPE = re.compile(r"[a-z][a-z0-9_]{0,62}")
_OURS = frozenset(
    (
        *("stage", "status", "pipeline", "amount", "currency", "owner", "order_id", "subscription"),
        *("visitor_id", "user_id", "email", "email_sha256", "crm_contact_id", "account_id", "contact"),
    )
)
"""What a field of a sender may be."""


def parse_deals(text: str, default_currency: str, *, file: str = "deals.toml") -> DealSettings:
    """What ``text`` says. Raises ``Misconfigured`` with one line that names the key, and how many more there are."""
    return read_settings(DealsFile, text, file).settings(default_currency)


def default_settings(default_currency: str) -> DealSettings:
    """Those of an installation that says nothing."""
    return DealsFile().settings(default_currency)


def _checked_type(name: str) -> str:
    if name and not _TYPE.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a conversion type: small letters, digits and _")
    return name


def _checked_currency(code: str) -> str:
    try:
        return currency_of(code).code
    except Rejected as error:
        raise ValueError(error.message) from error


def _checked_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"{name!r} is no time zone such as Europe/Berlin") from error
    return name


def _checked_place(place: str) -> str:
    source, _, kind = place.partition("/")
    if source not in ADAPTERS or kind not in ObjectType.__members__:
        raise ValueError(f"{place!r} is no sender and object such as hubspot/deal")
    return place


def _checked_sender(source: str) -> str:
    if source not in ADAPTERS:
        raise ValueError(f"{source!r} is no sender; those are {', '.join(ADAPTERS)}")
    return source


def _checked_field(name: str) -> str:
    if name not in _OURS:
        raise ValueError(f"{name!r} is no field of ours; those are {', '.join(sorted(_OURS))}")
    return name


_Type = Annotated[str, AfterValidator(_checked_type)]
_Place = Annotated[str, AfterValidator(_checked_place)]
_Sender = Annotated[str, AfterValidator(_checked_sender)]
_Field = Annotated[str, AfterValidator(_checked_field)]


class DealsFile(Table):
    """A whole file."""

    currency: Annotated[str, AfterValidator(_checked_currency)] | None = None
    purchase_type: _Type = DealRules().purchase_type
    renewal_type: _Type = DealRules().renewal_type
    sources: list[_Sender] = list(DealRules().sources)
    types: dict[Stage, _Type] = {}
    stages: dict[_Place, dict[str, str]] = {}
    time_zone: Annotated[str, AfterValidator(_checked_zone)] = "UTC"
    accepts_test_data: bool = False
    shopify_order_id: str = Field("id", pattern="^(id|order_number|name)$")
    shopify_money: str = Field("shop", pattern="^(shop|customer)$")
    postback_events: dict[str, _Type] = AdapterRules(site="").postback_events
    postback_refusals: list[str] = list(AdapterRules(site="").postback_refusals)
    postback_duplicates: str = Field("replace", pattern="^(replace|ignore|add)$")
    own_fields: dict[_Place, dict[str, _Field]] = {}
    own_objects: dict[_Sender, dict[str, ObjectType]] = {}

    @model_validator(mode="after")
    def _check_stages(self) -> DealsFile:
        known = (*Stage, NOT_A_STEP)
        for place, steps in self.stages.items():
            for name, stage in steps.items():
                if stage not in known:
                    raise ValueError(
                        f"stages.{place}.{name}: {stage!r} is no stage; those are {', '.join(known)}"
                    )
        if not self.purchase_type or not self.renewal_type:
            raise ValueError("purchase_type and renewal_type must have a name")
        return self

    def settings(self, default_currency: str) -> DealSettings:
        """What the file says, and the defaults where it is silent."""
        types: dict[Stage, str] = {**DealRules().types, **self.types}
        stages = {
            place: {name.strip().lower(): stage for name, stage in steps.items()}
            for place, steps in self.stages.items()
        }
        rules = DealRules(
            default_currency=self.currency or default_currency,
            stages=StageMap(stages),
            types={stage: type_ for stage, type_ in types.items() if type_},
            purchase_type=self.purchase_type,
            renewal_type=self.renewal_type,
            sources=tuple(self.sources),
        )
        senders: dict[str, Any] = {
            "own_fields": self.own_fields,
            "own_objects": self.own_objects,
            "time_zone": self.time_zone,
            "shopify_order_id": self.shopify_order_id,
            "is_shop_money": self.shopify_money == "shop",
            "accepts_test_data": self.accepts_test_data,
            "postback_events": {name.strip().lower(): type_ for name, type_ in self.postback_events.items()},
            "postback_refusals": tuple(name.strip().lower() for name in self.postback_refusals),
            "postback_duplicates": self.postback_duplicates,
        }
        return DealSettings(AdapterRules(site="", **senders), rules)
