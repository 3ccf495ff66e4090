"""What each command runs: settings in, a running part out."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import time
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attribution.errors import Misconfigured
from attribution.spend.click_costs import ClickCostRules
from runtime.settings import Settings
from runtime.wiring import deals_of, funnel_of, policy_of, words_of

if TYPE_CHECKING:
    from api.config import ApiConfig
    from runtime.imports.spend_options import SpendOptions
    from runtime.up import Up, UpOptions
    from streams.audit import AuditConfig
    from streams.learning import LearnConfig

_GC_THRESHOLD = 2_000_000
"""Objects made and not freed before the worker looks for cycles among the young ones: some batches."""


def up_options(
    data_dir: Path | None, collector_port: int | None, api_port: int | None, workers: int
) -> UpOptions:
    """The options of ``up`` from the command line and the environment."""
    from runtime.up import UpOptions

    settings = Settings()
    explicit = settings.model_fields_set
    return UpOptions(
        data_dir=data_dir or settings.data_dir,
        collector_port=collector_port
        if collector_port is not None or "collector_port" not in explicit
        else settings.collector_port,
        api_port=api_port if api_port is not None or "api_port" not in explicit else settings.api_port,
        workers=workers,
    )


def run_collector(settings: Settings) -> None:
    """One collector until it is told to stop."""
    from collector.config import CollectorConfig
    from collector.server import run
    from runtime.webhooks_file import webhooks_of

    sites = words_of(settings.sites)
    if not sites:
        raise Misconfigured("No website may send anything.", "Set HEADWATER_SITES to at least one write key.")
    run(
        CollectorConfig(
            sites=frozenset(sites),
            spool_dir=settings.data_dir / "spool",
            kafka=settings.kafka,
            kafka_idempotent=settings.kafka_idempotent,
            partitions=settings.partitions,
            redis=settings.redis,
            host=settings.collector_host,
            port=settings.collector_port,
            spool_max_bytes=settings.spool_max_bytes,
            rate_per_second=settings.rate_per_second,
            rate_per_site=settings.rate_per_site,
            trusted_proxies=words_of(settings.trusted_proxies),
            country_header=settings.country_header,
            geoip_file=settings.geoip_file,
            cookie_secure=settings.cookie_secure,
            default_currency=settings.currency,
            spend_key=settings.spend_key.get_secret_value(),
            webhooks=webhooks_of(settings, frozenset(sites)),
        )
    )


def run_worker(settings: Settings) -> int:
    """One worker until it is told to stop, or dies rather than guesses; its exit code."""
    import uvloop

    from runtime.allocator import keep_freed_memory
    from sinks.client import connect
    from sinks.windows import check_windows
    from sinks.writer import WRITE_SECONDS, RowWriter
    from streams.worker import Worker, WorkerConfig

    keep_freed_memory()
    client = connect(settings.clickhouse, settings.database, timeout=WRITE_SECONDS)
    check_windows(client, settings.database)
    audit = audit_config(settings)

    async def work() -> int:
        worker = Worker(
            WorkerConfig(
                kafka=settings.kafka,
                kafka_idempotent=settings.kafka_idempotent,
                redis=settings.redis,
                partitions=settings.partitions,
                policy=policy_of(settings),
                default_currency=settings.currency,
                batch_max_hits=settings.batch_max_hits,
                batch_wait_ms=settings.batch_wait_ms,
                deals=deals_of(settings),
                click_costs=ClickCostRules(settings.click_cost_parameter, settings.click_cost_currency),
                timelines_max_bytes=settings.timelines_max_bytes,
                timeline_seconds=max(1, int(settings.timeline_days * 86_400)),
                metrics_port=settings.worker_metrics_port,
                writer_factory=lambda: RowWriter(client, settings.database),
                audit=audit,
                learn=learn_config(settings),
            )
        )
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, worker.stop)
        return await worker.run()

    # Timelines live long and hold no cycles: at the usual thresholds the collector of cycles would walk all of them
    # for a third of the worker's time.
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD, 50, 100)
    return uvloop.run(work())


def audit_config(settings: Settings) -> AuditConfig | None:
    """The self-audit's configuration; None when it is off. Raises ``Transient``, ``Misconfigured``."""
    from sinks.audit import LIMITS, AuditReader
    from sinks.client import connect
    from streams.audit import AuditConfig

    if not settings.audit_seconds:
        return None
    client = connect(settings.clickhouse, settings.database)
    for name, value in LIMITS.items():
        client.set_client_setting(name, value)
    longest_session = policy_of(settings).session_cap_ms // 1000
    reader = AuditReader(client, settings.database, longest_session_seconds=longest_session)
    return AuditConfig(settings.audit_seconds, reader)


def run_api(settings: Settings) -> None:
    """One query API until it is told to stop."""
    from api.server import run

    run(api_config(settings))


def api_config(settings: Settings) -> ApiConfig:
    """The query service's configuration. Raises ``Misconfigured``."""
    from api.config import ApiConfig

    return ApiConfig(
        clickhouse=settings.clickhouse,
        database=settings.database,
        read_keys=words_of(settings.read_keys.get_secret_value()),
        currency=settings.currency,
        qualified_leads=words_of(settings.qualified_leads),
        funnel=funnel_of(settings),
        margin=Decimal(settings.margin),
        policy=policy_of(settings),
        host=settings.api_host,
        port=settings.api_port,
    )


def run_migrate(settings: Settings) -> list[str]:
    """Create or upgrade topics and tables; one line per thing done."""
    from sinks.client import connect
    from sinks.migrate import migrate
    from sinks.rates import fill_bank_rates
    from sinks.windows import check_windows
    from streams.kafka_admin import ensure_topics
    from streams.topics import ALL

    asyncio.run(ensure_topics(settings.kafka, settings.partitions, settings.kafka_replication))
    client = connect(settings.clickhouse, settings.database)
    applied = migrate(client, settings.database)
    check_windows(client, settings.database)
    rates = fill_bank_rates(client, settings.database, time.time_ns() // 1_000_000)
    lines = [f"topic {name}: {settings.partitions} partitions" for name in ALL]
    return [
        *lines,
        *(f"migration {name}: applied" for name in applied),
        *([f"exchange rates: {rates} of the ECB written"] if rates else []),
        f"database {settings.database}: up to date",
    ]


def run_import(settings: Settings, kind: str, files: list[Path], base_url: str | None) -> int:
    """Load files, all but exchange rates and deals through the collector; the exit code."""
    if kind == "rates":
        from rich.console import Console

        from runtime.imports.rates import import_rates

        return import_rates(settings, files, Console())
    if kind == "deals":
        from runtime.imports.command import import_deals_command

        return import_deals_command(settings, files)
    from runtime.imports.command import import_command

    return import_command(settings, kind, files, base_url)


def run_import_spend(settings: Settings, files: list[Path], options: SpendOptions) -> int:
    """Load cost reports through the collector; the exit code."""
    from runtime.imports.command import import_spend_command

    return import_spend_command(settings, files, options)


def run_replay(settings: Settings, *, reason: str, dry_run: bool) -> Counter[str]:
    """Dead letters back in; counts by reason."""
    from sinks.client import connect
    from sinks.writer import RowWriter
    from streams.replay import replay

    client = connect(settings.clickhouse, settings.database)
    return asyncio.run(
        replay(
            client,
            RowWriter(client, settings.database),
            settings.kafka,
            idempotent=settings.kafka_idempotent,
            partitions=settings.partitions,
            database=settings.database,
            reason=reason,
            dry_run=dry_run,
        )
    )


def learn_config(settings: Settings) -> LearnConfig | None:
    """How the worker lets a child learn; None when it is off."""
    from streams.learning import LearnConfig

    if not settings.learn_hours:
        return None
    # One thread: the stream keeps the other cores.
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    command = (sys.executable, "-m", "runtime.cli", "learn", "--child-of", str(os.getpid()))
    return LearnConfig(settings.learn_hours * 3600, command, environment)


def run_demo_command(data_dir: Path | None, *, leave: bool, people: int, seed: int) -> int:
    """``up`` with simulated traffic; the exit code."""
    from rich.console import Console

    from runtime.demo import run_demo
    from runtime.installation import settings_of
    from runtime.simulator.shop_sender import with_sender
    from runtime.up import run_up

    console = Console()
    options = with_sender(up_options(data_dir, None, None, 1))

    async def on_ready(up: Up) -> int | None:
        run: dict[str, Any] = up.run
        settings = settings_of(options.data_dir)
        return await run_demo(run, settings, exit_after=leave, seed=seed, people=people, console=console)

    return asyncio.run(run_up(options, on_ready))
