"""A funnel as a TOML file. Every key: docs/funnel.md."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field, field_validator, model_validator

from attribution.funnel import Funnel, FunnelStage
from attribution.policy_tables import Table, Texts
from attribution.toml_text import read_settings

MOST_STAGES = 20
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")


def parse_funnel(text: str, *, file: str = "funnel.toml") -> Funnel:
    """What ``text`` says. Raises ``Misconfigured`` with one line that names the key, and how many more there are."""
    return read_settings(_FunnelFile, text, file).funnel()


def _checked_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a stage: small letters, digits and _")
    return name


class _StageTable(Table):
    """``[[stages]]``."""

    name: Annotated[str, AfterValidator(_checked_name)]
    reached_by: Texts


class _FunnelFile(Table):
    """A whole file."""

    stages: Annotated[tuple[_StageTable, ...], Field(validate_default=True)] = ()

    @field_validator("stages")
    @classmethod
    def _check_number(cls, stages: tuple[_StageTable, ...]) -> tuple[_StageTable, ...]:
        if not 1 <= len(stages) <= MOST_STAGES:
            raise ValueError(f"a funnel has 1 to {MOST_STAGES} stages; each is a table [[stages]]")
        return stages

    @model_validator(mode="after")
    def _check_funnel(self) -> _FunnelFile:
        self.funnel()
        return self

    def funnel(self) -> Funnel:
        """Raises ``ValueError`` when stages contradict each other."""
        return Funnel(tuple(FunnelStage(one.name, one.reached_by) for one in self.stages))
