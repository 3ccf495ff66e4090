"""Who may send what the demo's CRM and till tell, and how that is signed."""

from __future__ import annotations

from pathlib import Path

from collector.webhooks.request import WebhookHeaders, WebhookRequest
from collector.webhooks.verified import WebhookSender
from collector.webhooks.verify import verify
from runtime.simulator.shop_sender import DEMO_WEBHOOKS, secret_of, signed, with_sender, write_sender
from runtime.simulator.world import build_world
from runtime.up import UpOptions
from runtime.webhooks_file import webhooks_in

ENDS_AT = 1_793_000_000_000


def test_the_collector_believes_the_demo_and_whom_it_believed_before(tmp_path: Path) -> None:
    """The installation's own senders stay; their secrets are found where they were."""
    own = tmp_path / "elsewhere" / "webhooks.toml"
    own.parent.mkdir()
    (own.parent / "shop").write_text("shop-secret")
    own.write_text('[[webhook]]\nsite = "s"\nsender = "shopify"\nsecrets = ["file:shop"]\n')
    write_sender(tmp_path, "s", own)
    first = secret_of(tmp_path)
    write_sender(tmp_path, "s", tmp_path / "webhooks.toml")
    assert secret_of(tmp_path) == first
    write_sender(tmp_path, "s", own)
    hooks = webhooks_in(tmp_path / DEMO_WEBHOOKS, frozenset({"s"}))
    assert set(hooks.secrets) == {("s", WebhookSender.standard), ("s", WebhookSender.shopify)}
    message, at_s = (
        build_world(seed=7, people=400, ends_at=ENDS_AT, has_crm=True).messages[0],
        ENDS_AT // 1000,
    )
    body, headers = signed(message, first, at_s)
    request = WebhookRequest(
        method="POST", url="", headers=WebhookHeaders(tuple(headers.items())), body=body, peer=""
    )
    (known,) = hooks.secrets["s", WebhookSender.standard]
    verified = verify(WebhookSender.standard, request, known, ENDS_AT)
    assert verified.is_read
    assert any(message.message_id in key for key in verified.events[0].keys)
    for name in (DEMO_WEBHOOKS, "demo-standard.secret"):
        assert (tmp_path / name).stat().st_mode & 0o077 == 0


def test_a_system_is_told_of_the_sender_before_it_starts(tmp_path: Path) -> None:
    """What it would have been told otherwise stays."""
    (tmp_path / "webhooks.toml").write_text('public_url = "https://collect.example.com"\n')
    options = with_sender(UpOptions(data_dir=tmp_path, workers=3, env={"A": "b"}))
    path = tmp_path / DEMO_WEBHOOKS
    assert options.env == {"A": "b", "HEADWATER_WEBHOOKS_FILE": str(path)}
    assert (options.workers, path.exists()) == (3, False)
    assert options.before_start is not None
    options.before_start("s")
    hooks = webhooks_in(path, frozenset({"s"}))
    assert hooks.public_url == "https://collect.example.com"
    assert set(hooks.secrets) == {("s", WebhookSender.standard)}
