"""Sends what the simulated CRM and till tell, signed, and what ads cost; writes down who may send it.

The secret is made in the data folder of the demo, beside a copy of the installation's own webhooks file to which the
demo's sender is added: whoever may send without the demo may do so with it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from attribution.errors import HeadwaterError
from runtime.collector_client import Intake, carry_all
from runtime.settings import Settings
from runtime.simulator.crm import SimulatedMessage
from runtime.up import UpOptions
from runtime.webhooks_file import WEBHOOKS_FILE

DEMO_WEBHOOKS, DEMO_SECRET = "demo-webhooks.toml", "demo-standard.secret"
FACTS_AT_ONCE = 200
_PREFIX = "whsec_"


class ShopRefused(HeadwaterError):
    """The collector did not take what the simulated shop told, all of which is well-formed."""


def with_sender(options: UpOptions) -> UpOptions:
    """``options`` of a system that takes the demo's webhooks, too. Raises ``Misconfigured`` at its start."""
    path = options.data_dir.resolve() / DEMO_WEBHOOKS
    own = Settings().webhooks_file or options.data_dir / WEBHOOKS_FILE
    return replace(
        options,
        env={**options.env, "HEADWATER_WEBHOOKS_FILE": str(path)},
        before_start=lambda site: write_sender(path.parent, site, own),
    )


def write_sender(data_dir: Path, site: str, own: Path) -> None:
    """The demo's secret, if it is not there yet, and the webhooks file that names it.

    ``own``: the installation's file, if it has one; what it names beside itself is found from here, too.
    """
    secret = data_dir / DEMO_SECRET
    if not secret.exists():
        _write(secret, _PREFIX + base64.b64encode(secrets.token_bytes(32)).decode())
    mine = f'[[webhook]]\nsite = "{site}"\nsender = "standard"\nsecrets = ["file:{DEMO_SECRET}"]\n'
    theirs = own.read_text(encoding="utf-8") if own.exists() else ""
    theirs = re.sub(r"""(["'])file:(?!/)""", rf"\1file:{own.parent.resolve()}/", theirs)
    _write(data_dir / DEMO_WEBHOOKS, f"{theirs}\n{mine}")


def secret_of(data_dir: Path) -> str:
    """The demo's secret, as ``write_sender`` has made it."""
    return (data_dir / DEMO_SECRET).read_text()


def signed(message: SimulatedMessage, secret: str, at_s: int) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a delivery at ``at_s`` (seconds since 1970), as Standard Webhooks says."""
    body = json.dumps(message.body, separators=(",", ":")).encode()
    key = base64.b64decode(secret.removeprefix(_PREFIX))
    content = f"{message.message_id}.{at_s}.".encode() + body
    signature = base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()
    return body, {
        "Content-Type": "application/json",
        "webhook-id": message.message_id,
        "webhook-timestamp": str(at_s),
        "webhook-signature": f"v1,{signature}",
    }


async def send_messages(
    intake: Intake, messages: Sequence[SimulatedMessage], secret: str, *, at_once: int = 4
) -> None:
    """Deliver all ``messages``, at most ``at_once`` at a time.

    Raises ``Transient`` when the collector stays away and ``Misconfigured`` when it does not take one.
    """
    source = iter(messages)

    async def carry() -> None:
        # All carriers draw from the one iterator: asyncio switches only at an await.
        for message in source:
            await intake.webhook("standard", *signed(message, secret, int(time.time())))

    await carry_all(carry() for _ in range(at_once))


async def send_costs(intake: Intake, facts: Sequence[Mapping[str, Any]], key: str = "") -> None:
    """Report all ``facts``, in their order; ``key``: that of ``POST /v1/spend``, if it has one.

    Raises ``Transient`` when the collector stays away, ``ShopRefused`` when it does not take a fact.
    """
    for first in range(0, len(facts), FACTS_AT_ONCE):
        counts = await intake.spend(facts[first : first + FACTS_AT_ONCE], key)
        if counts.refused:
            index, why = counts.refused[0]
            raise ShopRefused(
                f"The collector refused {len(counts.refused)} facts of spend, such as"
                f" {facts[first + index]}: {why.field} {why.code}: {why.message}"
            )


def _write(path: Path, content: str) -> None:
    """Readable by the owner only."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(content)
