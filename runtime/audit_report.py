"""What `headwater doctor` says of the self-audit: how old its last pass is, and what each of its checks found."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from attribution.errors import HeadwaterError
from runtime.settings import Settings
from streams.audit import SHARE, load_state
from streams.audit_state import CHECKS, MOST_FINDINGS, AuditState

STALE_SECONDS = 900.0
"""An audit that is older is an alarm, unless its passes are meant to be rarer or take that long."""
_SHOWN = 5


class Line(NamedTuple):
    """One statement of the doctor's."""

    is_well: bool
    name: str
    detail: str
    examples: tuple[str, ...] = ()


async def audit_report(settings: Settings) -> list[Line]:
    """The lines of the installation that ``settings`` describe."""
    from redis.asyncio import Redis
    from redis.exceptions import RedisError

    if not settings.audit_seconds:
        return [Line(True, "audit", "off (HEADWATER_AUDIT_SECONDS=0)")]
    redis = Redis.from_url(settings.redis)
    try:
        state = await load_state(redis)
    except (RedisError, OSError, HeadwaterError) as error:
        return [Line(False, "audit", f"Redis is away: {error}")]
    finally:
        await redis.aclose()
    return list(audit_lines(state, time.time(), settings.audit_seconds))


def audit_lines(state: AuditState | None, now: float, seconds: float) -> Iterator[Line]:
    """What ``state`` says at ``now`` (epoch seconds) of an audit that is due each ``seconds``."""
    if state is None:
        yield Line(True, "audit", "nothing yet: no worker has been running")
        return
    age = now - (state.succeeded_at or state.since)
    allowed = max(STALE_SECONDS, 10 * seconds, 3 * state.seconds / SHARE)
    if state.succeeded_at:
        detail = f"last pass {age:.0f} s ago, took {state.seconds:.1f} s"
    else:
        detail = f"no pass yet, {age:.0f} s after the first worker began"
    if age > allowed:
        detail += f"; that is too long (more than {allowed:.0f} s)"
    if state.failure:
        detail += f"; the last attempt failed: {state.failure}"
    yield Line(age <= allowed, "audit", detail)
    if not state.succeeded_at:
        return
    covered = ", ".join(
        f"{name} {_at(round_.covered_from) if round_.covered_from else 'not yet'}"
        for name, round_ in sorted(state.rounds.items())
    )
    yield Line(True, "audit coverage", f"all of it compared since: {covered}")
    for check, found in state.differences().items():
        alarms = [f for f in state.findings if f.is_alarm and f.difference.check == check]
        number = f"{found} or more" if found >= MOST_FINDINGS else str(found)
        yield Line(
            not found,
            f"audit {check}",
            f"not so ({number}): {CHECKS[check]}" if found else CHECKS[check],
            tuple(
                f"{alarm.difference.subject}: {alarm.difference.detail} (since {_at(alarm.since)})"
                for alarm in alarms[:_SHOWN]
            ),
        )


def _at(instant: float) -> str:
    return datetime.fromtimestamp(instant, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
