"""Names that go into SQL text: validated, then quoted. Values never do; they travel as server-side
parameters.
"""

from __future__ import annotations

import re

from attribution.errors import Misconfigured

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")


def quote_identifier(name: str) -> str:
    """``name`` in backticks. Raises ``Misconfigured`` unless it is a plain identifier."""
    if not _IDENTIFIER.fullmatch(name):
        raise Misconfigured(
            f"{name!r} is no usable ClickHouse name.",
            "Use letters, digits and _ only, beginning with a letter (HEADWATER_DATABASE).",
        )
    return f"`{name}`"


def qualify(database: str, table: str) -> str:
    """```database`.`table```, both validated."""
    return f"{quote_identifier(database)}.{quote_identifier(table)}"
