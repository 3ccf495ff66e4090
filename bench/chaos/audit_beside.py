"""The self-audit beside a system whose parts die: pass after pass without its pauses. It must never cry wolf."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from redis.asyncio import Redis
from redis.exceptions import RedisError

from attribution.errors import HeadwaterError
from runtime.installation import RUN_FILE
from runtime.processes import audit_config
from runtime.settings import Settings
from streams.audit import Audit, LeaseLost, axes_of, load_state
from streams.audit_axes import in_thread

_PAUSE_S = 1.0


@dataclass
class AuditBeside:
    """Audits the system in ``data_dir``, whose own audit should be off. An asynchronous context manager.

    The stores come back under the same addresses, so one connection to each does for the whole time.
    """

    data_dir: Path
    partitions: int
    complete: int = 0
    """Passes that compared everything they meant to."""
    incomplete: int = 0
    """Passes that did not, or did not even begin: a store was dead."""
    alarms: list[str] = field(default_factory=list)
    """Every difference that was ever an alarm, in words."""

    async def __aenter__(self) -> AuditBeside:
        self._task = asyncio.create_task(self._audit())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _audit(self) -> None:
        audit, redis = await self._connected()
        while True:
            try:
                await audit.tick()
                state = await load_state(redis)
            except (HeadwaterError, LeaseLost, RedisError, OSError):
                self.incomplete += 1
                await asyncio.sleep(_PAUSE_S)
                continue
            if state is None or not state.attempts:
                await asyncio.sleep(_PAUSE_S)
                continue
            self.complete += not state.failure
            self.incomplete += bool(state.failure)
            for finding in state.findings:
                said = f"{finding.difference.check} {finding.difference.subject}: {finding.difference.detail}"
                if finding.is_alarm and said not in self.alarms:
                    self.alarms.append(said)
            await asyncio.sleep(_PAUSE_S)

    async def _connected(self) -> tuple[Audit, Redis]:
        while True:
            try:
                run = json.loads((self.data_dir / RUN_FILE).read_text())
                settings = Settings(clickhouse=run["clickhouse"], audit_seconds=_PAUSE_S)
                config = await in_thread(partial(audit_config, settings))
            except (HeadwaterError, OSError, ValueError):
                await asyncio.sleep(_PAUSE_S)
                continue
            assert config is not None
            redis = Redis.from_url(run["redis"], socket_timeout=10)
            axes = axes_of(config.reader, redis, self.partitions)
            return Audit(redis, axes, _PAUSE_S, share=1.0), redis
