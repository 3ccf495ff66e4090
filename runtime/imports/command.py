"""``headwater import``: which installation the lines go to, and the exit code."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from attribution.errors import Misconfigured
from runtime.imports.deals import import_deals
from runtime.imports.run import import_files
from runtime.imports.spend import import_spend
from runtime.imports.spend_options import SpendOptions
from runtime.installation import running
from runtime.settings import Settings
from runtime.wiring import deals_of, words_of


def import_command(settings: Settings, kind: str, files: Sequence[Path], base_url: str | None = None) -> int:
    """Load ``files`` into the running ``up`` of the data folder, else into the installation of the settings.

    Returns 0 if every line ended in exactly one place, else 1. Raises ``Misconfigured`` and ``Transient``.
    """
    target = running(settings.data_dir) or _installation(settings)
    target = {"database": settings.database, **target}
    result = asyncio.run(
        import_files(kind, files, target, data_dir=settings.data_dir, console=Console(), base_url=base_url)
    )
    return 0 if result.balances else 1


def import_spend_command(settings: Settings, files: Sequence[Path], options: SpendOptions) -> int:
    """Load cost reports. Returns 0 if nothing that they say is missing, else 1.

    Raises ``Misconfigured`` and ``Transient``.
    """
    target = running(settings.data_dir) or _installation(settings)
    result = asyncio.run(
        import_spend(
            files,
            target,
            options,
            spend_key=settings.spend_key.get_secret_value(),
            data_dir=settings.data_dir,
            console=Console(),
        )
    )
    return 0 if result.is_complete else 1


def import_deals_command(settings: Settings, files: Sequence[Path]) -> int:
    """Load deals and orders of the past. Returns 0 if nothing that the files say is missing, else 1.

    Raises ``Misconfigured`` and ``Transient``.
    """
    target = running(settings.data_dir) or _installation(settings)
    site = str(target["site_key"])
    result = asyncio.run(import_deals(files, settings, deals_of(settings), site, Console()))
    return 0 if result.is_complete else 1


def _installation(settings: Settings) -> dict[str, Any]:
    sites = words_of(settings.sites)
    if not sites:
        raise Misconfigured("No website to import for.", "Start `headwater up`, or set HEADWATER_SITES.")
    return {
        "collector": f"http://{settings.collector_host}:{settings.collector_port}",
        "site_key": sites[0],
        "clickhouse": settings.clickhouse,
    }
