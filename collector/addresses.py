"""Client addresses: who is asking, which network that is, and what of it may be kept."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import NamedTuple

from attribution.errors import Misconfigured


class Client(NamedTuple):
    """One client as far as the collector cares."""

    network: str
    """/24 of IPv4 or /64 of IPv6: what the rate limit counts."""
    kept_ip: str
    """/24 of IPv4 or /48 of IPv6: the only form that is ever written."""
    is_private: bool
    """Loopback or a private network."""


NOBODY = Client("", "", False)


def _parse(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text.strip().strip("[]").partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped
    return address


@lru_cache(maxsize=65_536)
def client_of(ip: str) -> Client:
    """Networks of an address in text form; ``NOBODY`` if it is no address."""
    address = _parse(ip)
    if address is None:
        return NOBODY
    if address.version == 4:
        kept = str(ip_network((address, 24), strict=False).network_address)
        return Client(kept, kept, address.is_private)
    network = str(ip_network((address, 64), strict=False).network_address)
    kept = str(ip_network((address, 48), strict=False).network_address)
    return Client(network, kept, address.is_private)


class Proxies:
    """Networks whose ``X-Forwarded-For`` is believed. Raises ``Misconfigured`` for anything else than networks."""

    def __init__(self, networks: tuple[str, ...]) -> None:
        try:
            self._networks = [ip_network(network) for network in networks]
        except ValueError as error:
            raise Misconfigured(
                f"A trusted proxy is no network: {error}.", "Write networks such as 10.0.0.0/8 or ::1/128."
            ) from error

    def __bool__(self) -> bool:
        return bool(self._networks)

    def resolve(self, peer: str, forwarded_for: str) -> str:
        """The nearest address that is not a trusted proxy, walking back from the connection."""
        ip = peer
        hops = forwarded_for.split(",") if forwarded_for else []
        while hops and self.trusts(ip):
            hop = _parse(hops.pop())
            if hop is None:
                break
            ip = str(hop)
        return ip

    def trusts(self, ip: str) -> bool:
        """Whether ``ip`` is one of them."""
        address = _parse(ip)
        return address is not None and any(address in network for network in self._networks)
