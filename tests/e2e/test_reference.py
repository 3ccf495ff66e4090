"""A running system against an independent reading of the definitions: every credit to the last unit, every session.

``reference`` imports nothing of ours. Thousands of events with edges of every rule (pauses of exactly the gap, visits
of exactly the cap, touches exactly at the edge of the lookback), in random order, doubled, by pixel, single and batch.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from clickhouse_connect.driver.client import Client
from reference import (
    CAP,
    DAY,
    DECIMALS,
    GAP,
    LOOKBACK,
    MINUTE,
    MODELS,
    WAYS,
    Credit,
    Event,
    credits,
    kept,
    sessions,
)

from runtime.up import Up, UpOptions
from sinks.client import connect

SEED = 7
VISITORS = 90
PATIENCE_S = 120.0
SITE_URL = "https://shop.example"


def wander(rng: random.Random, visitor: str, now: int) -> list[Event]:
    """One visitor's events, no two at the same instant."""
    at = now - rng.randint(130, 200) * DAY + rng.randint(0, DAY)
    events: dict[int, Event] = {}

    def happen(at: int, name: str = "page_view", **more: Any) -> None:
        events.setdefault(at, Event(visitor, f"{visitor}-{len(events)}", at, name, **more))

    for _ in range(rng.randint(2, 40)):
        step = rng.random()
        if step < 0.06:  # a visit that lasts as long as one may
            for _ in range(CAP // GAP + 1):
                at += GAP - rng.choice((0, 0, 0, 1))
                happen(at, page="/long", way=WAYS[0] if rng.random() < 0.97 else rng.choice(WAYS))
        elif step < 0.12 and events:  # a server's conversion at the edge of the lookback
            name = rng.choice(list(LOOKBACK))
            edge = rng.choice(list(events)) + LOOKBACK[name] + rng.choice((-1, 0, 0, 1))
            if edge < now - DAY:
                happen(edge, name, value=f"{rng.randint(0, 999)}.{rng.randint(0, 99):02}", currency="USD")
            continue
        elif step < 0.5:
            at += rng.randint(1, 20 * MINUTE)
        elif step < 0.65:
            at += GAP + rng.choice((-1, 0, 1))
        else:
            at += rng.randint(GAP, rng.choice((5, 25)) * DAY)
        if at >= now - DAY:
            break
        kind = rng.random()
        if kind < 0.72:
            happen(at, page=f"/p{rng.randint(0, 9)}", way=rng.choice(WAYS))
        elif kind < 0.8:
            happen(at, rng.choice(("page_view", "impression", "identify", "add_to_cart")), page="/x")
        else:
            convert(rng, at, happen)
    return list(events.values())


def convert(rng: random.Random, at: int, happen: Callable[..., None]) -> None:
    """A conversion of a page or a server, with or without value and order id; order ids are shared by visitors."""
    currency = rng.choice(("USD", "USD", "EUR", "JPY", "BHD", ""))
    digits = DECIMALS[currency or "USD"]
    amount = f"{rng.randint(0, 10**5)}" + (f".{rng.randint(0, 10**digits - 1):0{digits}}" if digits else "")
    has_value = rng.random() < 0.9
    happen(
        at,
        rng.choice(("purchase", "purchase", "purchase", "lead", "sign_up")),
        **(rng.choice(({"page": "/thanks", "way": rng.choice(WAYS)}, {}))),
        value=amount if has_value else "",
        currency=currency if has_value else "",
        order_id=f"o{rng.randint(0, VISITORS * 2)}" if rng.random() < 0.7 else "",
    )


def disorder(rng: random.Random, events: list[Event], now: int) -> list[Event]:
    """Some events twice, some again under the same id with other content; all shuffled."""
    sent = [*events, *(event for event in events if rng.random() < 0.1)]
    for event in events:
        if rng.random() < 0.02 and event.at < now - 2 * DAY:
            other = event.at + rng.randint(1, 10**6) * 2 + 1
            sent.append(Event(event.visitor, event.event_id, other, page="/other", way=rng.choice(WAYS)))
    rng.shuffle(sent)
    return sent


def fields_of(event: Event) -> dict[str, Any]:
    """As the collector takes them: times and amounts in either notation, currencies in either case."""
    is_even = event.at % 2 == 0
    moment = datetime.fromtimestamp(event.at / 1000, UTC)
    url = f"{SITE_URL}{event.page}?{event.way.query}".rstrip("?") if event.page else ""
    given = {
        "event": event.name,
        "event_id": event.event_id,
        "visitor_id": event.visitor,
        "occurred_at": event.at if is_even else moment.isoformat(timespec="milliseconds"),
        "url": url,
        "referrer": event.way.referrer if url else "",
        "value": event.value and (float(event.value) if is_even else event.value),
        "currency": event.currency if is_even else event.currency.lower(),
        "order_id": event.order_id,
    }
    return {name: value for name, value in given.items() if value != ""}


async def send(rng: random.Random, run: dict[str, Any], events: list[Event]) -> None:
    """One after the other, so that of copies the first that is sent is the first in the log."""
    left = [fields_of(event) for event in events]
    async with aiohttp.ClientSession(run["collector"], cookie_jar=aiohttp.DummyCookieJar()) as http:
        while left:
            size = rng.choice((1, 1, 2, 30, 100, 300))
            some, left = left[:size], left[size:]
            if size > 1:
                body = {"site": run["site_key"], "batch": [{"type": "track", **fields} for fields in some]}
                async with http.post("/v1/batch", json=body) as answer:
                    results = (await answer.json())["results"]
                    assert [result["status"] for result in results] == [200] * len(some)
            elif rng.random() < 0.5:
                params = {name: str(value) for name, value in {"site": run["site_key"], **some[0]}.items()}
                async with http.get("/p.gif", params=params) as answer:
                    assert "x-headwater-dropped" not in answer.headers
            else:
                async with http.post("/v1/track", json={"site": run["site_key"], **some[0]}) as answer:
                    assert answer.status == 200


def milliseconds(moment: datetime) -> int:
    return round(moment.replace(tzinfo=UTC).timestamp() * 1000)


def credits_found(client: Client) -> dict[Credit, tuple[Decimal, Decimal]]:
    """The ledger by plain sums, conversions named as ``reference`` does."""
    orders = {
        row[0]: f"{row[1]} {row[2] or row[3] + '/' + row[4]}"
        for row in client.query(
            "SELECT conversion_id, type, order_id, visitor_id, event_id FROM conversions"
            " GROUP BY ALL HAVING sum(sign) != 0"
        ).result_rows
    }
    rows = client.query(
        "SELECT model, conversion_id, touchpoint_id, touched_at, channel, source, medium, campaign, currency,"
        " converted_at, sum(amount) AS a, sum(weight) AS w FROM credits WHERE model IN {models:Array(String)}"
        " GROUP BY ALL HAVING a != 0 OR w != 0",
        parameters={"models": list(MODELS)},
    ).result_rows
    return {
        Credit(
            row[0],
            orders.get(row[1], row[1]),
            milliseconds(row[3]) if row[2] else None,
            *row[4:9],
            milliseconds(row[9]),
        ): (row[10], row[11])
        for row in rows
    }


def sessions_found(client: Client) -> Counter[tuple[Any, ...]]:
    rows = client.query(
        "SELECT visitor_id, started_at, ended_at, hits, landing_page, channel, source, medium, campaign, sum(sign)"
        " FROM sessions GROUP BY ALL HAVING sum(sign) != 0"
    ).result_rows
    return Counter({(row[0], milliseconds(row[1]), milliseconds(row[2]), *row[3:9]): row[9] for row in rows})


async def revenue_by_day(run: dict[str, Any], model: str, basis: str) -> dict[tuple[str, str], Decimal]:
    question = {
        "metrics": ["revenue"],
        "dimensions": ["channel", "day"],
        "model": model,
        "basis": basis,
        "limit": 10_000,
        # The reference knows no exchange rates: money of other currencies is left out.
        "convert": False,
    }
    headers = {"Authorization": f"Bearer {run['read_key']}"}
    async with aiohttp.ClientSession(headers=headers) as http:
        while True:
            async with http.post(f"{run['api']}/v1/query", json=question) as answer:
                if answer.status != 503:
                    assert answer.status == 200, await answer.text()
                    rows = (await answer.json())["rows"]
                    break
                await asyncio.sleep(int(answer.headers["retry-after"]))
    return {(channel, day): Decimal(amount) for channel, day, amount in rows if Decimal(amount)}


@pytest.mark.slow
async def test_every_credit_and_session_is_what_the_definitions_say(tmp_path: Path) -> None:
    rng = random.Random(SEED)
    now = time.time_ns() // 1_000_000
    events = [event for number in range(VISITORS) for event in wander(rng, f"v{number}", now)]
    sent = disorder(rng, events, now)
    counted = kept(sent)
    expected = credits(counted)
    async with Up(
        UpOptions(data_dir=tmp_path / "up", collector_port=0, api_port=0, env={"HEADWATER_LEARN_HOURS": "0"})
    ) as up:
        await send(rng, up.run, sent)
        client = await asyncio.to_thread(connect, up.run["clickhouse"], "headwater")
        deadline = time.monotonic() + PATIENCE_S
        while (found := await asyncio.to_thread(credits_found, client)) != expected:
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(0.5)
        assert client.query("SELECT count() FROM hits").result_rows == [(len(counted),)]
        wrong = {key: (expected.get(key), found.get(key)) for key in expected.keys() | found.keys()}
        wrong = {key: both for key, both in wrong.items() if both[0] != both[1]}
        assert not wrong, f"{len(wrong)} of {len(expected)} credits: {list(wrong.items())[:5]}"
        told = Counter(
            (
                v.visitor,
                v.started,
                v.ended,
                v.hits,
                v.page,
                v.way.channel,
                v.way.source,
                v.way.medium,
                v.way.campaign,
            )
            for v in sessions(counted)
        )
        assert await asyncio.to_thread(sessions_found, client) == told
        for model in MODELS:
            for basis in ("conversion", "touch"):
                sums: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
                for key, (amount, _) in expected.items():
                    if key.model == model and key.currency == "USD":
                        at = key.converted if basis == "conversion" or key.touched is None else key.touched
                        sums[key.channel, f"{datetime.fromtimestamp(at / 1000, UTC):%Y-%m-%d}"] += amount
                answered = await revenue_by_day(up.run, model, basis)
                assert answered == {place: amount for place, amount in sums.items() if amount}
