"""How cost reports are imported: what the person knows that the reports do not say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from attribution.errors import Misconfigured
from attribution.spend.rows import Assumed


@dataclass(frozen=True)
class SpendOptions:
    """How to import. Assumptions are by ad network, "" for all others; what a report says itself goes first."""

    currencies: Mapping[str, str] = field(default_factory=dict)
    accounts: Mapping[str, str] = field(default_factory=dict)
    time_zones: Mapping[str, str] = field(default_factory=dict)
    by_day: bool = False
    """Reconcile each day, not only each network and currency."""
    is_strict: bool = False
    """Send nothing while a row is bad."""
    is_dry_run: bool = False

    @property
    def is_default(self) -> bool:
        """Nothing was asked for."""
        return self == SpendOptions()

    def assumed(self) -> dict[str, Assumed]:
        """The same as ``read_reports`` takes it."""

        def told(values: Mapping[str, str], network: str) -> str:
            return values.get(network, values.get("", ""))

        networks = {"", *self.currencies, *self.accounts, *self.time_zones}
        return {
            network: Assumed(
                currency=told(self.currencies, network),
                time_zone=told(self.time_zones, network),
                account_id=told(self.accounts, network),
            )
            for network in networks
        }


def spend_options(
    currencies: Sequence[str] | None,
    accounts: Sequence[str] | None,
    time_zones: Sequence[str] | None,
    *,
    by_day: bool,
    is_strict: bool,
    is_dry_run: bool,
) -> SpendOptions:
    """Options as the command line gives them. Raises ``Misconfigured``."""
    return SpendOptions(
        _by_network("--currency", currencies),
        _by_network("--account", accounts),
        _by_network("--time-zone", time_zones),
        by_day,
        is_strict,
        is_dry_run,
    )


def _by_network(option: str, texts: Sequence[str] | None) -> dict[str, str]:
    values: dict[str, str] = {}
    for text in texts or ():
        network, _, value = text.rpartition("=")
        if not value.strip() or network.strip() in values:
            raise Misconfigured(
                f"{option} {text} says nothing, or is the second for its network.",
                f"Write {option} linkedin_ads=... for one network, or {option} ... for all others.",
            )
        values[network.strip()] = value.strip()
    return values
