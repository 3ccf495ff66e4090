"""Cells of cost reports: exact amounts, counts, days and instants. ``Rejected`` says how the cell should read."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from attribution.errors import Rejected
from attribution.spend.fact import MAX_COST_MICROS

EMPTY = frozenset(("", "-", "--", "n/a", "null"))
"""How platforms write that there is no figure (compared without case)."""
EARLIEST = date(2000, 1, 1)
_LATEST = date(2099, 12, 31)
_MAX_TEXT = 60
_PLAIN = re.compile(r"([+-]?)(?=[0-9.])([0-9]*)(?:\.([0-9]*))?", re.ASCII)
_GROUPED = re.compile(r"([+-]?)([0-9]{1,3}(?:,[0-9]{3})+)(?:\.([0-9]*))?", re.ASCII)
_WHOLE = re.compile(r"([+-]?)([0-9]{1,40})(?:\.0*)?", re.ASCII)
_SCIENTIFIC = re.compile(r"[0-9](?:[.,][0-9]+)?[eE]\+?[0-9]+", re.ASCII)
_STANDING = {
    **dict.fromkeys(("pending", "approved", "confirmed"), True),
    **dict.fromkeys(("declined", "deleted", "reversed", "rejected"), False),
    **{"0": True, "1": True, "2": False},  # Awin's pending, approved, declined
}
_NETWORK = re.compile(r"[a-z0-9_]{1,64}", re.ASCII)
_US_DAY = re.compile(r"([0-9]{1,2})/([0-9]{1,2})/([0-9]{4})(?: 0?0:00(?::00)?)?", re.ASCII)
_DAY = re.compile(
    r"([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})(?:[T ]([0-9]{1,2}):([0-9]{2})(?::([0-9]{2})(\.[0-9]*)?)?Z?)?"
)


class Amount(int):
    """Millionths, with a note whether digits beyond the sixth decimal had to be rounded away."""

    is_rounded: bool

    def __new__(cls, millionths: int, is_rounded: bool = False) -> Amount:
        amount = super().__new__(cls, millionths)
        amount.is_rounded = is_rounded
        return amount


def is_empty(text: str) -> bool:
    """Whether a platform means "no figure" by this cell."""
    return text.strip().casefold() in EMPTY


def parse_millionths(text: str) -> Amount:
    """Millionths of a number in decimal notation; commas may group thousands as in ``1,234.50``.

    Digits beyond the sixth decimal are rounded half to even: platforms write binary fractions as they come
    (``32.379999999999995``), and to refuse them would lose the spend. Raises ``Rejected``, reason ``bad_number`` or
    ``out_of_range``.
    """
    stripped = text.strip()
    match = _PLAIN.fullmatch(stripped) or _GROUPED.fullmatch(stripped)
    if match is None or len(stripped) > _MAX_TEXT or not (match[2] or match[3]):
        raise Rejected(
            "bad_number", "Write a decimal number such as 1234.50: a point before decimals, no currency sign."
        )
    whole, decimals = match[2].replace(",", "") or "0", match[3] or ""
    millionths = int(whole + decimals[:6].ljust(6, "0"))
    beyond = decimals[6:].rstrip("0")
    half = "5"
    if beyond > half or (beyond == half and millionths % 2):
        millionths += 1
    return Amount(_signed(match[1], millionths), bool(beyond))


def parse_micros(text: str) -> Amount:
    """Micros of a column in micros, which are whole. Raises ``Rejected`` as ``parse_millionths`` does."""
    match = _WHOLE.fullmatch(text.strip())
    if match is None:
        raise Rejected("bad_number", "Micros are whole numbers: 1250000 is 1.25.")
    return Amount(_signed(match[1], int(match[2])))


def parse_count(text: str) -> int:
    """A whole number, zero or more; ``12.0`` is 12. Raises ``Rejected``, reason ``bad_count``."""
    try:
        amount = parse_millionths(text)
    except Rejected as rejected:
        raise Rejected("bad_count", "Write a whole number such as 1200.") from rejected
    if amount < 0 or amount % 1_000_000 or amount.is_rounded:
        raise Rejected("bad_count", "Write a whole number, zero or more.")
    return amount // 1_000_000


def parse_id(text: str) -> str:
    """An id as it stands. Raises ``Rejected('damaged_id')`` where a spreadsheet has made a rounded number of it."""
    stripped = text.strip()
    if _SCIENTIFIC.fullmatch(stripped):
        raise Rejected(
            "damaged_id", "A spreadsheet has rounded this id: use the file as the platform wrote it."
        )
    return stripped


def parse_network(text: str) -> str:
    """The name of an ad network: small letters, digits and underscores. Raises ``Rejected('bad_network')``."""
    name = text.strip().casefold()
    if not _NETWORK.fullmatch(name):
        raise Rejected(
            "bad_network", "Name the network in small letters, such as google_ads or acme_affiliates."
        )
    return name


def parse_day(text: str) -> date:
    """The day of ``2026-10-01``, with midnight behind it if it must. Raises ``Rejected``, reason ``bad_day``."""
    moment = _moment(text)
    if (moment.hour, moment.minute, moment.second) != (0, 0, 0):
        raise Rejected("bad_day", "Write the day as 2026-10-01, or at midnight.")
    return _believed(moment.date())


def parse_day_of_hour(text: str) -> date:
    """The day of an hour of the account's clock, ``2026-10-01 05:00:00``. Raises ``Rejected``, ``bad_day``."""
    return _believed(_moment(text).date())


def parse_day_of_instant(text: str) -> date:
    """The day on which an instant is, in the zone that it names. Raises ``Rejected``, reason ``bad_day``."""
    try:
        return _believed(datetime.fromisoformat(text.strip()).date())
    except ValueError as error:
        raise Rejected("bad_day", "Write an instant such as 2026-10-01T14:30:00Z.") from error


def parse_standing(text: str) -> bool:
    """Whether a commission is owed, by its status: pending and approved ones are, declined ones are not.

    Raises ``Rejected``, reason ``bad_status``.
    """
    status = text.strip().casefold()
    if status not in _STANDING:
        raise Rejected("bad_status", "A commission is pending, approved or declined.")
    return _STANDING[status]


def parse_us_day(text: str) -> date:
    """The day of ``10/31/2026``, or of ISO 8601. Raises ``Rejected``, reason ``bad_day``."""
    match = _US_DAY.fullmatch(text.strip())
    if match is None:
        return parse_day(text)
    try:
        return _believed(date(int(match[3]), int(match[1]), int(match[2])))
    except ValueError as error:
        raise Rejected(
            "bad_day", "Write month/day/year, as English (US) exports do, or 2026-10-31."
        ) from error


def parse_midnight(text: str, time_zone: str = "") -> date:
    """The account's day that begins at this instant of UTC, as X reports it: 07:00 is midnight in Los Angeles.

    Without a zone an hour before noon is taken for a zone west of Greenwich and a later one for a zone east of it;
    only zones beyond UTC+12 need ``time_zone`` (an IANA name). Raises ``Rejected``, reason ``bad_day``, also when
    the instant is no midnight in that zone.
    """
    moment = _moment(text)
    if not time_zone:
        return _believed((moment + timedelta(hours=12)).date())
    local = moment.astimezone(zone_of(time_zone))
    if (local.hour, local.minute) != (0, 0):
        raise Rejected("bad_day", f"This instant is {local:%H:%M} in {time_zone}: a day begins at midnight.")
    return _believed(local.date())


def parse_instant(text: str) -> datetime:
    """An instant in UTC if it names no zone. Raises ``Rejected``, reason ``bad_instant``."""
    stripped = text.strip()
    try:
        moment = datetime.fromisoformat(stripped)
    except ValueError:
        moment = _moment(stripped, "bad_instant")  # connectors also write 2:20:51
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


@lru_cache(maxsize=64)
def zone_of(name: str) -> ZoneInfo:
    """The time zone of an IANA name. Raises ``Rejected``, reason ``unknown_time_zone``."""
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError) as error:
        raise Rejected(
            "unknown_time_zone", "Name an IANA zone such as Europe/Berlin.", "time_zone"
        ) from error


def _signed(sign: str, millionths: int) -> int:
    if millionths > MAX_COST_MICROS:
        raise Rejected("out_of_range", "Numbers of a million millions and more are not believed.")
    return -millionths if sign == "-" else millionths


def _moment(text: str, reason: str = "bad_day") -> datetime:
    match = _DAY.fullmatch(text.strip())
    if match is None:
        raise Rejected(reason, "Write 2026-10-01, or 2026-10-01 05:00:00.")
    year, month, day, hour, minute, second = (int(match[group] or 0) for group in range(1, 7))
    micros = int((match[7] or ".0")[1:7].ljust(6, "0"))
    try:
        return datetime(year, month, day, hour, minute, second, micros, tzinfo=UTC)
    except ValueError as error:
        raise Rejected(reason, "There is no such day or hour.") from error


def _believed(day: date) -> date:
    if not EARLIEST <= day <= _LATEST:
        raise Rejected("bad_day", "Days from 2000 to 2099 are believed.")
    return day
