"""What the senders themselves publish as right: examples of their documentation and of their libraries' tests."""

from __future__ import annotations

from textwrap import dedent

import pytest
from webhook_senders import Sent

from collector.webhooks.hubspot import decode_uri
from collector.webhooks.secrets import HubspotSecrets, SigningSecrets, StandardSecrets
from collector.webhooks.verified import WebhookScheme, WebhookSender

HUBSPOT_SECRET = "yyyyyyyy-yyyy-yyyy-yyyy-yyyyyyyyyyyy"
HUBSPOT_URL = "https://www.example.com/webhook_uri"
HUBSPOT_EVENT = (
    b'[{"eventId":1,"subscriptionId":12345,"portalId":62515,"occurredAt":1564113600000,'
    b'"subscriptionType":"contact.creation","attemptNumber":0,"objectId":123,"changeSource":"CRM",'
    b'"changeFlag":"NEW","appId":54321}]'
)


def hubspot(url: str, body: bytes, *headers: tuple[str, str], method: str = "POST") -> Sent:
    secrets = HubspotSecrets(client_secrets=(HUBSPOT_SECRET,), oldest_version="v1")
    return Sent(WebhookSender.hubspot, WebhookScheme.hubspot_v3, secrets, headers, body, url, method)


def test_stripe() -> None:
    """stripe-dotnet, ``EventUtilityTest.cs`` with ``event_test_signature.json``; it carries a v0 too."""
    body = dedent("""\
        {
          "id": "evt_123",
          "object": "event",
          "account": "acct_123",
          "api_version": "2017-05-25",
          "created": 1533204620,
          "data": {
            "object": {
              "id": "cus_123",
              "object": "customer",
              "created": 123456789,
              "email": "test@stripe.com",
              "livemode": false,
              "metadata": {}
            }
          },
          "livemode": false,
          "pending_webhooks": 1,
          "request": {
            "id": "req_123",
            "idempotency_key": "idempotency-key-123"
          },
          "type": "customer.created"
        }
        """).encode()
    header = (
        "t=1533204620,v1=2220f87ef101a04665f11cdf770523143f875572008577fa0f20882ddb9cc3c7,"
        "v0=63f3a72374a733066c4be69ed7f8e5ac85c22c9f0a6a612ab9a025a9e4ee7eef"
    )
    secrets = SigningSecrets(secrets=("webhook_secret",))
    sent = Sent(WebhookSender.stripe, WebhookScheme.stripe_v1, secrets, (("Stripe-Signature", header),), body)
    verified = sent.verify(1_533_204_620_000)
    assert verified.events[0].keys == ("stripe:evt_123",)
    sent.with_header("stripe-signature", f"{header},v1=invalid").verify(1_533_204_620_000)


def test_standard_webhooks() -> None:
    """standard-webhooks, ``libraries/javascript/src/webhook.test.ts``, "sign function works"."""
    for secret in ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"):
        sent = Sent(
            WebhookSender.standard,
            WebhookScheme.standard_v1,
            StandardSecrets(secrets=(secret,)),
            (
                ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
                ("webhook-timestamp", "1614265330"),
                (
                    "webhook-signature",
                    "v1,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc= "
                    "v2,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc= "
                    "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
                ),
            ),
            b'{"test": 2432232314}',
        )
        verified = sent.verify(1_614_265_330_000)
        assert verified.events[0].keys == ("standard:msg_p5jXN8AQM9LWM0D4loKWxJek",)


def test_shopify() -> None:
    """shopify-api-php, ``tests/Webhooks/RegistryTest.php`` with the secret of ``BaseTestCase.php``."""
    headers = (("X-Shopify-Hmac-Sha256", "/Redz4YXHLnSmmSN8grr5/Jl/Ua3d7yX3iWbjb8R8wo="),)
    secrets = SigningSecrets(secrets=("steffi",))
    Sent(WebhookSender.shopify, WebhookScheme.shopify_hmac, secrets, headers, b'{"foo":"bar"}').verify()


@pytest.mark.parametrize(
    ("stamp", "signature"),
    [
        ("15000000", "HPW73RUtKmcYoEDADG0s6MmGFWUzWJKAW07r8RDgcQw="),
        ("1693657560000", "K36dawei4A+QBNolUOqo7s91KQDWQ5MXZ/QufNYuk/Y="),
        ("1700000300000", "RnbPH7+UMKVkbV32P8bz450N4M56aPmcru1+D3kSDtw="),
    ],
)
def test_hubspot_v3(stamp: str, signature: str) -> None:
    """hubspot-api-python, ``tests/spec/utils/test_signature.py``; hubspot-api-ruby, ``signature_spec.rb``."""
    sent = hubspot(
        HUBSPOT_URL,
        b"{'example_field':'example_value'}",
        ("X-HubSpot-Signature-v3", signature),
        ("X-HubSpot-Request-Timestamp", stamp),
    )
    verified = sent.verify(int(stamp) + 1000)
    assert verified.signed_at == int(stamp)
    assert not verified.is_read  # the example's body has single quotes


@pytest.mark.parametrize(
    ("version", "method", "body", "signature"),
    [
        ("v1", "POST", HUBSPOT_EVENT, "232db2615f3d666fe21a8ec971ac7b5402d33b9a925784df3ca654d05f4817de"),
        (
            "v2",
            "POST",
            b'{"example_field":"example_value"}',
            "9569219f8ba981ffa6f6f16aa0f48637d35d728c7e4d93d0d52efaa512af7900",
        ),
    ],
)
def test_hubspot_old(version: str, method: str, body: bytes, signature: str) -> None:
    """developers.hubspot.com/docs/api/webhooks/validating-requests; v2 as in hubspot-api-nodejs' tests."""
    headers = (("X-HubSpot-Signature", signature), ("X-HubSpot-Signature-Version", version))
    assert hubspot(HUBSPOT_URL, body, *headers, method=method).verify().scheme == f"hubspot_{version}"


def test_hubspot_decodes_twelve_codes_and_no_others() -> None:
    """The table of HubSpot's page on v3, in either case of its hex digits."""
    assert decode_uri("%3A%2F%3F%40%21%24%27%28%29%2A%2C%3B") == ":/?@!$'()*,;"
    assert decode_uri("%3a%2f%3f%2a%2c%3b") == ":/?*,;"
    assert decode_uri("%20%26%3D%25%23%2B%C3%A9%2525%zz%3") == "%20%26%3D%25%23%2B%C3%A9%2525%zz%3"
    assert decode_uri("%253A") == "%253A"
