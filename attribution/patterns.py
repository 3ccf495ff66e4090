"""Patterns for texts that anybody may send: a subset of regular expressions, matched in linear time.

Python's ``re`` backtracks: with ``(a+)+$`` and forty letters a sender could stop a worker. These patterns are run as a
set of states instead (Thompson 1968; Cox, "Regular Expression Matching Can Be Simple And Fast"): the time is at most
the length of the text times the length of the pattern. They know literals, ``.``, ``[...]`` and ``[^...]`` with
ranges, ``\\d \\w \\s`` and their opposites (ASCII), groups ``( )`` and ``(?: )``, ``|``, ``* + ?``, ``^`` and ``$``; a
backslash takes the meaning from any other sign. As ``re.search`` they find a match anywhere unless anchored. Back
references, look-around and ``{m,n}`` are refused.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

MAX_PATTERN = 256
"""Characters of a pattern."""
_MAX_DEPTH = 32
_DIGITS = frozenset("0123456789")
_WORD = _DIGITS | frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_")
_SPACE = frozenset(" \t\n\r\f\v")
_CLASSES = {"d": _DIGITS, "w": _WORD, "s": _SPACE}

_Test = Callable[[str], bool]


class _State(NamedTuple):
    """Either takes a character (``test``) and goes on, or goes on without one, at ``^`` and ``$`` under a condition."""

    next: tuple[int, ...]
    test: _Test | None = None
    anchor: str = ""


class Pattern:
    """A compiled pattern. Made by ``compile_pattern``."""

    __slots__ = ("_accept", "_start", "_states")

    def __init__(self, states: list[_State], start: int, accept: int) -> None:
        self._states, self._start, self._accept = states, start, accept

    def search(self, text: str) -> bool:
        """Whether the pattern is found in ``text``."""
        last = len(text)
        current: set[int] = set()
        for place in range(last + 1):
            self._enter(self._start, place == 0, place == last, current)
            if self._accept in current:
                return True
            if place == last:
                return False
            character = text[place]
            following: set[int] = set()
            for number in current:
                state = self._states[number]
                if state.test is not None and state.test(character):
                    self._enter(state.next[0], False, place + 1 == last, following)
            current = following
        return False

    def _enter(self, number: int, is_start: bool, is_end: bool, found: set[int]) -> None:
        """Add the state and all that can be reached from it without a character."""
        waiting = [number]
        while waiting:
            number = waiting.pop()
            if number in found:
                continue
            found.add(number)
            state = self._states[number]
            if state.test is None and (not state.anchor or (is_start if state.anchor == "^" else is_end)):
                waiting.extend(state.next)


@lru_cache(maxsize=1024)
def compile_pattern(text: str) -> Pattern:
    """The pattern. Raises ``ValueError`` that says what is wrong with it."""
    if not text:
        raise ValueError("is empty")
    if len(text) > MAX_PATTERN:
        raise ValueError(f"has {len(text)} characters; at most {MAX_PATTERN} are taken")
    return _Parser(text).pattern()


class _Part(NamedTuple):
    """A piece of the machine: where it begins, and the state it ends in, which goes nowhere yet."""

    start: int
    end: int


class _Parser:
    """Recursive descent; each piece ends in a state of its own that the next one is joined to."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._place = 0
        self._states: list[_State] = []

    def pattern(self) -> Pattern:
        whole = self._alternatives(0)
        if self._place < len(self._text):
            raise ValueError("has a ) without its (")
        return Pattern(self._states, whole.start, whole.end)

    def _new(self, state: _State) -> int:
        self._states.append(state)
        return len(self._states) - 1

    def _join(self, end: int, *following: int) -> None:
        self._states[end] = self._states[end]._replace(next=(*self._states[end].next, *following))

    def _peek(self) -> str:
        return self._text[self._place : self._place + 1]

    def _take(self) -> str:
        character = self._peek()
        self._place += 1
        return character

    def _alternatives(self, depth: int) -> _Part:
        if depth > _MAX_DEPTH:
            raise ValueError(f"has groups more than {_MAX_DEPTH} deep")
        parts = [self._sequence(depth)]
        while self._peek() == "|":
            self._take()
            parts.append(self._sequence(depth))
        if len(parts) == 1:
            return parts[0]
        end = self._new(_State(()))
        for part in parts:
            self._join(part.end, end)
        return _Part(self._new(_State(tuple(part.start for part in parts))), end)

    def _sequence(self, depth: int) -> _Part:
        empty = self._new(_State(()))
        whole = _Part(empty, empty)
        while self._peek() not in ("", "|", ")"):
            part = self._repeated(depth)
            self._join(whole.end, part.start)
            whole = _Part(whole.start, part.end)
        return whole

    def _repeated(self, depth: int) -> _Part:
        part = self._atom(depth)
        sign = self._peek()
        if sign == "{":
            raise ValueError(
                "has { }, which is not known here; write the part out, or \\{ for the sign itself"
            )
        if not sign or sign not in "*+?":
            return part
        self._take()
        if self._peek() and self._peek() in "*+?":
            raise ValueError(f"has {sign}{self._peek()}; one of * + ? at a time")
        end = self._new(_State(()))
        start = part.start if sign == "+" else self._new(_State((part.start, end)))
        self._join(part.end, end if sign == "?" else start, *((end,) if sign == "+" else ()))
        return _Part(start, end)

    def _atom(self, depth: int) -> _Part:
        sign = self._take()
        if sign == "(":
            return self._group(depth)
        if sign in ("*", "+", "?"):
            raise ValueError(f"has a {sign} with nothing before it")
        if sign in ("^", "$"):
            end = self._new(_State(()))
            return _Part(self._new(_State((end,), anchor=sign)), end)
        return self._one(self._test_of(sign))

    def _group(self, depth: int) -> _Part:
        if self._peek() == "?":
            self._take()
            if self._take() != ":":
                raise ValueError("has a (?, which is not known here except as (?:")
        part = self._alternatives(depth + 1)
        if self._take() != ")":
            raise ValueError("has a ( without its )")
        return part

    def _one(self, test: _Test) -> _Part:
        end = self._new(_State(()))
        return _Part(self._new(_State((end,), test)), end)

    def _test_of(self, sign: str) -> _Test:
        if sign == ".":
            return lambda character: character != "\n"
        if sign == "[":
            return self._class()
        if sign == "\\":
            members, is_without = self._escaped()
            return _test_in(members, is_without)
        return _test_in(frozenset(sign), False)

    def _escaped(self) -> tuple[frozenset[str], bool]:
        """The characters that a backslash and the next sign stand for, and whether all others are meant."""
        sign = self._take()
        if not sign:
            raise ValueError("ends in a backslash")
        if sign.lower() in _CLASSES:
            return _CLASSES[sign.lower()], sign.isupper()
        if sign.isalnum():
            raise ValueError(f"has \\{sign}, which is not known here")
        return frozenset(sign), False

    def _class(self) -> _Test:
        """``[...]``: single characters, ranges, and ``\\d \\w \\s``."""
        is_without = self._peek() == "^"
        if is_without:
            self._take()
        members: set[str] = set()
        ranges: list[tuple[str, str]] = []
        is_first = True
        while is_first or self._peek() != "]":
            is_first = False
            sign = self._take()
            if not sign:
                raise ValueError("has a [ without its ]")
            if sign == "\\":
                found, is_opposite = self._escaped()
                if is_opposite:
                    raise ValueError("has \\D, \\W or \\S inside [ ], which is not known here")
                if len(found) > 1:
                    members |= found
                    continue
                (sign,) = found
            if self._peek() == "-" and self._text[self._place + 1 : self._place + 2] not in ("", "]"):
                self._take()
                last = self._take()
                if last == "\\":
                    last = self._take()
                if not last or last < sign:
                    raise ValueError(f"has the range {sign}-{last}, which is empty")
                ranges.append((sign, last))
            else:
                members.add(sign)
        self._take()
        kept = frozenset(members)

        def test(character: str) -> bool:
            found = character in kept or any(low <= character <= high for low, high in ranges)
            return found is not is_without

        return test


def _test_in(members: frozenset[str], is_without: bool) -> _Test:
    return lambda character: (character in members) is not is_without
