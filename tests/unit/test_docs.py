"""The documents say what the code does: settings, commands, links."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from runtime.cli import app
from runtime.settings_page import settings_page

ROOT = Path(__file__).resolve().parents[2]
DOCS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_settings_page_is_up_to_date() -> None:
    """Every setting with default, unit and meaning: ``python -m runtime.settings_page > docs/settings.md``."""
    assert (ROOT / "docs" / "settings.md").read_text() == settings_page()


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_links_between_documents_lead_somewhere(path: Path) -> None:
    """A file that is named in parentheses exists."""
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text()):
        assert (path.parent / target).exists(), f"{path.name} points at {target}"


def test_the_readme_names_every_command() -> None:
    """And no command that is not there."""
    text = (ROOT / "README.md").read_text()
    commands = {
        command.name or command.callback.__name__ for command in app.registered_commands if command.callback
    }
    for command in commands:
        assert re.search(rf"`(?:headwater )?{command}\b", text), f"README does not name {command}"


@pytest.mark.parametrize(
    "command", [c.name or c.callback.__name__ for c in app.registered_commands if c.callback]
)
def test_every_command_has_help(command: str) -> None:
    """One line at least."""
    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.output
