"""The webhooks file: every sender, secrets from elsewhere, and errors that say which entry is wrong."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from attribution.errors import Misconfigured
from collector.webhooks.secrets import (
    HubspotSecrets,
    PipedriveSecrets,
    SalesforceSecrets,
    SigningSecrets,
    StandardSecrets,
)
from collector.webhooks.verified import WebhookSender
from runtime.settings import Settings
from runtime.webhooks_file import webhooks_in, webhooks_of

SITES = frozenset({"shop", "blog"})
STANDARD = "whsec_" + base64.b64encode(b"0123456789abcdefghijklmn").decode()
ENVIRONMENT = {"ONE": "secret-one", "TWO": "secret-two", "STANDARD": STANDARD, "EMPTY": ""}
DOCS = Path(__file__).parents[2] / "docs" / "webhooks.md"


def read(folder: Path, text: str) -> object:
    path = folder / "webhooks.toml"
    path.write_text(text)
    return webhooks_in(path, SITES, ENVIRONMENT)


def entry(sender: str, rest: str, site: str = "shop") -> str:
    return f'[[webhook]]\nsite = "{site}"\nsender = "{sender}"\n{rest}\n'


def test_every_sender_with_secrets_from_variables_and_files(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("from-a-file\n")
    path = tmp_path / "webhooks.toml"
    path.write_text(
        'public_url = "https://collect.example.com/"\n'
        + entry("stripe", 'secrets = ["env:ONE", "env:TWO"]')
        + entry("stripe", 'secrets = ["file:secret.txt"]')
        + entry("shopify", 'secrets = ["env:TWO"]', "blog")
        + entry("standard", 'secrets = ["env:STANDARD"]')
        + entry("hubspot", 'client_secrets = ["env:ONE"]\noldest_version = "v2"')
        + entry(
            "salesforce",
            'organization_ids = ["00D7F00000107Xs"]\nurl_tokens = ["env:ONE"]\nnetworks = ["13.108.0.0/14"]',
        )
        + entry("pipedrive", 'logins = [{ user = "head", password = "env:ONE" }]')
        + entry("postback", 'keys = ["env:ONE", "env:TWO"]')
    )
    webhooks = webhooks_in(path, SITES, ENVIRONMENT)
    assert webhooks.public_url == "https://collect.example.com"
    assert webhooks.secrets == {
        ("shop", WebhookSender.stripe): (
            SigningSecrets(secrets=("secret-one", "secret-two")),
            SigningSecrets(secrets=("from-a-file",)),
        ),
        ("blog", WebhookSender.shopify): (SigningSecrets(secrets=("secret-two",)),),
        ("shop", WebhookSender.standard): (StandardSecrets(secrets=(STANDARD,)),),
        ("shop", WebhookSender.hubspot): (
            HubspotSecrets(client_secrets=("secret-one",), oldest_version="v2"),
        ),
        ("shop", WebhookSender.salesforce): (
            SalesforceSecrets(
                organization_ids=("00D7F00000107Xs",), url_tokens=("secret-one",), networks=("13.108.0.0/14",)
            ),
        ),
        ("shop", WebhookSender.pipedrive): (PipedriveSecrets(logins=(("head", "secret-one"),)),),
    }
    assert webhooks.postback_keys == {"shop": ("secret-one", "secret-two")}
    assert webhooks.sites_of(WebhookSender.stripe) == ["shop"]
    assert "secret-one" not in repr(webhooks)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[webhook", "is wrong"),
        ("[webhook]\nsite = 1", "webhook"),
        (entry("paypal", 'secrets = ["env:ONE"]'), "paypal"),
        (entry("stripe", ""), "secrets"),
        (entry("stripe", "secrets = []"), r"entry 1 \(stripe\) has an empty list"),
        (entry("stripe", 'secrets = ["env:ONE"]\nsecret = "x"'), "secret"),
        (entry("stripe", 'secrets = ["whsec_literally"]'), r"entry 1 \(stripe\) holds a secret itself"),
        (entry("stripe", 'secrets = ["env:EMPTY"]'), "env:EMPTY is empty"),
        (entry("stripe", 'secrets = ["env:MISSING"]'), "env:MISSING is empty"),
        (entry("stripe", 'secrets = ["file:missing"]'), "missing cannot be read"),
        (entry("stripe", 'secrets = ["env:ONE"]', "elsewhere"), "HEADWATER_SITES"),
        (entry("hubspot", 'client_secrets = ["env:ONE"]'), "public_url"),
        ('public_url = "collect.example.com"\n', "public_url"),
        ('public_url = "https://a.example/?x=1"\n', "public_url"),
        (
            'public_url = "https://a.example"\n'
            + entry("hubspot", 'client_secrets = ["env:ONE"]\noldest_version = "v0"'),
            "oldest_version|v0",
        ),
        (entry("standard", 'secrets = ["env:ONE"]'), r"entry 1 \(standard\): .*base64"),
        (entry("salesforce", ""), r"entry 1 \(salesforce\)"),
        (entry("stripe", 'secrets = ["env:ONE"]') + entry("postback", "keys = []"), r"entry 2 \(postback\)"),
    ],
)
def test_what_is_wrong_is_said_without_the_secret(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(Misconfigured, match=says) as refused:
        read(tmp_path, text)
    assert refused.value.hint
    assert "literally" not in str(refused.value)
    assert "secret-one" not in str(refused.value)


def test_the_file_of_the_data_folder_is_read_if_it_is_there(tmp_path: Path) -> None:
    assert webhooks_of(Settings(data_dir=tmp_path), SITES) is None
    (tmp_path / "webhooks.toml").write_text('public_url = "https://a.example"\n')
    found = webhooks_of(Settings(data_dir=tmp_path), SITES)
    assert found is not None
    assert found.public_url == "https://a.example"
    with pytest.raises(Misconfigured, match="HEADWATER_WEBHOOKS_FILE"):
        webhooks_of(Settings(data_dir=tmp_path, webhooks_file=tmp_path / "none.toml"), SITES)


def test_the_example_of_the_page_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = DOCS.read_text(encoding="utf-8")
    example = text.split("```toml\n")[1].split("```")[0]
    secret = tmp_path / "hubspot"
    secret.write_text("from-a-file")
    example = example.replace("file:/run/secrets/hubspot", f"file:{secret}")
    names = ("STRIPE_WHSEC", "STRIPE_WHSEC_OLD", "SALESFORCE_TOKEN", "PIPEDRIVE_PASSWORD", "POSTBACK_KEY")
    path = tmp_path / "webhooks.toml"
    path.write_text(example)
    webhooks = webhooks_in(path, frozenset({"my-site"}), dict.fromkeys(names, "x"))
    assert {sender.value for _, sender in webhooks.secrets} == {
        "stripe",
        "hubspot",
        "salesforce",
        "pipedrive",
    }
    assert webhooks.postback_keys == {"my-site": ("x",)}
