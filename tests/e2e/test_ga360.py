"""The real day of ``bench/ga360.py`` as a test: the bench's own targets must be met."""

from __future__ import annotations

import importlib.util
import io
from pathlib import Path
from types import ModuleType

import pytest
from rich.console import Console

from runtime.up import Up, UpOptions

BENCH = Path(__file__).parents[2] / "bench" / "ga360.py"


@pytest.fixture(scope="module")
def ga360() -> ModuleType:
    """The bench, which is a script and no package."""
    spec = importlib.util.spec_from_file_location("bench_ga360", BENCH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up by name.
    import sys

    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    if not module.DATA.exists():
        pytest.skip("../shared/data/ga360 is not here")
    return module


@pytest.mark.slow
async def test_googles_day_is_reproduced(ga360: ModuleType, tmp_path: Path) -> None:
    """Hits, visitors, transactions and revenue exact; 98 % of sessions hit for hit; channels."""
    env = {"HEADWATER_SESSION_SWITCH": "any_external", "HEADWATER_LEARN_HOURS": "0"}
    console = Console(file=io.StringIO(), width=140)
    async with Up(UpOptions(data_dir=tmp_path / "up", collector_port=0, api_port=0, env=env)) as up:
        results = await ga360.measure(up.run, ga360.read_day(), 1, "any_external", console)
    ga360.print_results(results, "any_external", console)
    print(console.file.getvalue())  # type: ignore[attr-defined]
    assert [result for result in results if result.is_met is False] == []
    assert sum(result.is_met is True for result in results) >= 9


def test_a_lost_a_doubled_and_a_misplaced_hit_are_found(ga360: ModuleType) -> None:
    """The comparison itself: perfect but for one fault at a time."""
    day = ga360.read_day()
    hits, sessions = _as_google(ga360, day)
    orders = _orders(day)

    def unmet(some_hits: list[object], some_sessions: list[object]) -> list[str]:
        results = ga360.compare(day, some_hits, some_sessions, orders, "any_external")
        return [result.name for result in results if result.is_met is False]

    assert unmet(hits, sessions) == []
    with pytest.raises(ValueError, match="hits and has"):
        unmet(hits[1:], sessions)
    assert unmet([*hits, hits[0]], sessions) == ["hits"]
    with pytest.raises(ValueError, match="lies in 0 sessions"):
        unmet(hits, sessions[1:])
    wrong_channel = [
        session if number else ga360.KeptSession(**{**vars(session), "channel": "Audio"})
        for number, session in enumerate(sorted(sessions, key=lambda s: s.channel != "Affiliates"))
    ]
    assert unmet(hits, wrong_channel) == ["Google's channel from what a browser sends, same rows"]


def _as_google(ga360: ModuleType, day: object) -> tuple[list[object], list[object]]:
    """The tables of a system that agrees with Google in everything."""
    from collections import defaultdict
    from decimal import Decimal

    members = defaultdict(list)
    hits = []
    for hit in day.hits:  # type: ignore[attr-defined]
        members[hit["full_visitor_id"], hit["visit_id"]].append(ga360.occurred_at(hit))
        revenue = hit["transaction_revenue_usd"]
        hits.append(
            ga360.KeptHit(
                ga360.event_id(hit),
                hit["full_visitor_id"],
                ga360.occurred_at(hit),
                Decimal(revenue or 0),
                hit["transaction_id"] if revenue else "",
            )
        )
    names = {"Social": "Organic Social"}
    sessions = [
        ga360.KeptSession(
            f"{visitor}-{visit}",
            visitor,
            min(instants),
            max(instants),
            names.get(channel := day.sessions[visitor, visit]["channel_grouping"], channel),  # type: ignore[attr-defined]
            len(instants),
        )
        for (visitor, visit), instants in members.items()
    ]
    return hits, sessions


def _orders(day: object) -> dict[str, object]:
    from decimal import Decimal

    orders: dict[str, object] = {}
    for hit in sorted(day.hits, key=lambda hit: float(hit["epoch_s"])):  # type: ignore[attr-defined]
        if hit["transaction_revenue_usd"]:
            orders.setdefault(hit["transaction_id"], Decimal(hit["transaction_revenue_usd"]))
    return orders
