"""The console script ``headwater``. Exit codes: 0 done; 1 the answer is no; 2 wrong use or configuration.

Each command imports what it needs when it runs, so that ``headwater --help`` is quick.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import structlog
import typer
from pydantic import ValidationError

from attribution.errors import Misconfigured, Rejected, Transient
from runtime.choices import (
    Basis,
    ExplanationFormat,
    Format,
    FunnelBy,
    FunnelOrder,
    ImportKind,
    ReplayOf,
    ResendHits,
    WorthOf,
)

app = typer.Typer(
    name="headwater",
    help="Which marketing brought this revenue? Live, under every model, balanced to the cent.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Folder of the installation (default: HEADWATER_DATA_DIR, .headwater)."),
]


@app.command()
def up(
    data_dir: DataDir = None,
    collector_port: Annotated[
        int | None,
        typer.Option(min=0, max=65_535, help="Port of the collector (default 8080; 0 = any free one)."),
    ] = None,
    api_port: Annotated[
        int | None,
        typer.Option(min=0, max=65_535, help="Port of the query API (default 8081; 0 = any free one)."),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Worker processes.")] = 1,
    kafka: Annotated[
        str,
        typer.Option(
            help="embedded; apache (Apache Kafka's own broker, needs Java); or HOST:PORT of a cluster."
        ),
    ] = "embedded",
    brokers: Annotated[int, typer.Option(help="Nodes of --kafka apache: 1 or 3.")] = 1,
) -> None:
    """Start the whole system on this machine; Ctrl-C stops it, the next `up` goes on."""
    from runtime.up import run_up

    options = _up_options(data_dir, collector_port, api_port, workers)
    raise typer.Exit(asyncio.run(run_up(replace(options, kafka=kafka, brokers=brokers))))


@app.command()
def demo(
    data_dir: DataDir = None,
    leave: Annotated[bool, typer.Option("--exit", help="Stop after the report.")] = False,
    people: Annotated[int, typer.Option(min=1, help="Simulated people.")] = 4_000,
    seed: Annotated[int, typer.Option(help="The same seed makes the same people.")] = 7,
) -> None:
    """`up` plus simulated traffic whose true channel effects are known."""
    from runtime.processes import run_demo_command

    raise typer.Exit(run_demo_command(data_dir, leave=leave, people=people, seed=seed))


@app.command()
def collect() -> None:
    """Run one collector: the HTTP intake."""
    from runtime.processes import run_collector

    run_collector(_settings())


@app.command()
def work() -> None:
    """Run one worker: sessions, touchpoints, credit."""
    from runtime.processes import run_worker

    raise typer.Exit(run_worker(_settings()))


@app.command()
def serve() -> None:
    """Run one query API with the dashboard."""
    from runtime.processes import run_api

    run_api(_settings())


@app.command()
def migrate(data_dir: DataDir = None) -> None:
    """Create or upgrade Kafka topics and ClickHouse tables. Safe to repeat."""
    from runtime.processes import run_migrate

    for line in run_migrate(_installation(data_dir)):
        typer.echo(line)


@app.command("import")
def import_(
    kind: Annotated[ImportKind, typer.Argument(help="What the files hold.")],
    files: Annotated[list[Path], typer.Argument(exists=True, dir_okay=False, readable=True)],
    base_url: Annotated[
        str | None,
        typer.Option(help="Address of the website of a log; guessed from its referrers if absent."),
    ] = None,
    currency: Annotated[
        list[str] | None,
        typer.Option(help="Spend: of reports that do not say it, [NETWORK=]CODE, such as linkedin_ads=USD."),
    ] = None,
    account: Annotated[
        list[str] | None, typer.Option(help="Spend: of reports that do not say it, [NETWORK=]ID.")
    ] = None,
    time_zone: Annotated[
        list[str] | None,
        typer.Option(help="Spend: of accounts that do not say it, [NETWORK=]ZONE such as Europe/Berlin."),
    ] = None,
    by_day: Annotated[bool, typer.Option("--by-day", help="Spend: reconcile each day.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Spend: send nothing while a row is bad.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Spend: read and reconcile only.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Load files: hits (CSV, JSONL, Parquet), access logs, cost reports (docs/spend.md), own exchange rates (CSV),
    deals and orders of the past (CSV, JSONL; docs/deals.md).

    Safe to repeat.
    """
    from runtime.imports.spend_options import spend_options
    from runtime.processes import run_import, run_import_spend

    options = spend_options(currency, account, time_zone, by_day=by_day, is_strict=strict, is_dry_run=dry_run)
    if kind is ImportKind.spend:
        if base_url is not None:
            raise Misconfigured("--base-url is for logs.", "Leave it out.")
        raise typer.Exit(run_import_spend(_installation(data_dir), files, options))
    if not options.is_default:
        raise Misconfigured("An option is for `import spend` only.", "Leave out all but --base-url.")
    raise typer.Exit(run_import(_installation(data_dir), kind.value, files, base_url))


@app.command()
def report(
    by: Annotated[
        str, typer.Option("--by", help="Dimensions, comma separated: channel, source, day, ...")
    ] = "channel",
    model: Annotated[str, typer.Option(help="Attribution model.")] = "linear",
    since: Annotated[str | None, typer.Option("--from", help="First day, YYYY-MM-DD, UTC.")] = None,
    until: Annotated[str | None, typer.Option("--to", help="Last day, YYYY-MM-DD, UTC.")] = None,
    basis: Annotated[
        Basis, typer.Option(help="Date credits by the conversion or by the touch.")
    ] = Basis.conversion,
    currency: Annotated[str | None, typer.Option(help="ISO 4217; other money is converted.")] = None,
    as_of: Annotated[
        str | None,
        typer.Option("--as-of", help="As it stood at the end of a day or at an instant (ISO 8601)."),
    ] = None,
    spread: Annotated[
        bool, typer.Option("--spread", help="Beside each number, from what to what the models say.")
    ] = False,
    convert: Annotated[
        bool,
        typer.Option("--convert/--no-convert", help="Other currencies at the rate of the day, or left out."),
    ] = True,
    customers: Annotated[
        bool,
        typer.Option("--customers", help="Also new customers, what they cost and brought, days to payback."),
    ] = False,
    changed_since: Annotated[
        str | None,
        typer.Option("--changed-since", help="In place of the report, why it changed since then, by cause."),
    ] = None,
    paths: Annotated[
        bool,
        typer.Option("--paths", help="In place of all that: how people came, length, time lag, assists."),
    ] = False,
    format_: Annotated[Format, typer.Option("--format", help="How to print.")] = Format.table,
    data_dir: DataDir = None,
) -> None:
    """What each channel brought, under one model."""
    from runtime.answers import print_changes, print_paths, print_report

    settings = _installation(data_dir)
    if changed_since is not None:
        print_changes(
            settings,
            by=by,
            model=model,
            date_range=(since, until) if since or until else None,
            basis=basis.value,
            currency=currency,
            since=changed_since,
            until=as_of,
            format_=format_.value,
        )
        return
    if paths:
        print_paths(settings, since=since, until=until, currency=currency, as_of=as_of, format_=format_.value)
        return
    print_report(
        settings,
        by=by,
        model=model,
        date_range=(since, until) if since or until else None,
        basis=basis.value,
        currency=currency or settings.currency,
        as_of=as_of,
        spread=spread,
        convert=convert,
        customers=customers,
        format_=format_.value,
    )


@app.command()
def funnel(
    since: Annotated[
        str | None, typer.Option("--from", help="First day of entering, YYYY-MM-DD, UTC.")
    ] = None,
    until: Annotated[str | None, typer.Option("--to", help="Last day, YYYY-MM-DD, UTC.")] = None,
    by: Annotated[
        FunnelBy | None, typer.Option("--by", help="Also for each channel that brought people.")
    ] = None,
    channel: Annotated[
        list[str] | None, typer.Option(help="Only people whom this channel brought; repeatable.")
    ] = None,
    site: Annotated[list[str] | None, typer.Option(help="Only of this website; repeatable.")] = None,
    order: Annotated[
        FunnelOrder, typer.Option(help="strict: only who reached all stages before, in this order.")
    ] = FunnelOrder.any,
    currency: Annotated[str | None, typer.Option(help="ISO 4217; other money is converted.")] = None,
    format_: Annotated[Format, typer.Option("--format", help="How to print.")] = Format.table,
    data_dir: DataDir = None,
) -> None:
    """How many people reach each stage, how long that takes, what each costs."""
    from runtime.funnel import print_funnel

    asked: dict[str, Any] = {
        **{"from": since, "to": until, "by": by.value if by else None, "order": order.value},
        **{"channel": channel or [], "site": site or [], "currency": currency},
    }
    print_funnel(_installation(data_dir), asked, format_.value)


@app.command()
def explain(
    conversion: Annotated[str, typer.Argument(help="A conversion id, or an order id.")],
    format_: Annotated[
        ExplanationFormat, typer.Option("--format", help="How to print.")
    ] = ExplanationFormat.table,
    data_dir: DataDir = None,
) -> None:
    """Every touchpoint considered for one conversion, the credit under each model, every correction since."""
    from runtime.answers import print_explanation

    if not print_explanation(_installation(data_dir), conversion, format_.value):
        raise typer.Exit(1)


@app.command()
def replay(
    what: Annotated[
        ReplayOf, typer.Argument(help="What goes through the stream again.")
    ] = ReplayOf.dead_letters,
    reason: Annotated[str, typer.Option(help="Only dead letters of this reason.")] = "",
    sender: Annotated[str, typer.Option(help="Only deliveries of this sender: hubspot, stripe, ...")] = "",
    since: Annotated[
        str,
        typer.Option("--from", help="Only what a delivery of this day or later tells of, YYYY-MM-DD, UTC."),
    ] = "",
    until: Annotated[str, typer.Option("--to", help="Or of this day or earlier.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Send dead letters through the stream again; or read deliveries again by the mapping of today."""
    from runtime.answers import console
    from runtime.processes import run_replay
    from runtime.remap import RemapOptions, run_remap

    if what is ReplayOf.deliveries:
        options = RemapOptions(sender, since, until, dry_run)
        raise typer.Exit(run_remap(_installation(data_dir), options, console()))
    if sender or since or until:
        raise Misconfigured(
            "An option is for `replay deliveries` only.", "Leave out --sender, --from and --to."
        )
    counts = run_replay(_installation(data_dir), reason=reason, dry_run=dry_run)
    for name, count in sorted(counts.items()):
        typer.echo(f"{name}: {count}")
    typer.echo(f"{'would replay' if dry_run else 'replayed'} {sum(counts.values())} dead letters")


@app.command()
def learn(
    order: Annotated[
        int | None, typer.Option(min=1, max=4, help="Of the Markov model (default HEADWATER_LEARN_ORDER).")
    ] = None,
    worth: Annotated[
        WorthOf | None, typer.Option(help="Of a set of channels to Shapley (default HEADWATER_LEARN_WORTH).")
    ] = None,
    since: Annotated[
        datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help="First day, UTC.")
    ] = None,
    until: Annotated[
        datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help="Last day, UTC.")
    ] = None,
    site: Annotated[str, typer.Option(help="Only this website.")] = "",
    type_: Annotated[
        list[str] | None,
        typer.Option(
            "--type", help="Learn from these conversions (default: those that bring money); repeatable."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the intervals.")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be learnt.")] = False,
    activate: Annotated[
        bool, typer.Option("--activate/--no-activate", help="Credit new conversions by it.")
    ] = True,
    show: Annotated[bool, typer.Option("--show", help="Only say what the active tables say.")] = False,
    child_of: Annotated[int, typer.Option(hidden=True, help="Process id of a worker.")] = 0,
    data_dir: DataDir = None,
) -> None:
    """Learn Markov and Shapley from past journeys; new conversions are credited by them, too."""
    from attribution.learnt.tables import Worth
    from runtime.learn import LearnOptions, run_learn

    options = LearnOptions(
        order=order,
        worth=Worth(worth.value) if worth else None,
        since=since.date() if since else None,
        until=until.date() if until else None,
        site=site,
        types=tuple(type_ or ()),
        seed=seed,
        dry_run=dry_run,
        activate=activate,
    )
    settings = _settings() if child_of else _installation(data_dir)
    raise typer.Exit(run_learn(settings, options, show=show, child_of=child_of))


@app.command()
def restate(
    since: Annotated[
        str | None, typer.Option("--from", help="First day of the conversions, YYYY-MM-DD, UTC.")
    ] = None,
    until: Annotated[str | None, typer.Option("--to", help="Last day, YYYY-MM-DD, UTC.")] = None,
    site: Annotated[str, typer.Option(help="Only conversions of this website.")] = "",
    policy: Annotated[
        str,
        typer.Option(help="A policy file, or the version of an earlier policy (default: the active one)."),
    ] = "",
    hits: Annotated[
        ResendHits, typer.Option(help="Judge stored hits once more; auto: if sessions or touchpoints change.")
    ] = ResendHits.auto,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would change.")] = False,
    resume: Annotated[
        str, typer.Option(metavar="ID", help="Go on with a restatement that was stopped.")
    ] = "",
    give_up: Annotated[
        str, typer.Option(metavar="ID", help="Forget one that was stopped; nothing is undone.")
    ] = "",
    list_: Annotated[bool, typer.Option("--list", help="Show all restatements.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Credit a period under another policy, by entries with cause policy, while the stream goes on. Safe to repeat."""
    from runtime.answers import console
    from runtime.restate import RestateOptions, restate_command

    options = RestateOptions(since, until, site, policy, hits.value, dry_run, resume, give_up, list_)
    raise typer.Exit(restate_command(_installation(data_dir), options, console()))


policy_app = typer.Typer(help="The rules by which credit is given.", invoke_without_command=True)
app.add_typer(policy_app, name="policy")


@policy_app.callback()
def policy(context: typer.Context, data_dir: DataDir = None) -> None:
    """The active policy as a policy file: its version, and which keys have not their default."""
    if context.invoked_subcommand is None:
        from runtime.policies import active_policy

        typer.echo(active_policy(data_dir), nl=False)


@policy_app.command()
def check(
    file: Annotated[Path, typer.Argument(help="A policy file.", exists=True, dir_okay=False, readable=True)],
) -> None:
    """Whether a policy file is right; every line that is not."""
    from runtime.policies import check_policy

    is_right, lines = check_policy(file)
    for line in lines:
        typer.echo(line, err=not is_right)
    if not is_right:
        raise typer.Exit(2)


@app.command()
def doctor(data_dir: DataDir = None) -> None:
    """What is wrong with this installation: books, roll-ups, dead letters, servers."""
    from runtime.answers import print_findings

    if not print_findings(_installation(data_dir)):
        raise typer.Exit(1)


def _settings() -> Any:
    from runtime.settings import Settings

    return Settings()


def _installation(data_dir: Path | None) -> Any:
    from runtime.installation import settings_of

    return settings_of(data_dir)


def _up_options(data_dir: Path | None, collector_port: int | None, api_port: int | None, workers: int) -> Any:
    from runtime.processes import up_options

    return up_options(data_dir, collector_port, api_port, workers)


def _configure_logs() -> None:
    """One JSON line per happening on standard error; a terminal gets colours."""
    renderer: Any = (
        structlog.dev.ConsoleRenderer()
        if sys.stderr.isatty()
        else structlog.processors.JSONRenderer(sort_keys=True)
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    # What they warn of we raise, log and count ourselves. clickhouse_connect sets the level of "urllib3" again.
    for name in ("urllib3.connectionpool", "clickhouse_connect"):
        logging.getLogger(name).setLevel(logging.ERROR)


def main() -> None:
    """Entry point: expected errors become one line and an exit code, never a traceback."""
    _configure_logs()
    try:
        app()
    except Misconfigured as error:
        _fail(str(error), 2)
    except ValidationError as error:
        first = error.errors()[0]
        name = "_".join(str(part) for part in first["loc"]).upper()
        _fail(
            f"HEADWATER_{name}: {first['msg'].removeprefix('Value error, ')}. Change or unset this variable.",
            2,
        )
    except Rejected as error:
        _fail(f"{error.field + ': ' if error.field else ''}{error.message}", 2)
    except Transient as error:
        _fail(f"{error} Is the system running? Start it with: headwater up", 1)


def _fail(line: str, code: int) -> None:
    typer.echo(" ".join(line.split()), err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
