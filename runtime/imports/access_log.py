r"""Apache and nginx access logs (combined format): which lines are page views, and whose.

Format: ``%h %l %u [%t] "%r" %>s %b "%{Referer}i" "%{User-agent}i"``
(httpd.apache.org/docs/current/logs.html#combined, nginx.org ngx_http_log_module).
Quotes, backslashes and bytes outside ASCII are written as ``\"``, ``\\``, ``\xhh`` by both servers.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from itertools import islice
from urllib.parse import urlsplit

from attribution.agents import parse_user_agent
from attribution.errors import Misconfigured
from runtime.imports.lines import MAX_LINE_BYTES, Dropped, LineIds, LineReader, Outcome, Parsed, Refused


class LogDrop(StrEnum):
    """Why a well-formed log line is not a page view. The first reason that fits counts."""

    not_get = "not_get"
    error_status = "error_status"
    redirect = "redirect"
    feed = "feed"
    asset = "asset"
    download = "download"
    http_library = "http_library"
    """curl, python-requests and the like: nobody looked at the page. (Robots are dropped by the worker.)"""


_LINE = re.compile(
    r'(?P<ip>\S+) \S+ (?P<user>.+?) \[(?P<time>[^\]]+)\] "(?P<request>(?:[^"\\]|\\.)*)" (?P<status>\d{3}) '
    r'(?:\d+|-) "(?P<referrer>(?:[^"\\]|\\.)*)" "(?P<agent>(?:[^"\\]|\\.)*)"(?: .*)?'
)
_REQUEST = re.compile(r"(?P<method>[A-Z]+) (?P<target>\S.*?)(?: HTTP/\d(?:\.\d)?)?")
_ESCAPED = re.compile(r'\\(x[0-9a-fA-F]{2}|["\\])')
_ASSET_ENDINGS = (
    "css js mjs map json xml xsl txt ico png gif jpg jpeg webp avif svg bmp ttf otf woff woff2 eot "
    "webmanifest mp3 mp4 m4a ogg webm wav avi mov flv swf"
)
_DOWNLOAD_ENDINGS = (
    "pdf doc docx xls xlsx ppt pptx odt ods csv zip gz tgz bz2 xz 7z rar tar iso dmg exe msi deb rpm apk "
    "jar war pkg bin pyc py c cpp h rb sh lua tex spec patch diff conf log pcap sql"
)
_ASSETS = frozenset(_ASSET_ENDINGS.split())
_DOWNLOADS = frozenset(_DOWNLOAD_ENDINGS.split())
_FEED_NAMES = frozenset(("rss", "atom", "rdf"))
_FEED_PATH = re.compile(r"/(?:feed|rss|atom)/?$")
_FEED_QUERY = re.compile(r"(?:^|&)(?:flav|feed|format)=(?:rss|atom|rdf)[\w.]*(?:&|$)")
_GUESS_FROM_LINES = 20_000


def read_access_log(lines: LineReader, base_url: str, salt: str) -> Iterator[Outcome]:
    """What becomes of each line. ``base_url`` is put before the paths; ``salt`` keeps visitor ids unlinkable
    between sites. Nothing is looked up and no clock is read: the same file gives the same hits."""
    ids = LineIds("log")
    for number, raw in lines:
        text = raw.decode("utf-8", "backslashreplace")
        if len(raw) > MAX_LINE_BYTES:
            yield Refused(number, text, "too_long", f"No line of a log has more than {MAX_LINE_BYTES} bytes.")
            continue
        match = _LINE.fullmatch(text)
        if match is None:
            remedy = "Not in combined format: the line is cut off, or the log has another LogFormat."
            yield Refused(number, text, "malformed_line", remedy)
            continue
        yield _judge(number, raw, text, match, ids, base_url, salt)


def guess_base_url(lines: LineReader) -> str:
    """The site's own address: the referrer host whose pages this log has most often served.

    Raises ``Misconfigured`` when the log does not say.
    """
    requested: set[str] = set()
    referrers: Counter[tuple[str, str, str]] = Counter()
    for _number, raw in islice(lines, _GUESS_FROM_LINES):
        match = _LINE.fullmatch(raw.decode("utf-8", "backslashreplace"))
        request = _REQUEST.fullmatch(match["request"]) if match else None
        if match is None or request is None:
            continue
        requested.add(request["target"])
        parts = urlsplit_or_none(match["referrer"])
        if parts is not None and parts[1]:
            referrers[parts] += 1
    votes: Counter[tuple[str, str]] = Counter()
    for (scheme, host, path), count in referrers.items():
        # "/" is requested of every site, so a search engine's bare address proves nothing.
        if path in requested and path != "/":
            votes[scheme, host] += count
    if not votes:
        raise Misconfigured(
            "The log does not say which website it is of.", "Give it: --base-url https://www.example.com"
        )
    scheme, host = min(votes, key=lambda place: (-votes[place], place))
    return f"{scheme}://{host}"


def urlsplit_or_none(url: str) -> tuple[str, str, str] | None:
    """(scheme, host, path) of an http(s) URL; None when it is none."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    if parts.scheme not in ("http", "https"):
        return None
    return parts.scheme, parts.netloc.lower(), parts.path


def visitor_of(ip: str, user_agent: str, salt: str) -> str:
    """A visitor id from address and browser, hashed: a log has no cookie, the address must not be kept."""
    return "log-" + hashlib.blake2b(f"{salt}\0{ip}\0{user_agent}".encode(), digest_size=12).hexdigest()


def _judge(
    number: int, raw: bytes, text: str, match: re.Match[str], ids: LineIds, base_url: str, salt: str
) -> Outcome:
    request = _REQUEST.fullmatch(match["request"])
    if request is None:
        return Refused(
            number, text, "malformed_line", "The request is not `METHOD target HTTP/x.y`.", "request"
        )
    try:
        occurred_at = datetime.strptime(match["time"], "%d/%b/%Y:%H:%M:%S %z")
    except ValueError:
        remedy = "Write the time as %t does: 17/May/2015:10:05:03 +0000."
        return Refused(number, text, "malformed_line", remedy, "time")
    if (reason := _drop_reason(request["method"], int(match["status"]), request["target"])) is not None:
        return Dropped(number, reason)
    target = _unescape(request["target"])
    user_agent = _unescape(_dash_is_empty(match["agent"]))
    if parse_user_agent(user_agent).is_library:
        return Dropped(number, LogDrop.http_library)
    fields = {
        "event_id": ids.next_id(raw),
        "visitor_id": visitor_of(match["ip"], user_agent, salt),
        "event": "page_view",
        "occurred_at": int(occurred_at.timestamp() * 1000),
        "url": target if urlsplit_or_none(target) else base_url.rstrip("/") + "/" + target.lstrip("/"),
        "user_agent": user_agent,
    }
    referrer = _unescape(_dash_is_empty(match["referrer"]))
    if urlsplit_or_none(referrer) is not None:
        fields["referrer"] = referrer
    return Parsed(number, text, fields)


def _drop_reason(method: str, status: int, target: str) -> LogDrop | None:
    if method != "GET":
        return LogDrop.not_get
    if status >= 400:
        return LogDrop.error_status
    # 304: the page was looked at again, the browser had it already.
    if not (200 <= status < 300 or status == 304):
        return LogDrop.redirect
    path, _, query = target.partition("?")
    path = path.lower()
    _stem, dot, extension = path.rsplit("/", 1)[-1].rpartition(".")
    if (dot and extension in _FEED_NAMES) or _FEED_PATH.search(path) or _FEED_QUERY.search(query.lower()):
        return LogDrop.feed
    if not dot:
        return None
    if extension in _ASSETS:
        return LogDrop.asset
    if extension in _DOWNLOADS:
        return LogDrop.download
    return None


def _dash_is_empty(value: str) -> str:
    return "" if value == "-" else value


def _unescape(value: str) -> str:
    """Undo the servers' escapes; bytes that are no UTF-8 become U+FFFD."""
    if "\\" not in value:
        return value
    as_bytes = _ESCAPED.sub(_unescape_one, value).encode("utf-8", "surrogateescape")
    return as_bytes.decode("utf-8", "replace")


def _unescape_one(match: re.Match[str]) -> str:
    code = match[1]
    if code[0] != "x":
        return code
    return bytes((int(code[1:], 16),)).decode("utf-8", "surrogateescape")
