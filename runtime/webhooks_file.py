"""The file that says who may send webhooks and postbacks: TOML; its secrets stand elsewhere (docs/webhooks.md)."""

from __future__ import annotations

import os
import tomllib
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from attribution.errors import Misconfigured
from collector.webhooks.secrets import (
    HubspotSecrets,
    HubspotVersion,
    PipedriveSecrets,
    SalesforceSecrets,
    SigningSecrets,
    StandardSecrets,
    WebhookSecrets,
)
from collector.webhooks.settings import Webhooks
from collector.webhooks.verified import WebhookSender
from runtime.settings import Settings

WEBHOOKS_FILE = "webhooks.toml"
_POSTBACK = "postback"
_ENV, _FILE = "env:", "file:"


class _Entry(msgspec.Struct, forbid_unknown_fields=True, tag_field="sender", kw_only=True):
    site: str

    @property
    def sender(self) -> str:
        return str(self.__struct_config__.tag)


class _Stripe(_Entry, tag="stripe"):
    secrets: list[str]


class _Shopify(_Entry, tag="shopify"):
    secrets: list[str]


class _Standard(_Entry, tag="standard"):
    secrets: list[str]


class _Hubspot(_Entry, tag="hubspot"):
    client_secrets: list[str]
    oldest_version: HubspotVersion = "v3"


class _Salesforce(_Entry, tag="salesforce"):
    organization_ids: list[str] = []
    url_tokens: list[str] = []
    networks: list[str] = []
    data360_keys: list[str] = []


class _Login(msgspec.Struct, forbid_unknown_fields=True):
    user: str
    password: str


class _Pipedrive(_Entry, tag="pipedrive"):
    logins: list[_Login]


class _Postback(_Entry, tag=_POSTBACK):
    keys: list[str]


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    webhook: list[_Stripe | _Shopify | _Standard | _Hubspot | _Salesforce | _Pipedrive | _Postback] = []
    public_url: str = ""


def webhooks_of(settings: Settings, sites: frozenset[str]) -> Webhooks | None:
    """What the file that is named says, else ``webhooks.toml`` of the data folder; None if there is none."""
    path = settings.webhooks_file or settings.data_dir / WEBHOOKS_FILE
    if settings.webhooks_file is None and not path.exists():
        return None
    return webhooks_in(path, sites)


def webhooks_in(path: Path, sites: frozenset[str], environment: Mapping[str, str] | None = None) -> Webhooks:
    """What the file says, secrets put in. Raises ``Misconfigured`` that names the entry and never a secret."""
    try:
        document = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), _Document)
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(
            f"The webhooks file {path} cannot be read: {error}.", "Name another with HEADWATER_WEBHOOKS_FILE."
        ) from error
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise Misconfigured(
            f"The webhooks file {path} is wrong: {error}.", "See docs/webhooks.md."
        ) from error
    known = os.environ if environment is None else environment
    secrets: defaultdict[tuple[str, WebhookSender], list[WebhookSecrets]] = defaultdict(list)
    postback_keys: defaultdict[str, list[str]] = defaultdict(list)
    for number, entry in enumerate(document.webhook, start=1):
        where = f"{path}, entry {number} ({entry.sender})"
        if entry.site not in sites:
            raise Misconfigured(
                f"{where}: its site is not one of HEADWATER_SITES.",
                "Write the public write key of a website.",
            )
        reader = _Secrets(where, known, path.parent)
        try:
            if isinstance(entry, _Postback):
                postback_keys[entry.site] += reader.all(entry.keys)
            else:
                secrets[entry.site, WebhookSender(entry.sender)].append(_secrets_of(entry, reader))
        except Misconfigured as error:
            if str(error).startswith(where):
                raise
            raise Misconfigured(
                f"{where}: {str(error).removesuffix(' ' + error.hint)}", error.hint
            ) from error
    _check_url(document.public_url, path, any(sender is WebhookSender.hubspot for _, sender in secrets))
    return Webhooks(
        public_url=document.public_url.rstrip("/"),
        secrets={place: tuple(its) for place, its in secrets.items()},
        postback_keys={site: tuple(keys) for site, keys in postback_keys.items()},
    )


def _secrets_of(
    entry: _Stripe | _Shopify | _Standard | _Hubspot | _Salesforce | _Pipedrive, reader: _Secrets
) -> WebhookSecrets:
    match entry:
        case _Standard():
            return StandardSecrets(secrets=reader.all(entry.secrets))
        case _Stripe() | _Shopify():
            return SigningSecrets(secrets=reader.all(entry.secrets))
        case _Hubspot():
            return HubspotSecrets(
                client_secrets=reader.all(entry.client_secrets), oldest_version=entry.oldest_version
            )
        case _Salesforce():
            return SalesforceSecrets(
                organization_ids=tuple(entry.organization_ids),
                url_tokens=reader.all(entry.url_tokens) if entry.url_tokens else (),
                networks=tuple(entry.networks),
                data360_keys=reader.all(entry.data360_keys) if entry.data360_keys else (),
            )
        case _Pipedrive():
            return PipedriveSecrets(
                logins=tuple((login.user, reader.one(login.password)) for login in entry.logins)
            )


class _Secrets:
    """Finds the secrets of one entry where it says that they are."""

    def __init__(self, where: str, environment: Mapping[str, str], folder: Path) -> None:
        self._where = where
        self._environment = environment
        self._folder = folder

    def all(self, places: list[str]) -> tuple[str, ...]:
        """Raises ``Misconfigured``, also when there are none."""
        if not places:
            raise Misconfigured(f"{self._where} has an empty list of secrets.", "Write at least one.")
        return tuple(self.one(place) for place in places)

    def one(self, place: str) -> str:
        """Raises ``Misconfigured``: a secret that is missing, empty, or stands in the file itself."""
        if place.startswith(_ENV):
            secret = self._environment.get(place.removeprefix(_ENV), "")
        elif place.startswith(_FILE):
            path = self._folder / place.removeprefix(_FILE)
            try:
                secret = path.read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
            except (OSError, UnicodeDecodeError) as error:
                raise Misconfigured(
                    f"{self._where}: {path} cannot be read ({type(error).__name__}).",
                    "Let it hold the secret.",
                ) from error
        else:
            raise Misconfigured(
                f"{self._where} holds a secret itself.", "Write env:NAME or file:/path, and the secret there."
            )
        if not secret:
            raise Misconfigured(f"{self._where}: {place} is empty.", "Put the secret there.")
        return secret


def _check_url(url: str, path: Path, is_needed: bool) -> None:
    parts = urlsplit(url)
    is_good = parts.scheme in ("http", "https") and parts.hostname and not (parts.query or parts.fragment)
    if (url or is_needed) and not is_good:
        raise Misconfigured(
            f"{path}: public_url is no address, and HubSpot signs it.",
            "Write how senders call the collector, such as https://collect.example.com",
        )
