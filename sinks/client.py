"""One way to connect to ClickHouse, in production and on one machine alike: the HTTP interface."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote, urlsplit

import clickhouse_connect
from clickhouse_connect.driver import httputil
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import Error

from attribution.errors import Misconfigured, Transient
from sinks.engine_errors import explain_error
from sinks.names import quote_identifier

SETTINGS: dict[str, Any] = {
    # On by default since 26.2, and it would answer before the rows are in a part.
    "async_insert": 0,
    # Off by default before 26.2: a repeated insert would count twice in the roll-up.
    "deduplicate_blocks_in_dependent_materialized_views": 1,
}


def connect(
    url: str,
    database: str,
    *,
    wait: float = 10.0,
    timeout: float = 60.0,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Client:
    """A client for ``database`` at ``url`` (``http[s]://[user[:password]@]host[:port]``) that threads may
    share.

    ``wait`` is how many seconds to go on trying, ``timeout`` how many one request may take. The database need
    not exist yet. Raises ``Misconfigured`` for a bad URL or account, ``Transient`` when nobody answers in
    time.
    """
    quote_identifier(database)
    arguments = _parse(url)
    deadline = clock() + wait
    pause = 0.05
    while True:
        pool = httputil.get_pool_manager(maxsize=16, num_pools=2, verify=True)
        try:
            client: Client = clickhouse_connect.get_client(
                **arguments,
                settings=SETTINGS,
                # A session would refuse a second query at the same time.
                autogenerate_session_id=False,
                client_name="headwater",
                connect_timeout=min(10, max(1, int(timeout))),
                send_receive_timeout=max(1, int(timeout)),
                compress=False,
                pool_mgr=pool,
                query_limit=0,
            )
        except Error as error:
            pool.clear()
            reason = explain_error(error)
            if not isinstance(reason, Transient) or clock() >= deadline:
                raise reason from error
            sleep(pause)
            pause = min(pause * 2, 1.0)
            continue
        # Given only now: the client's own first queries would fail if the database did not exist yet.
        client.database = database
        return client


def _parse(url: str) -> dict[str, Any]:
    hint = "Set HEADWATER_CLICKHOUSE to http[s]://[user[:password]@]host[:port]."
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise Misconfigured("The ClickHouse URL cannot be read.", hint) from error
    if (
        parts.scheme not in ("http", "https")
        or not parts.hostname
        or parts.path not in ("", "/")
        or parts.query
    ):
        # The URL itself stays out of the message: it may hold a password.
        raise Misconfigured("The ClickHouse URL is no HTTP address.", hint)
    secure = parts.scheme == "https"
    return {
        "interface": parts.scheme,
        "host": parts.hostname,
        "port": port or (8443 if secure else 8123),
        "username": unquote(parts.username or "default"),
        "password": unquote(parts.password or ""),
        "secure": secure,
    }
