"""Which facts a question is about, as recounts decide it: one fact after the other, on texts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def fits(
    fact: dict[str, Any], question: dict[str, Any], text_of: Callable[[dict[str, Any], str], str]
) -> bool:
    """Whether ``fact`` is in the range and meets every filter; ``text_of``: what it says under a dimension.

    Spend has no conversion type: no filter by it leaves spend out.
    """
    first, last = question["date_range"] or ["", "9999"]
    if not first <= text_of(fact, "day") <= last:
        return False
    for name, operator, values in question["filters"]:
        text = text_of(fact, name)
        if name == "conversion_type" and not text:
            continue
        if operator == "contains":
            found = any(value.lower() in text.lower() for value in values)
        else:
            found = (text in values) == (operator == "is")
        if not found:
            return False
    return True
