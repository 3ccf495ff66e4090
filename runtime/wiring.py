"""Settings into the configuration of each part: the only place that knows them all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attribution.deals.settings import DealSettings
from attribution.deals.settings_file import default_settings, parse_deals
from attribution.errors import Misconfigured
from attribution.funnel import DEFAULT_FUNNEL, Funnel
from attribution.funnel_file import parse_funnel
from attribution.models import check_models
from attribution.policy import MINUTE_MS, AttributionPolicy
from attribution.policy_file import parse_policy
from runtime.plugins import load_plugins
from runtime.settings import Settings, lookbacks_of

POLICY_FILE = "policy.toml"
DEALS_FILE = "deals.toml"
FUNNEL_FILE = "funnel.toml"
PINNED_FILE = "policy.running.toml"
"""What the parts of a running ``up`` judge by."""
_RULES = {
    "session_gap_minutes": "session_gap_ms",
    "session_switch": "session_switch",
    "conversion_lookbacks": "conversion_lookbacks_ms",
}
"""Settings that are rules, with the policy's name of each."""


def policy_of(settings: Settings) -> AttributionPolicy:
    """The attribution policy that the settings and the policy file describe. Raises ``Misconfigured``."""
    load_plugins()
    path = policy_path(settings)
    policy = policy_in(path, settings) if path is not None else _policy_said(settings)
    check_models(policy)
    return policy


def policy_path(settings: Settings) -> Path | None:
    """The policy file: the one that is named, else ``policy.toml`` of the data folder if there is one."""
    if settings.policy is not None:
        return settings.policy
    path = settings.data_dir / POLICY_FILE
    return path if path.exists() else None


def pin_policy(settings: Settings) -> Path:
    """A copy of the policy file as it is now, empty when there is none: whatever process starts later reads the same.

    Raises ``Misconfigured`` when the policy is wrong.
    """
    policy_of(settings)
    path = policy_path(settings)
    pinned = settings.data_dir.resolve() / PINNED_FILE
    if path is None or path.resolve() != pinned:
        pinned.write_bytes(b"" if path is None else path.read_bytes())
    return pinned


def policy_in(path: Path, settings: Settings) -> AttributionPolicy:
    """What the file says, and the settings where it is silent.

    Raises ``Misconfigured``: it cannot be read, is wrong, or says something else than a variable that is set.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(
            f"The policy file {path} cannot be read: {error}.", "Name another with HEADWATER_POLICY."
        ) from error
    base = _policy_said(settings)
    policy = parse_policy(text, base, file=str(path), plugins=load_plugins())
    for setting, rule in _RULES.items():
        is_set = getattr(settings, setting) != Settings.model_fields[setting].default
        if is_set and getattr(policy, rule) != getattr(base, rule):
            raise Misconfigured(
                f"HEADWATER_{setting.upper()} and {path} say different things.",
                "Unset the variable: the file has all rules.",
            )
    return policy


def deals_of(settings: Settings) -> DealSettings:
    """How deals are read, as the file says that is named, else ``deals.toml`` of the data folder. Raises
    ``Misconfigured``."""
    text, file = _file_of(settings.deals_file, settings.data_dir / DEALS_FILE, "HEADWATER_DEALS_FILE")
    return (
        default_settings(settings.currency)
        if text is None
        else parse_deals(text, settings.currency, file=file)
    )


def funnel_of(settings: Settings) -> Funnel:
    """The funnel of the file that is named, else of ``funnel.toml`` of the data folder if there is one. Raises
    ``Misconfigured``."""
    text, file = _file_of(settings.funnel_file, settings.data_dir / FUNNEL_FILE, "HEADWATER_FUNNEL_FILE")
    return DEFAULT_FUNNEL if text is None else parse_funnel(text, file=file)


def _file_of(named: Path | None, usual: Path, variable: str) -> tuple[str | None, str]:
    """The text of a file of settings, ``None`` if there is none, and its name. Raises ``Misconfigured``."""
    if named is None and not usual.exists():
        return None, str(usual)
    path = named or usual
    try:
        return path.read_text(encoding="utf-8"), str(path)
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{path} cannot be read: {error}.", f"Name another with {variable}.") from error


def _policy_said(settings: Settings) -> AttributionPolicy:
    rules: dict[str, Any] = {
        "session_gap_ms": settings.session_gap_minutes * MINUTE_MS,
        "session_switch": settings.session_switch,
        "conversion_lookbacks_ms": lookbacks_of(settings.conversion_lookbacks),
    }
    return AttributionPolicy(**rules)


def words_of(text: str) -> tuple[str, ...]:
    """The non-empty parts of a comma-separated setting."""
    return tuple(part.strip() for part in text.split(",") if part.strip())
