"""Data files of the core's rules, read once at import. Each file names its source and date in its first lines."""

from __future__ import annotations

from importlib.resources import files


def read_rows(name: str) -> list[tuple[str, ...]]:
    """Rows of ``tables/<name>``: tab-separated, ``#`` comments and empty lines left out."""
    text = (files(__package__) / name).read_text(encoding="utf-8")
    lines = (line for line in text.splitlines() if line and not line.startswith("#"))
    return [tuple(cell.strip() for cell in line.split("\t")) for line in lines]
