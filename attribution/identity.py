"""What one hit says of who its visitor is: the ids that it names, and whether it links them or withdraws the link.

An id is text: its kind, a colon, its value (``user:42``, ``email:<sha256>``, ``crm:0031``, ``account:acme``). Every
link is between a visitor and an id, said by a hit of that visitor: two ids are one person's because a visitor has both.

Values that stand for nobody ("null", "guest", zeros, the address of a form's example) would make one person of
everybody who sends them. They are refused here; the hit itself is kept.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from typing import Any

import msgspec

from attribution.hit import NO_PROPS, Hit

USER, EMAIL, CRM, ACCOUNT = "user:", "email:", "crm:", "account:"
JOINING_KINDS = (USER, EMAIL, CRM)
"""Ids of these kinds are one person's. A company is not a person."""
UNLINK = "unlink"
"""The event that withdraws the links between its visitor and the ids that it names."""
ALIAS, GROUP = "alias", "group"
NAMING_EVENTS = frozenset(("identify", ALIAS, GROUP, UNLINK))

_NOBODY = frozenset(
    (
        *(
            "",
            "null",
            "(null)",
            "nil",
            "none",
            "(none)",
            "no",
            "na",
            "n/a",
            "n.a.",
            "nan",
            "-1",
            "true",
            "false",
        ),
        *(
            "undefined",
            "(undefined)",
            "not set",
            "not_set",
            "(not set)",
            "unset",
            "empty",
            "missing",
            "deleted",
        ),
        *("anonymous", "anon", "anonymous_user", "anonymoususer", "guest", "unknown", "nobody", "visitor"),
        *(
            "user",
            "user_id",
            "userid",
            "username",
            "id",
            "default",
            "default_user",
            "no_user",
            "no user",
            "nouser",
        ),
        *("test", "tester", "testuser", "test_user", "example", "demo", "system", "admin", "root"),
        *("[object object]", "[]", "_", "?", "*", "#", "xxx"),
    )
)
"""Compared in lower case without blanks around. Programs send these when they do not know."""
_ZEROS = re.compile(r"[0.\-{}]+")
_ADDRESSES_OF_NOBODY = (
    *("", "null", "undefined", "none", "n/a", "na", "test", "anonymous", "guest", "unknown", "@"),
    *(
        f"{name}@{host}"
        for name in (
            "test",
            "a",
            "user",
            "email",
            "name",
            "example",
            "none",
            "no",
            "na",
            "noemail",
            "noreply",
        )
        for host in ("test.com", "example.com", "email.com", "domain.com", "gmail.com", "none.com", "a.com")
    ),
    *("no-reply@example.com", "example@example.com", "none@none.com", "na@na.com", "noemail@noemail.com"),
    *("abc@abc.com", "asdf@asdf.com", "xxx@xxx.com", "john.doe@example.com", "jane.doe@example.com"),
)
_HASHES_OF_NOBODY = frozenset(hashlib.sha256(text.encode()).hexdigest() for text in _ADDRESSES_OF_NOBODY)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)


class Claim(msgspec.Struct, frozen=True, gc=False):
    """What a hit says of who its visitor is."""

    ids: tuple[str, ...]
    """With their kinds, each once."""
    is_withdrawn: bool = False
    """True: the visitor is not (or no longer) whom these ids name."""
    refused: int = 0
    """How many values were refused because they stand for nobody."""


class _Named(msgspec.Struct, gc=False):
    """The ids that stand in ``props``."""

    crm_contact_id: Any = None
    group_id: Any = None


_decode_named = msgspec.json.Decoder(_Named).decode


def claim_of(hit: Hit) -> Claim | None:
    """What ``hit`` says of who its visitor is, ``None`` if nothing."""
    event = hit.event
    found: list[tuple[str, str]] = []
    if hit.user_id:
        found.append((USER, hit.user_id.strip()))
    if event == ALIAS:
        # The visitor's id is the former one, and that may have been a user's: nobody can tell, so it is both.
        former = own_name(hit.visitor_id)[len(USER) :].strip()
        if not is_nobody(USER, former):
            found.append((USER, former))
    if hit.email_sha256:
        found.append((EMAIL, hit.email_sha256))
    if hit.props is not NO_PROPS:
        found += _named_in_props(hit.props, event)
    return _claim(tuple(found), event == UNLINK) if found else None


@lru_cache(maxsize=8192)
def _claim(found: tuple[tuple[str, str], ...], is_withdrawn: bool) -> Claim:
    """The claim of (kind, value)s. Hits of one visit say the same, one after the other."""
    ids = dict.fromkeys(kind + value for kind, value in found if not is_nobody(kind, value))
    refused = sum(is_nobody(kind, value) for kind, value in found)
    return Claim(tuple(ids), is_withdrawn, refused)


def own_name(visitor_id: str) -> str:
    """The user id that a visitor itself is called by: that of a server's hits, and the former id of an ``alias``."""
    return visitor_id if visitor_id.startswith(USER) else USER + visitor_id


def is_nobody(kind: str, value: str) -> bool:
    """True when ``value`` names nobody: a placeholder, or nothing but zeros."""
    if kind == EMAIL:
        return value in _HASHES_OF_NOBODY or not _SHA256.fullmatch(value)
    return _is_placeholder(value)


@lru_cache(maxsize=8192)
def _is_placeholder(value: str) -> bool:
    lower = value.strip().lower()
    return lower in _NOBODY or _ZEROS.fullmatch(lower) is not None


def _named_in_props(props: msgspec.Raw, event: str) -> list[tuple[str, str]]:
    """The CRM contact that any event may name, and the company that a ``group`` names."""
    text = bytes(props)
    if event not in NAMING_EVENTS and b'"crm_contact_id"' not in text:
        return []
    try:
        named = _decode_named(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []  # other producers' props: what they are about is not for us to say
    found = []
    if contact := _text(named.crm_contact_id):
        found.append((CRM, contact))
    if event in (GROUP, UNLINK) and (account := _text(named.group_id)):
        found.append((ACCOUNT, account))
    return found


def _text(value: Any) -> str:
    """An id as text; "" when it is none."""
    if isinstance(value, str):
        return value.strip()[:256]
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""
