"""Names of campaigns that stand under their ids, as touches do that only ``utm_campaign={campaignid}`` or
``gad_campaignid`` names: reports tell both."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from api.queries import load_sql
from sinks.names import qualify

Ask = Callable[[str, Mapping[str, Any]], Sequence[Sequence[Any]]]


def campaign_names(campaigns: Iterable[object], database: str, ask: Ask) -> dict[str, str]:
    """By campaign, of those that are whole numbers, which names hardly ever are: what its network calls it.

    Raises what ``ask`` raises; nothing is asked where there is no number.
    """
    ids = {text for text in map(str, campaigns) if text.isascii() and text.isdigit()}
    if not ids:
        return {}
    found = ask(load_sql("campaign_names", spend=qualify(database, "spend")), {"labels": sorted(ids)})
    return {str(label): str(name) for label, name in found}
