"""The settings tree: each option with default, unit and one line of help; read once from ``HEADWATER_*``."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from attribution.errors import Rejected
from attribution.learnt.tables import MAX_ORDER, Worth
from attribution.money import currency_of
from attribution.policy import DAY_MS, SessionSwitch
from attribution.spend.click_costs import PARAMETER

MAX_PORT = 65_535
_MIN_SPOOL = 1 << 20


def lookbacks_of(text: str) -> dict[str, int]:
    """``purchase=90,lead=30`` as milliseconds by event. Raises ``ValueError`` that says what to write."""
    lookbacks: dict[str, int] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, days = part.partition("=")
        if not name or not days.isdigit() or int(days) < 1:
            raise ValueError(f"{part!r} is no event=days pair such as purchase=90")
        lookbacks[name.strip()] = int(days) * DAY_MS
    if not lookbacks:
        raise ValueError("Name at least one event=days pair such as purchase=90")
    return lookbacks


def _checked_lookbacks(text: str) -> str:
    lookbacks_of(text)
    return text


def _checked_currency(code: str) -> str:
    try:
        return currency_of(code).code
    except Rejected as error:
        raise ValueError(error.message.rstrip(".")) from error


def _checked_currency_or_none(code: str) -> str:
    return _checked_currency(code) if code else code


def _checked_parameter(name: str) -> str:
    if name and not re.fullmatch(r"[a-z0-9_.-]{1,64}", name):
        raise ValueError(f"{name!r} is no name of a query parameter in small letters, such as {PARAMETER}")
    return name


def _checked_share(text: str) -> str:
    try:
        is_share = 0 <= Decimal(text) <= 1
    except InvalidOperation:
        is_share = False
    if not is_share:
        raise ValueError(f"{text!r} is no number from 0 to 1 such as 0.4")
    return text


def _checked_kafka(text: str) -> str:
    for address in text.split(","):
        host, _, port = address.strip().rpartition(":")
        if not host or not port.isdigit() or int(port) > MAX_PORT:
            raise ValueError(f"{address!r} is no host:port")
    return text


def _checked_redis(url: str) -> str:
    if not url.startswith(("redis://", "rediss://", "unix://")):
        raise ValueError("Write redis://[user:password@]host:port/number, rediss:// or unix://")
    return url


class Settings(BaseSettings):
    """One installation. Environment variables are ``HEADWATER_`` plus the upper-case field name."""

    model_config = SettingsConfigDict(env_prefix="HEADWATER_", extra="ignore", frozen=True)

    data_dir: Path = Field(Path(".headwater"), description="Folder for state, spool and keys.")
    kafka: Annotated[str, AfterValidator(_checked_kafka)] = Field(
        "127.0.0.1:9092", description="Kafka bootstrap servers, host:port[,host:port]."
    )
    kafka_idempotent: bool = Field(True, description="Idempotent producer; false for brokers that refuse it.")
    kafka_replication: int = Field(
        1, ge=1, description="Replication factor of topics that `migrate` creates."
    )
    partitions: int = Field(
        4, ge=1, le=1024, description="Partitions of each topic; fixed once chosen. `up` alone begins with 2."
    )
    redis: Annotated[str, AfterValidator(_checked_redis)] = Field(
        "redis://127.0.0.1:6379/0", description="Redis or Valkey URL."
    )
    clickhouse: str = Field(
        "http://127.0.0.1:8123", description="ClickHouse HTTP URL, user:password@ allowed."
    )
    database: str = Field("headwater", description="ClickHouse database.")

    sites: str = Field("", description="Public write keys of the websites, comma separated.")
    read_keys: SecretStr = Field(SecretStr(""), description="Secret keys of the query API, comma separated.")
    currency: Annotated[str, AfterValidator(_checked_currency)] = Field(
        "USD", description="ISO 4217 currency that reports use when none is asked for."
    )

    spend_key: SecretStr = Field(
        SecretStr(""),
        description="Secret that `POST /v1/spend` wants as bearer token; none = a write key is enough.",
    )
    click_cost_parameter: Annotated[str, AfterValidator(_checked_parameter)] = Field(
        PARAMETER,
        description="Parameter of landing pages' addresses that says what the click cost; empty = none is read.",
    )
    click_cost_currency: Annotated[str, AfterValidator(_checked_currency_or_none)] = Field(
        "", description="ISO 4217 currency of such costs without `hw_currency`; empty = HEADWATER_CURRENCY."
    )
    qualified_leads: str = Field(
        "qualified_lead,sql",
        description="Conversion types that are qualified leads, comma separated; each counts by itself.",
    )

    margin: Annotated[str, AfterValidator(_checked_share)] = Field(
        "1",
        description="Part of revenue that is margin, 0 to 1: what customers pay back their cost with; 1 = all of it.",
    )

    webhooks_file: Path | None = Field(
        None,
        description="File of who may send webhooks (TOML); `<data dir>/webhooks.toml` if that exists. See webhooks.md.",
    )

    collector_host: str = Field("127.0.0.1", description="Address the collector listens on.")
    collector_port: int = Field(8080, ge=0, le=MAX_PORT, description="Port of the collector.")
    api_host: str = Field("127.0.0.1", description="Address the query API listens on.")
    api_port: int = Field(8081, ge=0, le=MAX_PORT, description="Port of the query API.")
    worker_metrics_port: int = Field(
        0, ge=0, le=MAX_PORT, description="Port of the worker's /metrics and /readyz; 0 = none."
    )

    audit_seconds: float = Field(
        60.0, ge=0, description="Seconds between passes of the worker's self-audit; 0 = off."
    )

    learn_hours: float = Field(
        24.0, ge=0, description="Hours between learning Markov and Shapley from past journeys; 0 = off."
    )
    learn_days: int = Field(90, ge=1, description="Days of journeys that are learnt from.")
    learn_types: str = Field(
        "", description="Conversion events to learn from; none = those that bring money, or all if none does."
    )
    learn_order: int = Field(
        1, ge=1, le=MAX_ORDER, description="Order of the Markov model: how many channels back it looks."
    )
    learn_worth: Worth = Field(
        Worth.conversion_rate,
        description="What a set of channels is worth to Shapley; the other is `conversions`.",
    )

    spool_max_bytes: int = Field(
        1 << 30,
        ge=_MIN_SPOOL,
        description="Spool size in bytes at which the collector answers 503; deals and spend have an eighth "
        "of it each, beside it.",
    )
    rate_per_second: int = Field(
        2000, ge=0, description="Requests per second and client network before 429; 0 = no limit."
    )
    rate_per_site: int = Field(
        0, ge=0, description="Hits per second and write key before 429; 0 = no limit. Write keys are public."
    )
    trusted_proxies: str = Field(
        "", description="Networks whose X-Forwarded-For is believed, comma separated."
    )
    country_header: str = Field(
        "",
        description="Header in which trusted proxies say the visitor's country, such as CF-IPCountry. See collect.md.",
    )
    geoip_file: Path | None = Field(
        None, description="MaxMind DB file (.mmdb) by which the country of a visitor's network is looked up."
    )
    cookie_secure: bool = Field(
        True, description="Mark the visitor cookie Secure; false only for plain-HTTP tests."
    )

    batch_max_hits: int = Field(
        20_000,
        ge=1,
        description="Most hits of one partition in one worker batch; four such batches are in work.",
    )
    batch_wait_ms: int = Field(150, ge=0, description="Milliseconds a worker waits to fill a batch.")
    timelines_max_bytes: int = Field(
        128 << 20,
        ge=0,
        description="Bytes of recent visitors' timelines in a worker's memory, about 5,000 each.",
    )
    timeline_days: float = Field(
        400.0,
        gt=0,
        le=3_650,
        description="Days without a hit after which a visitor's timeline leaves Redis; it is made again from "
        "`hits` when it is needed.",
    )
    policy: Path | None = Field(
        None, description="Policy file (TOML); `<data dir>/policy.toml` if that exists. See policies.md."
    )
    deals_file: Path | None = Field(
        None, description="Settings of deals (TOML); `<data dir>/deals.toml` if that exists. See deals.md."
    )
    funnel_file: Path | None = Field(
        None,
        description="Stages of the funnel (TOML); `<data dir>/funnel.toml` if that exists. See funnel.md.",
    )
    session_gap_minutes: int = Field(30, ge=1, description="Minutes of silence that end a session.")
    session_switch: SessionSwitch = Field(
        SessionSwitch.tagged_or_paid, description="What else starts a session."
    )
    conversion_lookbacks: Annotated[str, AfterValidator(_checked_lookbacks)] = Field(
        "purchase=90,renewal=90,opportunity=90,deal_won=90,lead=30,mql=30,sql=30,sign_up=30",
        description="Conversion types and their lookback in days.",
    )

    @field_validator("read_keys")
    @classmethod
    def _check_read_keys(cls, keys: SecretStr, info: ValidationInfo) -> SecretStr:
        """Write keys are public: they stand in every page."""
        sites = {site.strip() for site in info.data.get("sites", "").split(",")}
        if any(key.strip() and key.strip() in sites for key in keys.get_secret_value().split(",")):
            raise ValueError("A read key is also a write key of HEADWATER_SITES, which everybody knows")
        return keys

    @field_validator("spend_key")
    @classmethod
    def _check_spend_key(cls, key: SecretStr, info: ValidationInfo) -> SecretStr:
        sites = {site.strip() for site in info.data.get("sites", "").split(",")}
        if key.get_secret_value() and key.get_secret_value() in sites:
            raise ValueError("The spend key is also a write key of HEADWATER_SITES, which everybody knows")
        return key
