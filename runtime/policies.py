"""``headwater policy``: the active policy, and whether a policy file is right."""

from __future__ import annotations

from pathlib import Path

from attribution.policy_file import PolicyFileError
from attribution.policy_text import policy_toml
from runtime.installation import running, settings_of
from runtime.settings import Settings
from runtime.wiring import policy_in, policy_of


def active_policy(data_dir: Path | None) -> str:
    """The policy of a running ``up``, else that of the settings, as a policy file. Raises ``Misconfigured``."""
    settings = Settings()
    if running(data_dir or settings.data_dir) is not None:
        settings = settings_of(data_dir)
    elif data_dir is not None:
        settings = settings.model_copy(update={"data_dir": data_dir})
    return policy_toml(policy_of(settings))


def check_policy(file: Path) -> tuple[bool, list[str]]:
    """Whether ``file`` is right, and lines that say so or what is wrong. Raises ``Misconfigured``."""
    try:
        policy = policy_in(file, Settings())
    except PolicyFileError as error:
        return False, [f"{file}: {line}" for line in error.lines]
    return True, [f"right: policy {policy.version}, models {', '.join(policy.models)}"]
