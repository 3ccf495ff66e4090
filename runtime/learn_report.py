"""What `headwater doctor` says of learning: which tables are active, and how the last turn of the schedule went."""

from __future__ import annotations

import time
from collections.abc import Mapping

from attribution.errors import HeadwaterError
from runtime.settings import Settings
from streams.learning import LearnState, load_learn_state
from streams.learnt import active_tables

_NOTHING_LEARNT = 1
"""Exit code of a child that found too little, or a store that was away."""


async def learning_report(settings: Settings) -> tuple[bool, str, str]:
    """Whether all is well, the line's name, and what it says."""
    from redis.asyncio import Redis
    from redis.exceptions import RedisError

    redis = Redis.from_url(settings.redis)
    try:
        return learning_line(
            await active_tables(redis), await load_learn_state(redis), time.time(), settings.learn_hours
        )
    except (RedisError, OSError, HeadwaterError) as error:
        return False, "learning", f"Redis is away: {error}"
    finally:
        await redis.aclose()


def learning_line(
    active: Mapping[str, str], state: LearnState | None, now: float, hours: float
) -> tuple[bool, str, str]:
    """The line at ``now`` (epoch seconds) for a schedule of every ``hours`` (0 = off)."""
    tables = ", ".join(f"{model} {version}" for model, version in sorted(active.items()))
    detail = f"active: {tables}" if tables else "no learnt model is active yet"
    is_well = True
    if not hours:
        detail += "; no schedule (HEADWATER_LEARN_HOURS=0)"
    elif state is not None and state.ended_at:
        age = (now - state.ended_at) / 3600
        is_well = state.exit_code in (0, _NOTHING_LEARNT)
        outcome = {0: "learnt", _NOTHING_LEARNT: "came to nothing (too few journeys, or a store was away)"}
        detail += (
            f"; {age:.1f} h ago it {outcome.get(state.exit_code, f'failed with exit code {state.exit_code}')}"
        )
        if not is_well:
            detail += ": headwater learn --dry-run says why"
    return is_well, "learning", detail
