"""Finding the running installation: ``<data-dir>/run.json`` of ``headwater up``, else the environment."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from attribution.errors import Misconfigured
from runtime.settings import Settings

RUN_FILE = "run.json"
SHARED = (
    *("kafka_idempotent", "kafka_replication", "partitions", "database", "currency"),
    *("qualified_leads", "margin", "funnel_file"),
    *("session_gap_minutes", "session_switch", "conversion_lookbacks", "policy"),
    *("learn_hours", "learn_days", "learn_types", "learn_order", "learn_worth"),
)
"""Settings that ``up`` writes into ``run.json`` under ``settings``: a command in another terminal must judge by the
rules that the worker credits by, not by those of its own environment."""


def running(data_dir: Path) -> dict[str, Any] | None:
    """What ``up`` says of itself while it runs (contract: collector, api, clickhouse, ... ), or None.

    An ``up`` that was killed leaves its file behind: that is None as well.
    """
    try:
        run = json.loads((data_dir / RUN_FILE).read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise Misconfigured(
            f"{data_dir / RUN_FILE} cannot be read: {error}.", "Stop `headwater up` and start it again."
        ) from error
    if not isinstance(run, dict):
        raise Misconfigured(
            f"{data_dir / RUN_FILE} is no JSON object.", "Stop `headwater up` and start it again."
        )
    return run if _is_alive(run.get("pids", {}).get("up")) else None


def settings_of(data_dir: Path | None) -> Settings:
    """The settings, with addresses and rules of a running ``up`` in place of what the environment leaves open.

    Raises ``Misconfigured`` when nothing runs there and the environment names no ClickHouse either.
    """
    settings = Settings()
    run = running(data_dir or settings.data_dir)
    update: dict[str, Any] = {} if data_dir is None else {"data_dir": data_dir}
    if run is None and "clickhouse" not in settings.model_fields_set:
        raise Misconfigured(
            f"Nothing runs in {data_dir or settings.data_dir}.",
            "Start it with `headwater up`, name its folder with --data-dir, or set HEADWATER_CLICKHOUSE and the like.",
        )
    if run is not None:
        told = {name: run[name] for name in ("clickhouse", "redis", "kafka")}
        told |= {name: value for name, value in run["settings"].items() if name in SHARED}
        told["sites"] = run["site_key"]
        update |= {name: value for name, value in told.items() if name not in settings.model_fields_set}
    return Settings(**update)


def _is_alive(pid: object) -> bool:
    if not isinstance(pid, int):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's
    return True
