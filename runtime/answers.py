"""The commands that answer: report, explain, doctor. They ask ClickHouse as the query API does."""

from __future__ import annotations

import asyncio
import sys
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec
from rich.console import Console
from rich.text import Text

from attribution.errors import HeadwaterError, Rejected
from runtime.settings import Settings
from runtime.wiring import funnel_of, policy_of, words_of

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from api.answers import QueryAnswer
    from api.requests import QueryRequest
    from api.service import QueryService

WIDE = 160
"""Columns of a table that goes to a file or a pipe: nothing is cut off."""
REPORT_METRICS = ("hits", "visitors", "sessions", "conversions", "revenue", "cr", "aov")
COST_METRICS = ("spend", "cpa", "roas", "roi")
"""Beside the others where anything was spent."""
CUSTOMER_METRICS = ("new_customers", "ltv")
CUSTOMER_COST_METRICS = ("cac", "payback_days")
"""Of these on request: who is a customer is told by all conversions of all time."""
AS_OF_METRICS = ("conversions", "revenue", "aov")
"""Of an earlier instant: visits are not dated by when they became known."""
_ROWS_AT_ONCE = 10_000
_OPTIONS = {"dimensions": "--by", "model": "--model", "currency": "--currency"}
_OPTIONS |= {"as_of": "--as-of", "spread": "--spread"}
_OPTIONS |= {"from": "--from", "to": "--to", "from, to": "--from, --to"}
_OPTIONS |= {"date_range": "--from, --to", "date_range.0": "--from", "date_range.1": "--to"}
"""What the fields of a question are called on the command line."""


def console() -> Console:
    """Standard output; wide when it is no terminal."""
    return Console(width=None if sys.stdout.isatty() else WIDE)


def query_service(settings: Settings) -> QueryService:
    """The query service on the settings' ClickHouse. Raises ``Transient`` when it is away."""
    from api.service import QueryService
    from sinks.client import connect

    client = connect(settings.clickhouse, settings.database)
    return QueryService(
        client,
        settings.database,
        policy_of(settings),
        currency=settings.currency,
        qualified_leads=words_of(settings.qualified_leads),
        funnel=funnel_of(settings),
        margin=Decimal(settings.margin),
    )


def print_report(
    settings: Settings,
    *,
    by: str,
    model: str,
    date_range: tuple[str | None, str | None] | None,
    basis: str,
    currency: str,
    as_of: str | None = None,
    spread: bool = False,
    convert: bool = True,
    customers: bool = False,
    format_: str,
) -> None:
    """Print what each value of the dimensions ``by`` brought, and what it cost; new ``customers`` if wanted.

    Raises ``Rejected`` naming the wrong word.
    """
    from pydantic import ValidationError

    from api.catalog import DIMENSIONS
    from api.plan import TIMES
    from api.report import to_csv, to_json, to_table
    from api.requests import QueryRequest, rejected_of

    dimensions = list(words_of(by))
    is_over_time = any(name in TIMES for name in dimensions)
    has_cost = all(DIMENSIONS[name].of_cost for name in dimensions if name in DIMENSIONS)
    metrics = [*(AS_OF_METRICS if as_of is not None else REPORT_METRICS), *(COST_METRICS if has_cost else ())]
    if customers:
        metrics += [*CUSTOMER_METRICS, *(CUSTOMER_COST_METRICS if has_cost else ())]
    try:
        request = QueryRequest(
            metrics=metrics,
            dimensions=dimensions,
            date_range=date_range,
            model=model,
            basis="touch" if basis == "touch" else "conversion",
            currency=currency,
            as_of=as_of,
            spread=spread,
            convert=convert,
            order_by=[]
            if is_over_time
            else [("revenue", "desc"), ("sessions" if as_of is None else "conversions", "desc")],
            limit=_ROWS_AT_ONCE,
        )
        answer = _without_empty_cost(_whole_answer(query_service(settings), request))
    except ValidationError as error:
        raise _of_an_option(rejected_of(error)) from error
    except Rejected as error:
        raise _of_an_option(error) from error
    if format_ == "json":
        print(to_json(answer))
    elif format_ == "csv":
        print(to_csv(answer), end="")
    else:
        console().print(to_table(answer))


def print_changes(
    settings: Settings,
    *,
    by: str,
    model: str,
    date_range: tuple[str | None, str | None] | None,
    basis: str,
    currency: str | None,
    since: str,
    until: str | None,
    format_: str,
) -> None:
    """Print why a report changed between two instants. Raises ``Rejected`` naming the wrong option."""
    from pydantic import ValidationError

    from api.changes import ChangesRequest
    from api.report import changes_to_csv, changes_to_table, to_json
    from api.requests import rejected_of

    try:
        request = ChangesRequest(
            since=since,
            until=until,
            dimensions=list(words_of(by)),
            date_range=date_range,
            model=model,
            basis="touch" if basis == "touch" else "conversion",
            currency=currency,
            limit=_ROWS_AT_ONCE,
        )
        answer = query_service(settings).changes(request)
    except (ValidationError, Rejected) as error:
        wrong = rejected_of(error) if isinstance(error, ValidationError) else error
        field = {"from": "--changed-since", "to": "--as-of"}.get(wrong.field)
        raise Rejected(wrong.reason, wrong.message, field) if field else _of_an_option(wrong) from error
    if format_ == "json":
        print(to_json(answer))
    elif format_ == "csv":
        print(changes_to_csv(answer), end="")
    else:
        console().print(changes_to_table(answer))


def print_paths(
    settings: Settings,
    *,
    since: str | None,
    until: str | None,
    currency: str | None,
    as_of: str | None,
    format_: str,
) -> None:
    """Print the paths before conversions. Raises ``Rejected`` naming the wrong option."""
    from pydantic import ValidationError

    from api.path_report import PathsRequest
    from api.path_table import paths_to_csv, paths_to_table
    from api.report import to_json
    from api.requests import rejected_of

    try:
        request = PathsRequest(since=since, until=until, currency=currency, as_of=as_of)
        answer = query_service(settings).paths(request)
    except ValidationError as error:
        raise _of_an_option(rejected_of(error)) from error
    except Rejected as error:
        raise _of_an_option(error) from error
    if format_ == "json":
        print(to_json(answer))
    elif format_ == "csv":
        print(paths_to_csv(answer), end="")
    else:
        console().print(paths_to_table(answer))


def _whole_answer(service: QueryService, request: QueryRequest) -> QueryAnswer:
    """All pages: a report whose end is missing would not add up."""
    answer = page = service.query(request)
    while page.meta.next_offset is not None:
        page = service.query(request.model_copy(update={"offset": page.meta.next_offset}))
        answer.rows.extend(page.rows)
        if isinstance(answer.spread, list) and isinstance(page.spread, list):
            answer.spread.extend(page.spread)
    return msgspec.structs.replace(answer, meta=msgspec.structs.replace(answer.meta, next_offset=None))


def _without_empty_cost(answer: QueryAnswer) -> QueryAnswer:
    """Without the columns of cost if nothing was spent in all of the time: then no row is there for them alone."""
    if answer.meta.spend is None or answer.meta.spend.billed:
        return answer
    cost = COST_METRICS + CUSTOMER_COST_METRICS
    places = [place for place, name in enumerate(answer.columns) if name not in cost]
    return msgspec.structs.replace(
        answer,
        columns=tuple(answer.columns[place] for place in places),
        rows=[[row[place] for place in places] for row in answer.rows],
        meta=msgspec.structs.replace(answer.meta, spend=None),
    )


def _of_an_option(error: Rejected) -> Rejected:
    """The same, named after the option that was wrong: ``dimensions.0`` is ``--by``."""
    field = _OPTIONS.get(error.field) or _OPTIONS.get(error.field.partition(".")[0], error.field)
    return Rejected(error.reason, error.message, field)


def print_explanation(settings: Settings, conversion: str, format_: str) -> bool:
    """Print why a conversion (by id or order id) is credited as it is; False when nobody knows it."""
    from api.report import explanation_to_text, to_json

    try:
        explanation = query_service(settings).explain(conversion)
    except Rejected as error:
        if error.reason != "not_found":
            raise
        print(error.message, file=sys.stderr)
        return False
    if format_ == "json":
        print(to_json(explanation))
    else:
        console().print(explanation_to_text(explanation))
    return all(explanation.balanced.values())


def print_findings(settings: Settings) -> bool:
    """Print what is wrong with the installation; True when nothing is."""
    from runtime.audit_report import audit_report
    from runtime.learn_report import learning_report
    from sinks.checks import count_dead_letters, run_checks
    from sinks.client import connect
    from sinks.windows import check_windows

    out = console()
    healthy = True

    def say(is_well: bool, name: str, detail: str) -> None:
        nonlocal healthy
        healthy = healthy and is_well
        out.print(Text("ok    " if is_well else "WRONG ", style="green" if is_well else "bold red"), end="")
        out.print(Text(f"{name}: {detail}"), soft_wrap=True)

    say(*_kafka(settings))
    say(*asyncio.run(_fences(settings)))
    for line in asyncio.run(audit_report(settings)):
        say(line.is_well, line.name, line.detail)
        for example in line.examples:
            out.print(Text(f"        {example}"), soft_wrap=True)
    say(*asyncio.run(learning_report(settings)))
    try:
        client = connect(settings.clickhouse, settings.database)
        check_windows(client, settings.database)
        say(True, "clickhouse", "reachable; every table and view target remembers its inserts")
        for check in run_checks(client, settings.database):
            say(check.passed, check.name, check.promise if check.passed else f"not so: {check.promise}")
            for finding in check.findings:
                out.print(Text(f"        {finding.subject}: {finding.detail}"), soft_wrap=True)
        say(*_policies(settings, client))
        letters = count_dead_letters(client, settings.database)
        waiting = sum(letter.letters - letter.replayed for letter in letters)
        say(
            not waiting,
            "dead letters",
            f"{waiting} not replayed" + (" (headwater replay)" if waiting else ""),
        )
        for letter in letters:
            out.print(
                Text(
                    f"        {letter.topic} {letter.reason}: {letter.letters},"
                    f" replayed {letter.replayed}, last {letter.last_at}"
                )
            )
    except HeadwaterError as error:
        say(False, "clickhouse", str(error))
    return healthy


def _policies(settings: Settings, client: Client) -> tuple[bool, str, str]:
    """What stands under another policy than the active one. That is no fault: somebody may want it so."""
    from runtime.restate import active_version
    from sinks.restate import RestateReader, Span
    from streams.restatement import unfinished

    active = asyncio.run(active_version(settings))
    reader = RestateReader(client, settings.database)
    others = {version: n for version, n in reader.policy_versions(Span()).items() if version != active}
    left = asyncio.run(unfinished(settings.redis))
    detail = f"every conversion stands under the active policy, {active}"
    if others:
        detail = (
            f"{sum(others.values()):,} conversions stand under another policy than the active one, {active}:"
            f" {', '.join(f'{version} {n:,}' for version, n in others.items())} (headwater restate [--dry-run])"
        )
    if left:
        detail += f"; not ended: {', '.join(left)} (headwater restate --resume {left[0]})"
    return True, "policies", detail


def _kafka(settings: Settings) -> tuple[bool, str, str]:
    from streams.kafka_admin import cluster_id, ensure_topics

    try:
        asyncio.run(ensure_topics(settings.kafka, settings.partitions, settings.kafka_replication))
        return True, "kafka", f"cluster {asyncio.run(cluster_id(settings.kafka))}, topics as they should be"
    except HeadwaterError as error:
        return False, "kafka", str(error)


async def _fences(settings: Settings) -> tuple[bool, str, str]:
    """Where the partitions stand: unfinished ranges, conversions that wait for credit, undelivered rows."""
    from redis.asyncio import Redis
    from redis.exceptions import RedisError

    from streams.topics import CONVERSIONS, DEALS, HITS, SPEND, dirty_key, fence_key, outbox_key

    redis = Redis.from_url(settings.redis)
    try:
        waiting = undelivered = pending = 0
        for partition in range(settings.partitions):
            for topic in (HITS, DEALS):
                waiting += int(await redis.hlen(dirty_key(partition, topic)))
            for topic in (CONVERSIONS, DEALS, SPEND):
                undelivered += int(await redis.hlen(outbox_key(partition, topic)))
            pending += bool(await redis.hget(fence_key(HITS, partition), "pending"))
        detail = (
            f"{waiting} conversions wait for credit, {undelivered} batches undelivered,"
            f" {pending} batches under way"
        )
        return True, "state", detail
    except (RedisError, OSError) as error:
        return False, "state", f"Redis is away: {error}"
    finally:
        await redis.aclose()
