"""Webhooks on their way to the deals stage: the body arrives byte by byte as its sender signed it."""

from __future__ import annotations

import pytest

from attribution.deals.delivery import Delivery, decode_deliveries, encode_deliveries, encode_delivery
from attribution.errors import Rejected


def delivery(body: bytes) -> Delivery:
    return Delivery(
        site="shop",
        source="shopify",
        scheme="shopify_hmac",
        keys=[["shopify:webhook:1", "shopify:event:2"]],
        received_at=1_790_000_000_000,
        headers={"x-shopify-topic": "orders/create"},
        body=body,
        is_read=False,
    )


@pytest.mark.parametrize("body", [b"", b"\x00\xff\r\n", b'{"price": 1.10}', bytes(range(256)) * 3])
def test_deliveries_come_back_as_they_went(body: bytes) -> None:
    first, second = delivery(body), delivery(b"other")
    assert decode_deliveries(encode_delivery(first)) == [first]
    assert decode_deliveries(encode_deliveries([first, second])) == [first, second]
    assert decode_deliveries(b"[" + encode_delivery(first) + b"]")[0].body == body


@pytest.mark.parametrize("value", [b"", b"{}", b"[1]", b"\xff", b'{"site":"a"}'])
def test_what_is_no_delivery_is_refused(value: bytes) -> None:
    with pytest.raises(Rejected) as refused:
        decode_deliveries(value)
    assert refused.value.reason == "malformed"
