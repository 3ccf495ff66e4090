"""Days and instants as people write them, as epoch milliseconds."""

from __future__ import annotations

import datetime as dt
import re

from attribution.errors import Rejected

FIRST_DAY, LAST_DAY = dt.date(1970, 1, 1), dt.date(2105, 12, 31)
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_INSTANT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?(Z|[+-][0-9]{2}:[0-9]{2})",
    re.ASCII,
)


def parse_day(text: str | None, field: str) -> dt.date | None:
    """``YYYY-MM-DD``. Raises ``Rejected('bad_date_range')``."""
    if text is None:
        return None
    try:
        # The pattern first: fromisoformat also reads 20261001 and 2026-W40-4.
        day = dt.date.fromisoformat(text) if _DAY.fullmatch(text) else None
    except ValueError:
        day = None
    if day is None or not FIRST_DAY <= day <= LAST_DAY:
        raise Rejected("bad_date_range", f"Send a day as YYYY-MM-DD, {FIRST_DAY} to {LAST_DAY}.", field)
    return day


def parse_instant(text: str, field: str) -> int:
    """The last millisecond that ``text`` means: of a day (UTC), or that of an instant with its time zone.

    Raises ``Rejected('bad_instant')``.
    """
    try:
        if _DAY.fullmatch(text):
            instant = dt.datetime.fromisoformat(f"{text}T23:59:59.999+00:00")
        elif _INSTANT.fullmatch(text):
            instant = dt.datetime.fromisoformat(text)
        else:
            raise ValueError(text)
        if not FIRST_DAY <= instant.astimezone(dt.UTC).date() <= LAST_DAY:
            raise ValueError(text)
    except (ValueError, OverflowError) as error:
        raise Rejected(
            "bad_instant",
            "Send a day, YYYY-MM-DD, of which the end is meant (UTC), or an instant with its time zone such as"
            " 2026-10-31T18:00:00Z.",
            field,
        ) from error
    return (instant - _EPOCH) // dt.timedelta(milliseconds=1)


def instant_text(epoch_ms: int) -> str:
    """ISO 8601, UTC, with milliseconds."""
    moment = _EPOCH + dt.timedelta(milliseconds=epoch_ms)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
