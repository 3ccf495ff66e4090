"""The worker's own HTTP: is it alive, is it ready, what did it count. Loopback or a private network only."""

from __future__ import annotations

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from streams.partitions import Partitions
from streams.watchdog import Watchdog


async def serve_health(host: str, port: int, partitions: Partitions, watchdog: Watchdog) -> web.AppRunner:
    """Serve ``/healthz`` (503 when something is stuck: the process is about to end), ``/readyz`` (503 until partitions
    are owned and fences read) and ``/metrics``.
    """

    async def healthz(_request: web.Request) -> web.Response:
        found = watchdog.finding
        body = {
            "status": "stuck" if watchdog.is_stuck else "ok",
            "stuck_seconds": round(found.seconds, 1),
            "who": found.who,
            "waits_for": found.waits_for,
        }
        return web.json_response(body, status=503 if watchdog.is_stuck else 200)

    async def readyz(_request: web.Request) -> web.Response:
        ready = partitions.is_ready
        return web.json_response(
            {"status": "ready" if ready else "waiting for partitions"}, status=200 if ready else 503
        )

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", metrics)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    return runner
