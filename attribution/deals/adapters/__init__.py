"""Adapters: each sender's payloads as facts."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from attribution.deals.adapters import hubspot, pipedrive, postback, salesforce, shopify, standard, stripe
from attribution.deals.adapters.base import Adapter, AdapterRules, Envelope, Mapped

__all__ = ["ADAPTERS", "VERSIONS", "Adapter", "AdapterRules", "Envelope", "Mapped"]

_MODULES = (hubspot, pipedrive, postback, salesforce, shopify, standard, stripe)

ADAPTERS: Mapping[str, Adapter] = MappingProxyType({module.SOURCE: module.adapt for module in _MODULES})
"""By source, as the path of the webhook names it."""
VERSIONS: Mapping[str, int] = MappingProxyType({module.SOURCE: module.VERSION for module in _MODULES})
"""A mapping's version; it goes up when the same payload is read otherwise."""
