"""Term, content, device and country from hits to answers: a world worked out by hand, and one of a former version."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from api_store import Store, credit, session
from clickhouse_connect.driver.client import Client
from sinks_rows import NOON

from attribution.entries import entries
from attribution.errors import Rejected
from attribution.hit import Hit, encode_envelope
from attribution.ledger import credit as credited
from attribution.past import past_of, report_of
from attribution.paths import build_path
from attribution.policy import MINUTE_MS, AttributionPolicy
from attribution.stored_past import StoredPast
from attribution.timeline import Timeline
from sinks.tables import WRITTEN
from streams.records import Batch, Record
from streams.rows import conversion_row, credit_rows
from streams.rules import StitchRules
from streams.stitch_batch import Visitor, stitch
from streams.stitch_read import read_batch
from streams.topics import HITS

RULES = StitchRules(AttributionPolicy(), "USD", 1)
PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148"
LAPTOP = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/130.0.0.0 Safari/537.36"
SHOP = "https://shop.example"
MAIL = f"{SHOP}/?utm_source=news&utm_medium=email&utm_term=lamps&utm_content=top"
AD = f"{SHOP}/?utm_source=google&utm_medium=cpc&utm_term=chairs"
DIMENSIONS = ("term", "content", "device", "country")
METRICS = "hits sessions impressions conversions revenue"


class Shop:
    """Hits through stitch and credit into the store; each batch in an insert of its own."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._timelines: dict[Visitor, Timeline] = {}
        self._numbers = itertools.count()

    def hear(self, *hits: Hit) -> None:
        number = next(self._numbers)
        batch = Batch(HITS, 0, "broker", [Record(number, 0, b"", encode_envelope([*hits]))])
        read = read_batch(batch, RULES)
        facts = [item.fact for items in read.by_visitor.values() for item in items if item.fact]
        output = stitch(read, self._timeline, batch, RULES)
        for table, rows in output.rows.items():
            self._store.put_rows(table, [*rows], f"{table} {number}")
        for visitor in output.changed:
            # As the next batch finds it.
            self._timelines[visitor] = Timeline.from_bytes(self._timeline(visitor).to_bytes(), *visitor)
        for fact in facts:
            stored = self._timelines[fact.site, fact.visitor_id].to_bytes()
            past = past_of([StoredPast.from_bytes(stored, fact.site, fact.visitor_id)])
            statement = credited(fact, build_path(past, report_of(fact), RULES.policy), RULES.policy)
            rows = credit_rows(
                fact.site, fact.conversion_id, entries(None, statement), "conversion", "1", fact.received_at
            )
            self._store.put_rows("credits", [*rows], fact.conversion_id)
            row = conversion_row(fact, 1, "conversion", fact.received_at)
            self._store.put_rows("conversions", [row], fact.conversion_id)

    def _timeline(self, visitor: Visitor) -> Timeline:
        return self._timelines.setdefault(visitor, Timeline.empty(*visitor))


_ids = itertools.count()


def hit(visitor: str, minute: int, agent: str, country: str, **fields: Any) -> Hit:
    at = NOON + minute * MINUTE_MS
    return Hit(
        event_id=f"{next(_ids)}",
        site="s",
        visitor_id=visitor,
        occurred_at=at,
        received_at=at,
        user_agent=agent,
        country=country,
        **fields,
    )


@pytest.fixture
def store(clean: tuple[Client, str]) -> Store:
    return Store(*clean)


@pytest.fixture
def shop(store: Store) -> Store:
    """Anna on her phone, in Germany and later in France; Bob on a laptop in France; Carl only sees an ad."""
    shop = Shop(store)
    shop.hear(
        hit("anna", 0, PHONE, "DE", url=MAIL),
        hit("anna", 1, PHONE, "DE", url=f"{SHOP}/lamps"),
        hit("bob", 10, LAPTOP, "FR", url=AD),
        hit("bob", 11, LAPTOP, "FR", url=f"{SHOP}/chairs"),
        hit("carl", 12, PHONE, "DE", event="impression", url=f"{AD}&utm_content=banner"),
    )
    shop.hear(
        hit("anna", 300, PHONE, "FR", url=AD),
        # The shop's server, of which nobody knows where it stands.
        hit("anna", 400, "", "", event="purchase", order_id="1", value="30.00", currency="USD"),
    )
    pay = {"url": f"{SHOP}/pay", "order_id": "2", "value": "10.00", "currency": "USD"}
    shop.hear(hit("bob", 12, LAPTOP, "FR", event="purchase", **pay))
    return store


def told(store: Store, metrics: str, by: str, **given: Any) -> dict[str, list[str]]:
    rows = store.rows(metrics, by, order_by=[[by, "asc"]], **given)
    return {str(key): [str(cell) for cell in cells] for key, *cells in rows}


def test_a_world_worked_out_by_hand(shop: Store) -> None:
    """Anna's two touches share 30.00; Bob's has 10.00. The server's hit is nowhere, its credit is not."""
    metrics = "hits impressions sessions visitors conversions revenue"
    assert told(shop, metrics, "device") == {
        "": ["1", "0", "0", "0", "0", "0.00"],
        "desktop": ["3", "0", "1", "1", "1", "10.00"],
        "mobile": ["4", "1", "2", "1", "1", "30.00"],
    }
    assert told(shop, metrics, "country") == {
        "": ["1", "0", "0", "0", "0", "0.00"],
        "DE": ["3", "1", "1", "1", "0.5", "15.00"],
        "FR": ["4", "0", "2", "2", "1.5", "25.00"],
    }
    assert told(shop, metrics, "term") == {
        "": ["1", "0", "0", "0", "0", "0.00"],
        "chairs": ["5", "1", "2", "2", "1.5", "25.00"],
        "lamps": ["2", "0", "1", "1", "0.5", "15.00"],
    }
    assert told(shop, metrics, "content") == {
        "": ["5", "0", "2", "2", "1.5", "25.00"],
        "banner": ["1", "1", "0", "0", "0", "0.00"],
        "top": ["2", "0", "1", "1", "0.5", "15.00"],
    }


def test_filters_keep_what_is_on_the_device(shop: Store) -> None:
    mobile, french = ["device", "is", ["mobile", "tablet"]], ["country", "is_not", ["DE", ""]]
    assert shop.rows(METRICS, filters=[mobile]) == [[4, 2, 1, Decimal(1), "30.00"]]
    assert shop.rows(METRICS, filters=[mobile, french]) == [[1, 1, 0, Decimal("0.5"), "15.00"]]
    assert shop.rows("visitors people", filters=[mobile]) == [[1, 1]]
    assert shop.rows("revenue", "channel", filters=[["term", "contains", ["LAMP"]]]) == [["Email", "15.00"]]
    day = ["2026-10-02", "2026-10-02"]
    assert shop.rows("revenue", "device", date_range=day, filters=[mobile]) == [["mobile", "30.00"]]


def combinations() -> Iterator[str]:
    for width in range(len(DIMENSIONS) + 1):
        yield from map(" ".join, itertools.combinations(DIMENSIONS, width))


@pytest.mark.parametrize("basis", ["conversion", "touch"])
def test_rows_add_up_to_the_question_without_the_dimension(shop: Store, basis: str) -> None:
    """Whatever it is grouped by; the total is that of the roll-up, which knows none of them."""
    (total,) = shop.rows(METRICS, basis=basis)
    assert total == [8, 3, 1, Decimal(2), "40.00"]
    for by in combinations():
        rows = shop.rows(METRICS, by, basis=basis)
        width = len(by.split())
        sums = [sum(Decimal(str(cells[width + place])) for cells in rows) for place in range(len(total))]
        assert sums == [Decimal(str(cell)) for cell in total], by


def test_a_late_first_hit_moves_the_session_and_not_its_touch(store: Store) -> None:
    """A session is where its first hit is; its touch is where it was found by a search."""
    shop = Shop(store)
    shop.hear(hit("dora", 10, LAPTOP, "FR", url=f"{SHOP}/", referrer="https://www.google.com/"))
    shop.hear(hit("dora", 5, PHONE, "DE", url=f"{SHOP}/x"))
    buys = {"event": "purchase", "value": "8.00", "currency": "USD"}
    shop.hear(hit("dora", 60, "", "", order_id="1", **buys))
    assert told(store, "hits sessions revenue", "country") == {
        "": ["1", "0", "0.00"],
        "DE": ["2", "1", "0.00"],
        "FR": ["0", "0", "8.00"],
    }


def test_as_of_and_changes_know_them_too(shop: Store) -> None:
    by = {"from": "2026-09-01", "dimensions": ["device", "country"]}
    rows = shop.changes(**by).rows
    assert sorted((row[0], row[1], row[-1]) for row in rows) == [
        *[("desktop", "FR", "10.00"), ("mobile", "DE", "15.00"), ("mobile", "FR", "15.00")]
    ]
    only = shop.changes(**by | {"filters": [["device", "is", ["desktop"]]], "dimensions": ["term"]})
    assert (only.after.revenue, [row[0] for row in only.rows]) == ("10.00", ["chairs"])
    assert shop.changes(**by | {"dimensions": ["ad_network"]}).after.revenue == "40.00"
    then = told(shop, "revenue", "country", as_of="2026-10-31")
    assert then == {"DE": ["15.00"], "FR": ["25.00"]}


def test_customers_are_where_their_first_touches_were(shop: Store) -> None:
    """Two people bought for the first time: Anna half in Germany and half in France, Bob on his laptop."""
    assert told(shop, "new_customers", "country") == {"DE": ["0.5"], "FR": ["1.5"]}
    assert told(shop, "new_customers ltv", "device") == {"desktop": ["1", "10.00"], "mobile": ["1", "30.00"]}
    assert told(shop, "new_customers", "term", filters=[["device", "is", ["mobile"]]]) == {
        "chairs": ["0.5"],
        "lamps": ["0.5"],
    }


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_spend_is_not_known_by_any_of_them(store: Store, dimension: str) -> None:
    """Never "" beside what a device earned."""
    for given in ({"by": dimension}, {"filters": [[dimension, "is", ["x"]]]}):
        with pytest.raises(Rejected, match=f"not known by {dimension}"):
            store.ask("spend roas", **given)


def test_rows_of_a_former_version_are_unknown_until_they_are_told(clean: tuple[Client, str]) -> None:
    """Written without the columns; what takes them back says '', and a restatement tells what they did not."""
    client, database = clean
    store = Store(client, database)
    new = ("device", "country")
    old = {
        "sessions": session("s1", hours=[NOON // 1000], hour_hits=[1], hour_page_views=[1], hits=1),
        "touchpoints": {"touchpoint_id": "ab" * 16, "touched_at": NOON},
        "credits": credit("Direct", "7.00", touchpoint_id="ab" * 16, touched_at=NOON, converted_at=NOON),
    }
    for table, row in old.items():
        store.put(table, row, columns=tuple(name for name in WRITTEN[table] if name not in new))
    assert told(store, "sessions revenue", "device") == {"": ["1", "7.00"]}
    for table in ("sessions", "touchpoints"):
        told_now = {**old[table], "device": "mobile", "country": "DE"}
        store.put(table, {**old[table], "sign": -1}, told_now)
    assert told(store, "sessions revenue", "device") == {"mobile": ["1", "7.00"]}
    assert told(store, "sessions revenue", "country") == {"DE": ["1", "7.00"]}
