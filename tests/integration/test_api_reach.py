"""Reach: distinct people by a sketch where the pixel heard impressions, a network's own figure where it did not."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from api_store import Store
from clickhouse_connect.driver.client import Client
from sinks_rows import DAY, NOON

from attribution.errors import Rejected

CHANNELS = ("Display", "Paid Social")


@pytest.fixture
def store(clean: tuple[Client, str]) -> Store:
    return Store(*clean)


def seen(visitor: str, number: int, **given: Any) -> dict[str, Any]:
    told = {"visitor_id": visitor, "event_id": str(number), "event": "impression", "in_session": 0}
    return told | {"channel": "Display", "source": "dv360", "occurred_at": NOON} | given


def figure(reach: int | None, channel: str = "Display", **given: Any) -> dict[str, Any]:
    told = {
        "channel": channel,
        "amount": "1",
        "currency": "USD",
        "ad_network": "google_ads",
        "cause": "report",
    }
    return told | {"level": "campaign", "campaign_id": "1", "reach": reach, "day": "2026-10-02"} | given


def told(store: Store, dimensions: str = "", **given: Any) -> dict[Any, int | None]:
    answer = store.ask("reach", dimensions, **given)
    return {
        tuple(row[:-1]) if len(row) > 2 else row[0] if len(row) == 2 else "": row[-1] for row in answer.rows
    }


def test_people_are_counted_once_over_any_grouping(store: Store) -> None:
    """A recount from the hits: by channel and day, by either, and in all; an opened email reaches nobody."""
    random = Random(3)
    hits = [
        seen(
            f"v{random.randrange(60)}",
            number,
            channel=random.choice(CHANNELS),
            occurred_at=NOON + random.randrange(4) * DAY + random.randrange(3_600_000),
            site=random.choice(("site1", "site1", "site2")),
            event=random.choice(("impression", "impression", "email_open")),
        )
        for number in range(900)
    ]
    store.put("hits", *hits)
    expected: defaultdict[Any, set[tuple[str, str]]] = defaultdict(set)
    for hit in hits:
        if hit["event"] == "impression":
            day = datetime.fromtimestamp(hit["occurred_at"] / 1000, UTC).date().isoformat()
            for group in ("", hit["channel"], day, (hit["channel"], day), hit["site"]):
                expected[group].add((hit["site"], hit["visitor_id"]))
    counts = {group: len(people) for group, people in expected.items()}
    found = {
        **told(store),
        **told(store, "channel"),
        **told(store, "day"),
        **told(store, "channel day"),
        **told(store, "site"),
    }
    assert found == counts
    assert counts[""] < counts["Display"] + counts["Paid Social"]
    only = told(store, "day", filters=[["channel", "is", ["Display"]], ["site", "is", ["site1"]]])
    assert only == {
        group[1]: sum(site == "site1" for site, _ in people)
        for group, people in expected.items()
        if isinstance(group, tuple) and group[0] == "Display"
    }
    # Money of several currencies is converted by day; people are no money.
    store.put("spend", figure(None), figure(None, currency="EUR", campaign_id="2"))
    assert told(store, "channel") == {channel: counts[channel] for channel in CHANNELS}


def test_the_pixel_goes_before_a_networks_own_figure(store: Store) -> None:
    """Beside each other they would be two definitions in one column of one row."""
    store.put("spend", figure(700), figure(300, "Paid Social"), figure(None, "Audio", campaign_id="3"))
    store.put("hits", seen("a", 1), seen("b", 2), seen("a", 3), seen("c", 4, channel="Paid Search"))
    answer = store.ask("reach spend", "channel", order_by=[["reach", "desc"]])
    assert [[row[0], row[1]] for row in answer.rows] == [
        ["Paid Social", 300],
        ["Display", 2],
        ["Paid Search", 1],
        ["Audio", None],
    ]
    assert answer.meta.reach is not None
    assert answer.meta.reach.told_by == ("network", "pixel", "pixel", "nobody")
    assert (answer.meta.reach.adds_up, answer.meta.reach.exact_up_to) == (False, 65_536)
    assert store.ask("spend", "channel").meta.reach is None
    # Hits are not dated by when they became known: as of an instant only networks have told.
    earlier = store.ask("reach", "channel", as_of="2026-12-01", order_by=[["reach", "desc"]])
    assert earlier.rows[:2] == [["Display", 700], ["Paid Social", 300]]


def test_beyond_what_it_counts_exactly_the_sketch_is_as_good_as_it_says(
    store: Store, clean: tuple[Client, str]
) -> None:
    """300,000 people, each seen twice, in two channels: five standard errors are two in a million chances."""
    people = 300_000
    client, database = clean
    client.command(
        f"INSERT INTO {database}.hits (site, event_id, visitor_id, event, occurred_at, channel)"
        f" SELECT 'site1', toString(number), toString(number % {people}), 'impression',"
        f" fromUnixTimestamp64Milli(toInt64({NOON}), 'UTC'), if(number < {people}, 'Display', 'Audio')"
        f" FROM numbers({2 * people})"
    )
    answer = store.ask("reach", "")
    (((reach,),), meta) = answer.rows, answer.meta.reach
    assert meta is not None
    assert reach != people
    assert abs(reach - people) <= 5 * meta.standard_error * people
    assert sum(row[1] for row in store.ask("reach", "channel").rows) > Decimal("1.9") * people


def test_reach_knows_no_landing_page(store: Store) -> None:
    with pytest.raises(Rejected):
        store.ask("reach", "landing_page")
