"""Pieces that every description of a route is made of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from collector.reasons import status_of
from collector.responses import Problem

Schema = dict[str, Any]

JSON, TEXT = "application/json", "text/plain"
REF = "#/components/schemas/{name}"


def ref(name: str) -> Schema:
    """The schema of that name."""
    return {"$ref": REF.format(name=name)}


def json_of(description: str, schema: Schema) -> Schema:
    """An answer with a JSON body."""
    return {"description": description, "content": {JSON: {"schema": schema}}}


def problems(reasons: Iterable[str], shape: type[Problem] = Problem) -> Schema:
    """The errors with these reasons by status, and that others have the same shape."""
    by_status: defaultdict[int, list[str]] = defaultdict(list)
    for reason in sorted(reasons):
        by_status[status_of(reason)].append(reason)
    schema = ref(shape.__name__)
    return {
        **{
            str(status): json_of(f"`{'`, `'.join(names)}`.", schema)
            for status, names in sorted(by_status.items())
        },
        "default": json_of("Any other error.", ref(Problem.__name__)),
    }
