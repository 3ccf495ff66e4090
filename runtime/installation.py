"""Finding the running installation: ``<data-dir>/run.json`` of ``headwater up``, else the environment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from attribution.errors import Misconfigured
from runtime.settings import Settings

RUN_FILE = "run.json"


def running(data_dir: Path) -> dict[str, Any] | None:
    """What ``up`` says of itself while it runs (contract: collector, api, clickhouse, ... ), or None."""
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
    return run


def settings_of(data_dir: Path | None) -> Settings:
    """The settings, with the addresses of a running ``up`` in place of what the environment leaves open.

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
        for field in ("clickhouse", "redis", "kafka"):
            if field not in settings.model_fields_set:
                update[field] = run[field]
        if "kafka_idempotent" not in settings.model_fields_set:
            update["kafka_idempotent"] = False
        if "sites" not in settings.model_fields_set:
            update["sites"] = run["site_key"]
    return settings.model_copy(update=update)
