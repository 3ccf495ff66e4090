"""The SQL files of this package: fixed text with ``$name`` places for table names, never for values."""

from __future__ import annotations

from functools import cache
from importlib import resources
from string import Template


@cache
def _template(name: str) -> Template:
    text = (resources.files("sinks") / "sql" / f"{name}.sql").read_text(encoding="utf-8")
    # The comments name the places too; they are for readers of the file.
    return Template("\n".join(line for line in text.splitlines() if not line.startswith("--")))


def load_sql(name: str, **places: str) -> str:
    """The text of ``sql/<name>.sql`` with its places filled by already quoted names. ``KeyError`` if one is
    missing.
    """
    return _template(name).substitute(places)
