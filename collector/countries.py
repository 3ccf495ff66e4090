"""Countries of visitors: what a trusted proxy says in a header, else what a file of networks says.

Looked up here and not by the worker, because such a file changes every week: what is read from the log again must say
the same again. Only of the network that is kept anyway (``Client.kept_ip``): the rest of an address tells nothing more.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import maxminddb

from attribution.errors import Misconfigured
from attribution.scenes import country_of
from collector.addresses import Proxies

_CACHED_NETWORKS = 65_536
_CACHED_PEERS = 1_024
_LOOKED_AT = 10_000
"""Records of a file among which some country must be."""
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}", re.ASCII)


class Countries:
    """Where visitors are. Raises ``Misconfigured`` for a file or header that cannot be used."""

    def __init__(self, header: str, file: Path | None, proxies: Proxies) -> None:
        """``header``: its name; "" = none. ``file``: a MaxMind DB with countries."""
        self.header = header.lower()
        if header and not _HEADER_NAME.fullmatch(header):
            raise Misconfigured(
                "HEADWATER_COUNTRY_HEADER is no name of a header.", "Write one such as CF-IPCountry."
            )
        if header and not proxies:
            raise Misconfigured(
                f"{header} would be believed from anybody.",
                "Set HEADWATER_TRUSTED_PROXIES to the networks of the proxy that sends it.",
            )
        self._reader = None if file is None else _open(file)
        self._trusts = lru_cache(_CACHED_PEERS)(proxies.trusts)
        self.of_network = lru_cache(_CACHED_NETWORKS)(self._look_up)
        """The country of a network by its first address; \"\" = unknown."""
        self._is_asked = bool(header) or file is not None

    def of(self, headers: Mapping[str, str], peer: str, network: str) -> str:
        """The country of who sends ``headers``; ``peer`` is the other end of the connection, ``network`` what is kept
        of the client's address."""
        if not self._is_asked:
            return ""
        if self.header and (said := headers.get(self.header)) and self._trusts(peer):
            country = country_of(said)
            if country:
                return country
        return self.of_network(network)

    def _look_up(self, network: str) -> str:
        if self._reader is None or not network:
            return ""
        try:
            return _country_in(self._reader.get(network))
        except (ValueError, maxminddb.InvalidDatabaseError):
            # IPv6 in a file of IPv4, or a damaged record: the hit counts all the same.
            return ""


def _open(file: Path) -> maxminddb.Reader:
    remedy = "Set HEADWATER_GEOIP_FILE to an .mmdb file with countries (GeoLite2 Country, DB-IP Lite), or unset it."
    try:
        reader = maxminddb.open_database(str(file))
        has_countries = any(_country_in(record) for _, record in islice(reader, _LOOKED_AT))
    except OSError as error:
        raise Misconfigured(f"{file} cannot be read: {error.strerror or error}.", remedy) from error
    except (maxminddb.InvalidDatabaseError, ValueError) as error:
        raise Misconfigured(f"{file} is no MaxMind DB, or damaged: {error}.", remedy) from error
    if not has_countries:
        raise Misconfigured(f"{file} holds no countries ({reader.metadata().database_type}).", remedy)
    return reader


def _country_in(record: Any) -> str:
    """The country of a record: as MaxMind and DB-IP write it, or flat (IPinfo). Nothing else of it is looked at."""
    if not isinstance(record, dict):
        return ""
    country = record.get("country")
    code = country.get("iso_code") if isinstance(country, dict) else record.get("country_code") or country
    return country_of(code) if isinstance(code, str) else ""
