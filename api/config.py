"""What the query service must be told."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from api.plan import QUALIFIED_LEADS
from attribution.errors import Misconfigured
from attribution.funnel import DEFAULT_FUNNEL, Funnel
from attribution.money import currency_of
from attribution.policy import AttributionPolicy


@dataclass(frozen=True, kw_only=True)
class ApiConfig:
    """One query API. Raises ``Misconfigured`` when nobody could use it, ``Rejected`` for an unknown
    currency.
    """

    clickhouse: str = field(repr=False)
    """HTTP URL, ``user:password@`` allowed."""
    database: str
    read_keys: tuple[str, ...] = field(repr=False)
    """Secrets that may read; more than one, so that a key can be replaced without a gap."""
    currency: str = "USD"
    """ISO 4217 currency of answers when none is asked for."""
    qualified_leads: tuple[str, ...] = QUALIFIED_LEADS
    """Conversion types that are qualified leads."""
    funnel: Funnel = DEFAULT_FUNNEL
    margin: Decimal = Decimal(1)
    """The part of revenue that is margin, 0 to 1."""
    policy: AttributionPolicy = field(default_factory=AttributionPolicy)
    host: str = "127.0.0.1"
    port: int = 8081
    max_seconds: int = 30
    """Longest time ClickHouse may take for one answer."""

    def __post_init__(self) -> None:
        if not self.read_keys or not all(self.read_keys):
            raise Misconfigured("The query API has no read key.", "Set HEADWATER_READ_KEYS.")
        currency_of(self.currency)
