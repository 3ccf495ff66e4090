"""Patterns: they find what ``re`` finds, in time that does not explode, and refuse what they do not know."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attribution.patterns import compile_pattern

ATOMS = (
    "a",
    "b",
    "c",
    ".",
    "[ab]",
    "[^a]",
    "[a-c]",
    r"\d",
    r"\w",
    r"\W",
    "(ab|c)",
    "(?:a|)",
    "^",
    "$",
    r"\.",
)
patterns = st.lists(
    st.tuples(st.sampled_from(ATOMS), st.sampled_from(["", "", "*", "+", "?"])), min_size=1, max_size=6
).map(lambda parts: "".join(atom + ("" if atom in "^$" else sign) for atom, sign in parts))


@given(pattern=st.lists(patterns, min_size=1, max_size=3).map("|".join), text=st.text("abc.1-", max_size=12))
@settings(max_examples=500, deadline=None)
def test_finds_what_re_finds(pattern: str, text: str) -> None:
    """On the part of the language that both know."""
    assert compile_pattern(pattern).search(text) == (re.search(pattern, text, re.ASCII) is not None)


@pytest.mark.parametrize("pattern", ["(a+)+$", "^(a|a)*$", "(a*)*b", "a*a*a*a*a*b"])
def test_a_pattern_that_stops_re_is_matched_at_once(pattern: str) -> None:
    """``re`` needs 2^256 steps for some of these."""
    began = time.process_time()
    assert compile_pattern(pattern).search("a" * 255 + "!") is False
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("", "is empty"),
        ("(a", "without its )"),
        ("a)", "without its ("),
        ("[a", "without its ]"),
        ("*a", "nothing before it"),
        ("a**", "one of"),
        ("a{2}", "{ }"),
        (r"(a)\1", "not known"),
        ("(?=a)", "not known"),
        ("a\\", "ends in a backslash"),
        ("[z-a]", "empty"),
        ("a" * 257, "at most"),
        ("(" * 40 + ")" * 40, "deep"),
    ],
)
def test_what_is_not_known_is_refused(pattern: str, words: str) -> None:
    """With the reason."""
    with pytest.raises(ValueError, match=re.escape(words)):
        compile_pattern(pattern)
