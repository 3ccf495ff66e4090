"""Keys under which events are remembered, so that a repeat is known as one."""

from __future__ import annotations

import hashlib
import json
from typing import Any
from urllib.parse import quote

import msgspec

MAX_KEY = 200
"""Characters; longer ones are hashed."""
NO_JSON = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)
"""What decoding a body can raise: a malformed one, one nested too deep, one that is no UTF-8."""


def key_of(sender: str, *parts: str | int) -> str:
    """One text for several; different parts never give the same text. ``sender`` is a plain word."""
    key = ":".join(quote(str(part), safe="", errors="surrogatepass") for part in (sender, *parts))
    if len(key) <= MAX_KEY:
        return key
    return f"{sender}:long:{hashlib.sha256(key.encode()).hexdigest()}"


def body_key(sender: str, body: bytes, *more: str) -> str:
    """The key of a request whose body names no id: its bytes, and whatever tells two apart that share them."""
    return key_of(sender, "body", hashlib.sha256(body).hexdigest(), *more)


def content_key(sender: str, content: Any) -> str:
    """The key of a JSON value that names no id: its content, whatever the order of its keys.

    Raises ``RecursionError`` for one that is nested too deep.
    """
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return key_of(sender, "content", hashlib.sha256(text.encode()).hexdigest())
