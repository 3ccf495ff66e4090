"""What a user agent says: device, browser, operating system, robot or not. Table driven, cached."""

from __future__ import annotations

import re
from functools import lru_cache

import msgspec

from attribution.tables import read_rows

MAX_USER_AGENT = 512
"""Characters of a user agent that are looked at."""


class Agent(msgspec.Struct, frozen=True):
    """What sent a hit. Unknown parts are ""."""

    device: str = ""
    """``desktop``, ``mobile``, ``tablet`` or ""."""
    browser: str = ""
    os: str = ""
    is_bot: bool = False
    """A crawler, monitor, link preview, feed reader or headless browser."""
    is_library: bool = False
    """An HTTP library or command line tool (curl, python-requests). In an access log that is a robot; as the sender
    of events it is a shop's own server reporting purchases, so it is told apart from ``is_bot``."""


UNKNOWN = Agent()


def _compile(name: str, ignore_case: bool) -> list[tuple[re.Pattern[str], str]]:
    flags = re.ASCII | (re.IGNORECASE if ignore_case else re.NOFLAG)
    return [(re.compile(pattern, flags), result) for pattern, result in read_rows(name)]


_BROWSERS = _compile("browsers.tsv", ignore_case=False)
_SYSTEMS = _compile("systems.tsv", ignore_case=False)
_DEVICES = _compile("devices.tsv", ignore_case=False)
_robot_rows = read_rows("bots.tsv")


def _any_of(*kinds: str) -> re.Pattern[str]:
    patterns = [pattern for pattern, kind in _robot_rows if kind in kinds]
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns), re.ASCII | re.IGNORECASE)


_BOT = _any_of("crawler", "monitor", "preview", "feed", "headless")
_LIBRARY = _any_of("library")


def parse_user_agent(text: str) -> Agent:
    """Judge a User-Agent header. Never raises; an empty one (or ``-``) is not judged."""
    return _parse(text[:MAX_USER_AGENT])


@lru_cache(maxsize=8192)
def _parse(text: str) -> Agent:
    text = text.strip()
    if text in ("", "-"):
        return UNKNOWN
    is_bot = _BOT.search(text) is not None
    return Agent(
        device=_first(_DEVICES, text),
        browser=_first(_BROWSERS, text),
        os=_first(_SYSTEMS, text),
        is_bot=is_bot,
        is_library=not is_bot and _LIBRARY.search(text) is not None,
    )


def _first(table: list[tuple[re.Pattern[str], str]], text: str) -> str:
    for pattern, result in table:
        if pattern.search(text):
            return result
    return ""
