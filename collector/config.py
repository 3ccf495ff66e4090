"""What one collector needs to know. Built by whoever wires the process; the collector reads no environment."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from collector.webhooks.settings import Webhooks


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectorConfig:
    """Frozen configuration of one collector process. Sizes are bytes, spans are seconds."""

    sites: frozenset[str]
    """Public write keys; a hit that names none of them is refused."""
    spool_dir: Path
    """Folder of the spool; one collector at a time may own it."""
    kafka: str = "127.0.0.1:9092"
    """Bootstrap servers, host:port[,host:port]."""
    kafka_idempotent: bool = True
    """Idempotent producer; false for brokers that refuse it."""
    partitions: int = 4
    """Partitions of the hits topic."""
    redis: str = "redis://127.0.0.1:6379/0"
    """Where the worker's fences are; read only for brokers that keep their log in memory."""
    host: str = "127.0.0.1"
    port: int = 8080
    spool_max_bytes: int = 1 << 30
    """Spool size at which the collector answers 503."""
    rate_per_second: int = 2000
    """Requests per second and client network (/24, /64) before 429; 0 = no limit."""
    rate_per_site: int = 0
    """Hits per second and write key before 429; 0 = no limit."""
    trusted_proxies: tuple[str, ...] = ()
    """Networks whose ``X-Forwarded-For`` is believed, such as ``10.0.0.0/8``."""
    country_header: str = ""
    """Header in which a trusted proxy says the visitor's country, such as ``CF-IPCountry``; "" = none."""
    geoip_file: Path | None = None
    """MaxMind DB with countries of networks; None = no lookup."""
    cookie_secure: bool = True
    """Mark the visitor cookie ``Secure`` (and name it ``__Host-hw_vid``)."""
    default_currency: str = "USD"
    """ISO 4217 currency of a value that comes without one."""
    drain_seconds: float = 5.0
    """How long a stopping collector waits until Kafka has what the spool holds."""
    spend_key: str = field(default="", repr=False)
    """Secret that ``POST /v1/spend`` wants as bearer token; "" = the public write key is enough."""
    webhooks: Webhooks | None = field(default=None, repr=False)
    """How the senders of webhooks are known; None = nobody may send any, and postbacks need no key."""
