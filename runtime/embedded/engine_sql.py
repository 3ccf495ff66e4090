"""Where a statement ends and its data begins: the little SQL that the HTTP side of the engine has to know.

ClickHouse's server reads ``INSERT ... FORMAT x`` and treats what follows as data; the embedded engine reads
data from files only. Everything else is left to the engine's own parser.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_TOKEN = re.compile(
    rb"""
      (?P<skip> \s+ | --[^\n]* | \#[ !][^\n]* | /\*.*?(?:\*/|\Z) )
    | (?P<quoted> '(?:[^'\\]|\\.|'')*(?:'|\Z) | "(?:[^"\\]|\\.|"")*(?:"|\Z) | `(?:[^`\\]|\\.|``)*(?:`|\Z)
                | \$(?P<tag>\w*)\$.*?(?:\$(?P=tag)\$|\Z) )
    | (?P<word> [A-Za-z_][A-Za-z0-9_]* )
    | (?P<number> [0-9][A-Za-z0-9_.]* )
    | (?P<other> . )
    """,
    re.VERBOSE | re.DOTALL,
)
_DROPS = ("DROP", "DETACH", "TRUNCATE")
_TERMINAL_COMMANDS = (b"EXIT", b"QUIT", b"LOGOUT", b"Q")
"""The embedded engine takes these, and text that begins with no word, for the end of a session: it would do
nothing and report success."""
_OPEN, _CLOSE = (b"(", b"[", b"{"), (b")", b"]", b"}")


class Refused(Exception):
    """A statement that a ClickHouse server would refuse before running it. ``code`` is ClickHouse's number."""

    def __init__(self, code: int, name: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.name = name
        self.message = message


class Statement(NamedTuple):
    """One statement, split. ``data`` is empty unless it is an INSERT that carries data."""

    verb: str
    """First word, upper case; "" if there is none."""
    head: bytes
    """The statement; of an INSERT with data, the part before ``SETTINGS`` or ``FORMAT``."""
    settings: bytes
    """``SETTINGS ...`` of an INSERT with data, else empty."""
    format: str
    """Format that the statement names, "" if none: of the data for an INSERT, else of the answer."""
    data: bytes | None
    """Data of an INSERT; None when the statement carries none."""

    def insert_from(self, path: str, settings: bytes) -> bytes:
        """The INSERT with its data in the file ``path`` and with ``settings`` (``name = value, ...``).

        What it says of settings itself comes last and wins.
        """
        source = b" FROM INFILE '" + path.encode() + b"' SETTINGS " + settings
        own = self.settings[len(b"SETTINGS") :]
        return self.head + source + (b"," + own if own else b"") + b" FORMAT " + self.format.encode()


class _Token(NamedTuple):
    kind: str
    text: bytes
    start: int
    end: int
    depth: int

    def is_word(self, *words: bytes) -> bool:
        return self.kind == "word" and self.depth == 0 and self.text.upper() in words


def split_request(query: bytes, body: bytes) -> Statement:
    """The statement of one request: ``query`` is the URL parameter, ``body`` what was sent. Either may be
    empty.

    Raises ``Refused`` for an empty request, several statements, and files of the server's disk.
    """
    if query:
        statement = _split(query)
        if statement.data is not None:
            return statement._replace(data=statement.data + body)
        body = query + b"\n" + body if body else query
    return _split(body)


def _split(text: bytes) -> Statement:
    tokens = _tokens(text)
    first = next(tokens, None)
    if first is None:
        raise Refused(62, "SYNTAX_ERROR", "Empty query")
    if (first.kind != "word" and first.text != b"(") or first.is_word(*_TERMINAL_COMMANDS):
        shown = first.text[:20].decode(errors="replace")
        raise Refused(62, "SYNTAX_ERROR", f"Syntax error: failed at position {first.start + 1} ({shown})")
    if first.is_word(b"INSERT"):
        return _split_insert(text, tokens)
    return _split_other(text, first, tokens)


def _split_insert(text: bytes, tokens: Iterator[_Token]) -> Statement:
    """Stops reading at the data, which may be large and need not be text."""
    settings_at: int | None = None
    name_follows = True
    for token in tokens:
        if name_follows and token.is_word(b"INTO", b"TABLE", b"FUNCTION"):
            continue
        if name_follows:
            name_follows = False
        elif token.is_word(b"INFILE"):
            raise Refused(48, "NOT_IMPLEMENTED", "FROM INFILE reads the server's disk and is refused here")
        elif token.is_word(b"SETTINGS"):
            settings_at = token.start
        elif token.is_word(b"SELECT", b"WITH", b"WATCH"):
            break
        elif token.is_word(b"VALUES"):
            return _with_data(text, token.start, settings_at, "Values", text[token.end :])
        elif token.is_word(b"FORMAT"):
            name = next(tokens, None)
            if name is not None and name.kind == "word":
                data = _after_format(text, name.end)
                return _with_data(text, token.start, settings_at, name.text.decode(), data)
        elif token.text == b"." and token.depth == 0:
            name_follows = True
    end = _end_of_statement(text, tokens)
    return Statement("INSERT", text[:end], b"", "", None)


def _with_data(text: bytes, end: int, settings_at: int | None, name: str, data: bytes) -> Statement:
    cut = end if settings_at is None else settings_at
    return Statement("INSERT", text[:cut], text[cut:end], name, data)


def _after_format(text: bytes, start: int) -> bytes:
    """ClickHouse's rule: skip blanks, then one line end; what follows is data."""
    while text[start : start + 1] in (b" ", b"\t", b"\f"):
        start += 1
    if text[start : start + 1] == b"\r":
        start += 1
    if text[start : start + 1] == b"\n":
        start += 1
    return text[start:]


def _split_other(text: bytes, first: _Token, tokens: Iterator[_Token]) -> Statement:
    named = ""
    end = len(text)
    before, last = first, first
    for token in tokens:
        if token.text == b";" and token.kind == "other":
            end = token.start
            _refuse_more(tokens)
            break
        if token.is_word(b"OUTFILE") and last.is_word(b"INTO"):
            raise Refused(48, "NOT_IMPLEMENTED", "INTO OUTFILE writes the server's disk and is refused here")
        if token.is_word(b"SETTINGS"):
            named = named or _named_format(before, last)
        before, last = last, token
    verb = first.text.decode().upper() if first.kind == "word" else ""
    if verb in _DROPS:
        end = _without_waiting(end, before, last)
    return Statement(verb, text[:end], b"", named or _named_format(before, last), None)


def _without_waiting(end: int, before: _Token, last: _Token) -> int:
    """Where a DROP ends without its ``SYNC`` or ``NO DELAY``.

    The embedded engine deletes the files of dropped tables when it starts (``engine.purge_dropped``); a
    statement that waits for that would wait for ever.
    """
    if last.is_word(b"SYNC"):
        return last.start
    if before.is_word(b"NO") and last.is_word(b"DELAY"):
        return before.start
    return end


def _named_format(before: _Token, last: _Token) -> str:
    """The format, if these are the last two words of the statement's body: ``FORMAT name``."""
    return last.text.decode() if before.is_word(b"FORMAT") and last.kind == "word" else ""


def _end_of_statement(text: bytes, tokens: Iterator[_Token]) -> int:
    for token in tokens:
        if token.text == b";" and token.kind == "other":
            _refuse_more(tokens)
            return token.start
    return len(text)


def _refuse_more(tokens: Iterator[_Token]) -> None:
    if any(token.text != b";" for token in tokens):
        raise Refused(62, "SYNTAX_ERROR", "Multi-statements are not allowed")


def _tokens(text: bytes) -> Iterator[_Token]:
    """Everything but white space and comments, with its depth in brackets."""
    depth = 0
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or "other"
        if kind == "skip":
            continue
        piece = match.group()
        if piece in _CLOSE:
            depth -= 1
        yield _Token(kind, piece, match.start(), match.end(), depth)
        if piece in _OPEN:
            depth += 1
