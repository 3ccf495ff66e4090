"""The patient client against a real HTTP server that misbehaves in every way a collector can."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

import runtime.collector_client as client_module
from attribution.errors import Misconfigured, Transient
from runtime.collector_client import Intake, Refusal, carry_all, open_intake
from runtime.simulator.sender import HitRefused, send
from runtime.simulator.world import build_world

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
HITS = [{"event_id": "e1", "visitor_id": "v"}, {"event_id": "e2", "visitor_id": "v"}]


@asynccontextmanager
async def _client(answer: Answer) -> AsyncIterator[Intake]:
    """A client of a server on a free port that answers everything with ``answer``."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        async with open_intake(f"http://127.0.0.1:{port}/", "site_x") as intake:
            yield intake
    finally:
        await runner.cleanup()


def _all_well(count: int) -> web.Response:
    return web.json_response({"success": True, "results": [{"status": 200}] * count})


async def test_busy_collector_is_asked_again_with_the_same_event_ids() -> None:
    """429 and 503, with and without Retry-After; then it is counted as sent once."""
    bodies = []
    statuses = iter([503, 429, 500, 200])

    async def answer(request: web.Request) -> web.Response:
        bodies.append(await request.json())
        status = next(statuses)
        return _all_well(2) if status == 200 else web.Response(status=status, headers={"Retry-After": "0"})

    async with _client(answer) as intake:
        assert await intake.batch(HITS) == [None, None]
    assert len(bodies) == 4
    assert all(body == bodies[0] for body in bodies)
    assert [hit["event_id"] for hit in bodies[0]["batch"]] == ["e1", "e2"]
    assert {hit["site"] for hit in bodies[0]["batch"]} == {"site_x"}
    assert (intake.retries, intake.repeated_hits) == (3, 0)


async def test_connection_lost_after_the_hits_arrived_counts_as_perhaps_doubled() -> None:
    """The answer is swallowed once."""
    tries = 0

    async def answer(request: web.Request) -> web.Response:
        nonlocal tries
        tries += 1
        await request.read()
        if tries == 1:
            assert request.transport is not None
            request.transport.abort()
        return _all_well(2)

    async with _client(answer) as intake:
        assert await intake.batch(HITS) == [None, None]
    assert (tries, intake.repeated_hits) == (2, 2)


async def test_partial_results_name_the_refused_hit() -> None:
    """Also when all are refused and the status says so."""
    refused = {"status": 422, "code": "bad_time", "message": "Send ISO 8601.", "field": "occurred_at"}

    async def some(request: web.Request) -> web.Response:
        return web.json_response({"success": True, "results": [{"status": 200}, refused]})

    async def all_(request: web.Request) -> web.Response:
        return web.json_response({"code": "bad_time", "results": [refused, refused]}, status=422)

    expected = Refusal("bad_time", "Send ISO 8601.", "occurred_at")
    async with _client(some) as intake:
        assert await intake.batch(HITS) == [None, expected]
    async with _client(all_) as intake:
        assert await intake.batch(HITS) == [expected, expected]


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (401, '{"code": "unknown_site", "results": [{"status": 401}, {"status": 401}]}'),
        (413, '{"code": "body_too_large"}'),
        (404, "<html>not found</html>"),
        (200, '{"success": true, "results": []}'),
        (200, "not json"),
    ],
)
async def test_refused_batch_is_a_wrong_use_and_not_repeated(status: int, body: str) -> None:
    """Another try would end the same."""
    tries = 0

    async def answer(request: web.Request) -> web.Response:
        nonlocal tries
        tries += 1
        return web.Response(status=status, text=body)

    async with _client(answer) as intake:
        with pytest.raises(Misconfigured):
            await intake.batch(HITS)
    assert tries == 1


async def test_pixel_carries_fields_exactly_and_no_cookie_of_another_visitor() -> None:
    """Plus signs, ampersands and emoji survive; the collector's cookie is not kept."""
    seen = []

    async def answer(request: web.Request) -> web.Response:
        seen.append((dict(request.query), request.headers["User-Agent"], request.headers.get("Cookie")))
        response = web.Response(body=b"GIF")
        response.set_cookie("hw_vid", "abcdefgh")
        return response

    url = "https://shop.example/a+b%20c?q=1&r=%2B#😀"
    async with _client(answer) as intake:
        await intake.pixel({"url": url}, "Agent/1")
        await intake.pixel({"url": url}, "Agent/2")
    assert seen == [
        ({"site": "site_x", "url": url}, "Agent/1", None),
        ({"site": "site_x", "url": url}, "Agent/2", None),
    ]


async def test_a_pixel_that_was_not_kept_is_sent_again_although_it_got_its_gif() -> None:
    """The page shall not see an error, so only a header says it: no room in the spool is no acknowledgement."""
    reasons = iter(["not_durable", "rate_limited", "internal", ""])
    tries = 0

    async def answer(request: web.Request) -> web.Response:
        nonlocal tries
        tries += 1
        reason = next(reasons)
        return web.Response(body=b"GIF", headers={"x-headwater-dropped": reason} if reason else {})

    async with _client(answer) as intake:
        await intake.pixel({"event_id": "e1"}, "Agent/1")
    assert (tries, intake.retries) == (4, 3)


async def test_a_pixel_that_is_refused_for_good_is_a_wrong_use() -> None:
    """Another try would end the same; the reason is named."""
    tries = 0

    async def answer(request: web.Request) -> web.Response:
        nonlocal tries
        tries += 1
        return web.Response(body=b"GIF", headers={"x-headwater-dropped": "unknown_site"})

    async with _client(answer) as intake:
        with pytest.raises(Misconfigured, match="unknown_site"):
            await intake.pixel({"event_id": "e1"}, "Agent/1")
    assert tries == 1


async def test_absent_collector_is_given_up_at_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the address in the message."""
    monkeypatch.setattr(client_module, "PATIENCE_S", 0.3)
    async with open_intake("http://127.0.0.1:9", "site_x") as intake:
        with pytest.raises(Transient, match=r"127\.0\.0\.1:9"):
            await intake.batch(HITS)
    assert intake.retries > 0


async def test_pixels_stay_under_the_collectors_rate_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over the limit the GIF comes all the same, but the hit is not kept."""
    monkeypatch.setattr(client_module, "PIXELS_PER_SECOND", 100)

    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=b"GIF")

    async with _client(answer) as intake:
        began = asyncio.get_running_loop().time()
        await carry_all(intake.pixel({}, "x") for _ in range(60))
        assert asyncio.get_running_loop().time() - began >= (60 / 100 - client_module.PIXEL_BURST_S) * 0.95


async def test_world_is_sent_whole_and_acknowledged_exactly() -> None:
    """Every hit of the simulator once, through failures in between."""
    world = build_world(seed=5, people=40, ends_at=1_793_000_000_000)
    arrived: list[str] = []
    requests = 0

    async def answer(request: web.Request) -> web.Response:
        nonlocal requests
        requests += 1
        if requests % 7 == 0:
            return web.Response(status=503, headers={"Retry-After": "0"})
        if request.method == "GET":
            arrived.append(request.query["event_id"])
            return web.Response(body=b"GIF")
        batch = (await request.json())["batch"]
        arrived.extend(hit["event_id"] for hit in batch)
        assert all(hit["context"]["userAgent"] for hit in batch)
        return _all_well(len(batch))

    acknowledged: list[int] = []
    async with _client(answer) as intake:
        await send(intake, world.hits, acknowledged.append)
    assert sorted(arrived) == sorted(hit.fields["event_id"] for hit in world.hits)
    assert sum(acknowledged) == world.truth.sent


async def test_refused_simulated_hit_stops_the_demo_with_its_reason() -> None:
    """The simulator's hits are all well-formed: a refusal is a fault to be seen."""
    world = build_world(seed=5, people=5, ends_at=1_793_000_000_000)

    async def answer(request: web.Request) -> web.Response:
        if request.method == "GET":
            return web.Response(body=b"GIF")
        count = len((await request.json())["batch"])
        return web.json_response(
            {"results": [{"status": 422, "code": "bad_url", "message": "m", "field": "url"}] * count}
        )

    async with _client(answer) as intake:
        with pytest.raises(HitRefused, match="bad_url"):
            await send(intake, world.hits, lambda hits: None)


async def test_first_error_of_several_carriers_comes_out_as_itself() -> None:
    """Not wrapped in a group, so that the command line can name it; the others are stopped."""
    stopped = asyncio.Event()

    async def fails() -> None:
        raise Misconfigured("wrong", "right it")

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    with pytest.raises(Misconfigured):
        await carry_all([waits(), fails()])
    assert stopped.is_set()
