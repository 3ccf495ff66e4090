"""Who tells Headwater of it: a browser, HubSpot, a shop, Google's report. Each as its documentation says."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from typing import Any

import aiohttp

from attribution.errors import Misconfigured
from runtime.collector_client import Intake

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
HUBSPOT_SECRET = "story-hubspot-client-secret"
STANDARD_SECRET = base64.b64encode(b"a secret of thirty-two bytes, ok").decode()
_AGENT = (
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Safari/605.1.15"
)


class Senders:
    """All of them. ``day_0``: epoch milliseconds, midnight UTC."""

    def __init__(self, intake: Intake, http: aiohttp.ClientSession, url: str, site: str, day_0: int) -> None:
        self._intake = intake
        self._http = http
        self._url = url
        self._site = site
        self.day_0 = day_0

    def at(self, day: int, hour: int = 0, minute: int = 0) -> int:
        """Epoch milliseconds of a moment of the story, UTC."""
        return self.day_0 + day * DAY_MS + hour * HOUR_MS + minute * 60_000

    def text(self, day: int, hour: int = 0) -> str:
        """The same as ISO 8601."""
        return _iso(self.at(day, hour))

    async def browser(self, device: str, at: int, **fields: str) -> None:
        """A hit of one of Ada's devices."""
        hit = {"visitor_id": device, "event_id": f"{device}-{at}", "occurred_at": str(at), **fields}
        await self._intake.pixel(hit, _AGENT)

    async def hubspot(self, *events: Mapping[str, Any]) -> None:
        """A batch, signed (v3: method, address, body and stamp)."""
        body = json.dumps(events).encode()
        url, stamp = f"{self._url}/webhooks/hubspot?site={self._site}", str(time.time_ns() // 1_000_000)
        signed = b"POST" + url.encode() + body + stamp.encode()
        signature = base64.b64encode(hmac.digest(HUBSPOT_SECRET.encode(), signed, hashlib.sha256)).decode()
        await self._post(
            url, body, {"X-HubSpot-Signature-v3": signature, "X-HubSpot-Request-Timestamp": stamp}
        )

    async def shop(self, message_id: str, kind: str, at: int, data: Mapping[str, Any]) -> None:
        """A Standard Webhook."""
        told = {"type": kind, "timestamp": _iso(at), "data": data}
        body, stamp = json.dumps(told).encode(), str(int(time.time()))
        signed = f"{message_id}.{stamp}.".encode() + body
        signature = base64.b64encode(hmac.digest(base64.b64decode(STANDARD_SECRET), signed, hashlib.sha256))
        headers = {
            "webhook-id": message_id,
            "webhook-timestamp": stamp,
            "webhook-signature": f"v1,{signature.decode()}",
        }
        await self._post(f"{self._url}/webhooks/standard?site={self._site}", body, headers)

    async def report(self, **fact: str) -> dict[str, Any]:
        """One row of a cost report; what became of it."""
        body = json.dumps({"facts": [fact]}).encode()
        login = base64.b64encode(f"{self._site}:".encode()).decode()
        return await self._post(f"{self._url}/v1/spend", body, {"Authorization": f"Basic {login}"})

    async def _post(self, url: str, body: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
        sent = {"Content-Type": "application/json", **headers}
        async with self._http.post(url, data=body, headers=sent) as answer:
            text = await answer.text()
            if answer.status // 100 != 2:
                raise Misconfigured(f"{url} answered {answer.status}: {text}", "Look at the step before.")
            return json.loads(text) if text.startswith("{") else {}


def _iso(at: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at / 1000))


def changed(kind: str, object_id: int, name: str, value: str, at: int) -> dict[str, Any]:
    """HubSpot's event of one property."""
    return {
        "subscriptionType": f"{kind}.propertyChange",
        "objectId": object_id,
        "propertyName": name,
        "propertyValue": value,
        **_named(at, f"{kind}{object_id}{name}{value}"),
    }


def created(kind: str, object_id: int, at: int) -> dict[str, Any]:
    """HubSpot's event of a new object."""
    return {
        "subscriptionType": f"{kind}.creation",
        "objectId": object_id,
        **_named(at, f"{kind}{object_id}"),
    }


def associated(deal: int, contact: int, at: int) -> dict[str, Any]:
    """HubSpot's event that says whose deal it is."""
    return {
        "subscriptionType": "deal.associationChange",
        "associationType": "DEAL_TO_CONTACT",
        "fromObjectId": deal,
        "toObjectId": contact,
        "associationRemoved": False,
        **_named(at, f"{deal}to{contact}"),
    }


def _named(at: int, said: str) -> dict[str, Any]:
    number = int.from_bytes(hashlib.sha256(f"{said}{at}".encode()).digest()[:6])
    return {"eventId": number, "subscriptionId": 1, "portalId": 62515, "occurredAt": at, "attemptNumber": 0}
