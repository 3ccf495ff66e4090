"""Every sender's check: true requests pass, anything else is refused under a reason and never raises."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest
import webhook_senders as senders
from hypothesis import assume, given
from hypothesis import strategies as st
from webhook_senders import ALL, NOW_MS, SIGNING, STAMPED, Build, Sent, keys_for

from attribution.errors import Misconfigured, Rejected
from collector.webhooks.reasons import WebhookRefusal, status_of
from collector.webhooks.secrets import (
    HubspotSecrets,
    PipedriveSecrets,
    SalesforceSecrets,
    SigningSecrets,
    StandardSecrets,
)
from collector.webhooks.verified import WebhookScheme

every_sender = pytest.mark.parametrize("build", ALL, ids=lambda build: build.__name__)
signing_sender = pytest.mark.parametrize("build", SIGNING, ids=lambda build: build.__name__)
stamped_sender = pytest.mark.parametrize("build", STAMPED, ids=lambda build: build.__name__)


def refused(sent: Sent, now_ms: int = NOW_MS) -> tuple[str, str]:
    """Reason and field."""
    with pytest.raises(Rejected) as caught:
        sent.verify(now_ms)
    assert caught.value.message
    assert caught.value.reason in WebhookRefusal.__members__
    return caught.value.reason, caught.value.field


@every_sender
def test_a_true_request_passes(build: Build) -> None:
    """By the check that it was made for, with at least one key."""
    verified = build().verify()
    assert verified.scheme == build().scheme
    assert verified.events
    assert all(event.keys for event in verified.events)
    assert verified.signed_at == (NOW_MS if build in STAMPED else None)


@every_sender
def test_header_names_have_no_case(build: Build) -> None:
    """``STRIPE-SIGNATURE`` is ``stripe-signature``."""
    sent = build()
    replace(sent, headers=tuple((name.upper(), value) for name, value in sent.headers)).verify()


@every_sender
def test_a_wrong_secret_is_refused(build: Build) -> None:
    """With 401, whatever the sender."""
    unknown = keys_for(build)[2]
    reason, _ = refused(build(**_default(build), keys=(unknown,)))
    assert reason in ("bad_signature", "bad_credentials")
    assert status_of(WebhookRefusal(reason)) == 401


def _default(build: Build) -> dict[str, bytes]:
    return {"body": build().body}


@every_sender
def test_two_secrets_hold_while_one_is_rotated(build: Build) -> None:
    """The index tells which it was, so that the old one can go when it is no longer seen."""
    new, old, unknown = keys_for(build)
    body = build().body
    assert build(body, NOW_MS, (new,), new, old).verify().secret_index == 0
    assert build(body, NOW_MS, (old,), new, old).verify().secret_index == 1
    assert refused(build(body, NOW_MS, (unknown,), new, old))[0] in ("bad_signature", "bad_credentials")


@pytest.mark.parametrize("build", [senders.stripe, senders.standard])
def test_one_of_several_signatures_is_enough(build: Build) -> None:
    """The sender signs with both secrets while it rotates; we may know either."""
    new, old, unknown = keys_for(build)
    sent = build(senders.BODY, NOW_MS, (unknown, old), new, old)
    assert sent.verify().secret_index == 1
    assert refused(build(senders.BODY, NOW_MS, (unknown, unknown), new, old))[0] == "bad_signature"


@stamped_sender
def test_the_window_is_shut_on_both_sides(build: Build) -> None:
    """Five minutes before and after; a second further is too far. The signature is right each time."""
    for moved in (-300_000, 300_000):
        build(signed_at=NOW_MS + moved).verify()
    assert refused(build(signed_at=NOW_MS - 301_000)) == ("stale_stamp", build().stamp)
    assert refused(build(signed_at=NOW_MS + 301_000)) == ("future_stamp", build().stamp)


@stamped_sender
def test_a_forged_old_request_counts_as_forged(build: Build) -> None:
    """Only what was really signed then is stale."""
    forged = replace(build(signed_at=NOW_MS - 900_000), body=b"[]")
    assert refused(forged)[0] == "bad_signature"


@pytest.mark.parametrize(
    "build", [build for build in ALL if build().proofs], ids=lambda build: build.__name__
)
def test_each_proof_must_be_there_and_once(build: Build) -> None:
    """Nothing is guessed from a header that is missing, empty, or there twice."""
    sent = build()
    for name in sent.proofs:
        reason, _ = refused(sent.without_header(name))
        assert reason.startswith("missing") or reason == "malformed_signature"
        reason, _ = refused(sent.with_header(name, ""))
        assert reason.startswith(("missing", "malformed"))
        assert refused(sent.with_line(name, sent.value(name))) == ("duplicate_header", name)
        assert refused(sent.with_line(name.upper(), "x")) == ("duplicate_header", name)


@pytest.mark.parametrize(
    "build", [build for build in ALL if build().proofs], ids=lambda build: build.__name__
)
def test_a_proof_that_was_cut_short_is_refused(build: Build) -> None:
    """At every length."""
    sent = build()
    for name in sent.proofs:
        whole = sent.value(name)
        for length in range(len(whole)):
            refused(sent.with_header(name, whole[:length]))


@pytest.mark.parametrize(
    "build", [build for build in ALL if build().proofs], ids=lambda build: build.__name__
)
@pytest.mark.parametrize(
    "text", ["é", "١٧٩٠٠٠٠٠٠٠", "1_790_000_000", " 1790000000", "+1790000000", "\x00", "\udc80", "v1,é"]
)
def test_what_is_no_ascii_number_or_signature_is_refused(build: Build, text: str) -> None:
    """Digits of other scripts, signs and underscores included: ``int`` would take them."""
    sent = build()
    for name in sent.proofs:
        refused(sent.with_header(name, text))
        refused(sent.with_header(name, sent.value(name) + text.lstrip()))


@stamped_sender
@pytest.mark.parametrize(
    "text", ["١٧٩٠٠٠٠٠٠٠", "1_790", "+1790000000", "-1", "1e9", "1790000000.0", "9" * 40]
)
def test_a_stamp_is_ascii_digits_and_no_others(build: Build, text: str) -> None:
    """And it is said so, before any signature is computed over it."""
    sent = build()
    value = sent.value(sent.stamp)
    right = str(NOW_MS // 1000) if build is not senders.hubspot_v3 else str(NOW_MS)
    assert refused(sent.with_header(sent.stamp, value.replace(right, text, 1))) == (
        "malformed_stamp",
        sent.stamp,
    )


@signing_sender
@given(data=st.data())
def test_a_body_with_one_changed_byte_is_refused(build: Build, data: st.DataObject) -> None:
    """Any byte, changed into any other."""
    sent = build(data.draw(st.binary(min_size=1, max_size=200), "body"))
    at = data.draw(st.integers(0, len(sent.body) - 1), "at")
    changed = bytearray(sent.body)
    changed[at] ^= data.draw(st.integers(1, 255), "mask")
    assert refused(replace(sent, body=bytes(changed)))[0] == "bad_signature"


@pytest.mark.parametrize(
    "build", [build for build in ALL if build().proofs], ids=lambda build: build.__name__
)
@given(data=st.data())
def test_a_proof_with_one_changed_byte_is_refused(build: Build, data: st.DataObject) -> None:
    """Signature, stamp, id, version and password alike, the spare bits of base64 included."""
    sent = build()
    name = data.draw(st.sampled_from(sent.proofs), "name")
    value = bytearray(sent.value(name).encode())
    value[data.draw(st.integers(0, len(value) - 1), "at")] ^= data.draw(st.integers(1, 127), "mask")
    changed = value.decode("latin-1")
    assume(changed.lower() != sent.value(name).lower() or name != "authorization")  # "basic" has no case
    refused(sent.with_header(name, changed))


@pytest.mark.parametrize("build", [senders.hubspot_v3, senders.hubspot_v2, senders.outbound])
@given(data=st.data())
def test_another_address_is_refused(build: Build, data: st.DataObject) -> None:
    """What was signed for one address passes at no other; the token of an outbound message stands in it."""
    sent = build()
    start = sent.url.index("token=") if build is senders.outbound else 0
    at = data.draw(st.integers(start, len(sent.url) - 1), "at")
    changed = (
        sent.url[:at] + chr(ord(sent.url[at]) ^ data.draw(st.integers(1, 31), "mask")) + sent.url[at + 1 :]
    )
    if build is senders.hubspot_v3:
        assume("%28" in changed and "%29" in changed)  # these are signed decoded: %28 as (
    if build is senders.outbound:
        assume(not set(changed[at]) & set("%#"))
    refused(replace(sent, url=changed))


@pytest.mark.parametrize("build", [senders.hubspot_v3, senders.hubspot_v2])
def test_the_method_is_signed(build: Build) -> None:
    """A POST does not pass as a PUT."""
    assert refused(replace(build(), method="PUT"))[0] == "bad_signature"


@every_sender
@given(data=st.data())
def test_whatever_comes_is_refused_or_passes_and_never_raises(build: Build, data: st.DataObject) -> None:
    """Any text in any header, any bytes as body, any address."""
    sent = build()
    texts = st.text(max_size=60) | st.sampled_from([value for _, value in sent.headers])
    lines = data.draw(
        st.lists(st.tuples(st.sampled_from([*(name for name, _ in sent.headers), "x"]), texts), max_size=6)
    )
    body = data.draw(st.binary(max_size=80) | st.just(sent.body))
    with suppress(Rejected):
        replace(
            sent, headers=tuple(lines), body=body, url=data.draw(st.text(max_size=60) | st.just(sent.url))
        ).verify()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[" * 200_000,
        b'{"a":' * 100_000,
        b"NaN",
        b"7",
        b'"\\ud800"',
        b'["\\ud800"]',
        b'{"id":"\\ud800"}',
    ],
)
@signing_sender
def test_a_signed_body_that_is_not_as_documented_is_kept_under_the_key_of_its_bytes(
    build: Build, body: bytes
) -> None:
    """It is the sender's; the dead letters want it. HubSpot's v1 and v2 must be JSON: they can be lengthened."""
    sent = build(body)
    if build in (senders.hubspot_v1, senders.hubspot_v2):
        with suppress(Rejected):
            sent.verify()
        return
    verified = sent.verify()
    assert len(verified.events) >= 1
    assert all(len(key) <= 200 for event in verified.events for key in event.keys)


def test_the_strongest_signature_of_hubspot_decides_alone() -> None:
    """HubSpot sends an old one beside v3. A wrong v3 is not made up for, and a right one needs no other."""
    strong, weak = senders.hubspot_v3(), senders.hubspot_v1()
    both = replace(strong, headers=strong.headers + weak.headers, secrets=weak.secrets)
    assert both.verify().scheme == WebhookScheme.hubspot_v3
    assert both.with_header("x-hubspot-signature", "0" * 64).verify().scheme == WebhookScheme.hubspot_v3
    wrong = both.with_header("x-hubspot-signature-v3", strong.value("x-hubspot-signature-v3").swapcase())
    assert refused(wrong) == ("bad_signature", "x-hubspot-signature-v3")
    assert refused(both.without_header("x-hubspot-request-timestamp"))[0] == "missing_stamp"
    assert (
        refused(replace(both, method="PUT").with_header("x-hubspot-signature-v3", ""))[0]
        == "malformed_signature"
    )


@pytest.mark.parametrize(("oldest", "passing"), [("v3", []), ("v2", ["v2"]), ("v1", ["v1", "v2"])])
def test_a_weaker_signature_passes_only_where_the_settings_say_so(oldest: str, passing: list[str]) -> None:
    """Who drops v3 from a request gets no further."""
    for version, build in (("v1", senders.hubspot_v1), ("v2", senders.hubspot_v2)):
        secrets = HubspotSecrets(client_secrets=(senders.KEY_1,), oldest_version=oldest)
        sent = replace(build(), secrets=secrets)
        if version in passing:
            sent.verify()
        else:
            assert refused(sent) == ("weak_signature", "x-hubspot-signature")


def test_a_lengthened_body_of_hubspots_old_signatures_is_refused() -> None:
    """SHA-256 of secret and body can be continued without the secret, behind its padding, which is no JSON."""
    length = len(senders.KEY_1) + len(senders.BODY)
    padding = b"\x80" + bytes(-(length + 9) % 64) + (length * 8).to_bytes(8, "big")
    lengthened = senders.hubspot_v1(senders.BODY + padding + b'[{"eventId":2}]')
    assert refused(lengthened) == ("malformed_body", "body")


def test_standard_ids_hold_no_full_stop() -> None:
    """Else id and stamp could be cut apart elsewhere under the same signature."""
    sent = senders.standard(b"1.[]")
    moved = sent.with_header("webhook-id", f"{sent.value('webhook-id')}.{sent.value('webhook-timestamp')}")
    assert refused(replace(moved.with_header("webhook-timestamp", "1"), body=b"[]"))[0] == "malformed_id"


def test_only_signatures_of_the_known_version_count() -> None:
    """Stripe's ``v0`` and a standard ``v1a`` prove nothing."""
    sent = senders.stripe()
    assert refused(
        sent.with_header("stripe-signature", sent.value("stripe-signature").replace("v1=", "v0="))
    )[0] == ("malformed_signature")
    sent = senders.standard()
    assert refused(
        sent.with_header("webhook-signature", sent.value("webhook-signature").replace("v1,", "v1a,"))
    )[0] == ("malformed_signature")


def test_many_signatures_are_not_even_read() -> None:
    """A rotation needs two."""
    sent = senders.stripe()
    value = sent.value("stripe-signature") + (",v1=" + "0" * 64) * 40
    assert refused(sent.with_header("stripe-signature", value))[0] == "malformed_signature"
    sent = senders.standard()
    value = sent.value("webhook-signature") + " v1,x" * 40
    assert refused(sent.with_header("webhook-signature", value))[0] == "malformed_signature"


def test_two_stamps_are_refused() -> None:
    """Which of them was signed?"""
    sent = senders.stripe()
    value = sent.value("stripe-signature")
    assert refused(sent.with_header("stripe-signature", f"t=1,{value}"))[0] == "malformed_stamp"


def test_secrets_that_protect_nothing_are_refused_before_the_first_request() -> None:
    """An empty key signs everything for everybody."""
    for make in (
        lambda: SigningSecrets(secrets=()),
        lambda: SigningSecrets(secrets=("a", "")),
        lambda: StandardSecrets(secrets=("whsec_c2hvcnQ=",)),
        lambda: StandardSecrets(secrets=("whsec_no base64 at all, is it?",)),
        lambda: StandardSecrets(secrets=("whpk_" + senders.BASE64_1,)),
        lambda: StandardSecrets(secrets=("whsec_é",)),
        lambda: HubspotSecrets(client_secrets=("",)),
        lambda: HubspotSecrets(client_secrets=("a",), oldest_version="v4"),
        lambda: PipedriveSecrets(logins=()),
        lambda: PipedriveSecrets(logins=(("head", ""),)),
        lambda: PipedriveSecrets(logins=(("he:ad", "x"),)),
        lambda: SalesforceSecrets(),
        lambda: SalesforceSecrets(organization_ids=("00D",)),
        lambda: SalesforceSecrets(organization_ids=("0017F00000107XsUAI",)),
        lambda: SalesforceSecrets(organization_ids=(senders.ORGANIZATION,), url_tokens=("",)),
        lambda: SalesforceSecrets(organization_ids=(senders.ORGANIZATION,), networks=("10.0.0.1/8",)),
    ):
        with pytest.raises(Misconfigured) as caught:
            make()
        assert caught.value.hint


def test_secrets_are_not_shown() -> None:
    """A traceback or a log of the settings tells no key."""
    for build in ALL:
        assert senders.KEY_1 not in repr(build().secrets)
        assert senders.BASE64_1 not in repr(build().secrets)


def test_secrets_of_another_sender_are_a_fault_of_the_settings() -> None:
    """Not of the request."""
    with pytest.raises(Misconfigured):
        replace(senders.stripe(), secrets=senders.pipedrive().secrets).verify()
