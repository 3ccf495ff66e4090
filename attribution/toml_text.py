"""Settings written as TOML, read into a pydantic table: what is wrong with them is said in one line a thing."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from attribution.errors import Misconfigured

MAX_BYTES = 1 << 20
"""Of a file."""

_Said = TypeVar("_Said", bound=BaseModel)


class FaultyText(ValueError):
    """``lines`` has one line for each thing that is wrong."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__(lines[0])
        self.lines = lines


def read_toml(table: type[_Said], text: str, *, parse_float: Callable[[str], Any] = float) -> _Said:
    """What ``text`` says. Raises ``FaultyText``."""
    if len(text.encode()) > MAX_BYTES:
        raise FaultyText([f"is larger than {MAX_BYTES} bytes"])
    try:
        return table.model_validate(tomllib.loads(text, parse_float=parse_float))
    except tomllib.TOMLDecodeError as error:
        raise FaultyText([f"is no TOML: {error}"]) from error
    except ValidationError as error:
        raise FaultyText([_line_of(each) for each in error.errors()]) from error


def read_settings(table: type[_Said], text: str, file: str) -> _Said:
    """What ``text``, that of ``file``, says. Raises ``Misconfigured`` with one line that names the first key that is
    wrong, and how many more there are."""
    try:
        return read_toml(table, text)
    except FaultyText as error:
        others = len(error.lines) - 1
        more = f" (and {others} more)" if others else ""
        raise Misconfigured(f"{file}: {error.lines[0]}{more}", "") from error


def _line_of(error: Any) -> str:
    """One of pydantic's errors as a line for whoever wrote the file."""
    place = ".".join(str(part) for part in error["loc"])
    message = error["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if message != error["msg"] and error["type"] != "value_error":
        message = f"should be {message}"
    return f"{place}: {message}" if place else message
