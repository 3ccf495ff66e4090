"""Worlds of orders that are paid back by hits: before, with and after their order, in any currency, too much."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import strategies as st
from stream_worlds import T0, URLS

from attribution.conversions import BookedValue, ConversionFact, conversion_id_of_order
from attribution.hit import Hit
from attribution.policy import DAY_MS, MINUTE_MS, AttributionPolicy

VISITORS = ("v0", "v0", "v1", "user:shop")
MOMENTS = (0, 0, 1, 40 * MINUTE_MS, DAY_MS, 40 * DAY_MS)


@st.composite
def refund_hit(draw: st.DrawFn, event: str = "") -> Hit:
    """One hit, without ``event_id``: a visit, an order, or what is paid back of one."""
    event = event or draw(st.sampled_from(["page_view", "purchase", "lead", "refund", "refund", "refund"]))
    fields: dict[str, Any] = {}
    if event == "page_view":
        fields["url"] = draw(st.sampled_from(URLS))
    elif event == "refund":
        fields["order_id"] = draw(st.sampled_from(["o1"] * 7 + ["o2", ""]))
        fields["value"] = draw(st.sampled_from([None, "0.01", "3.33", "10.00", "99.99", "0.00"]))
        named = draw(st.sampled_from([""] * 8 + ["lead", "rent"]))
        if named:
            fields["props"] = msgspec.Raw(msgspec.json.encode({"conversion_type": named}))
    else:
        fields["order_id"] = draw(st.sampled_from(["o1", "o1", "o2"]))
        fields["value"] = draw(st.sampled_from([None, "10.00", "10.00", "0.01", "99.99"]))
    if "value" in fields:
        fields["currency"] = draw(st.sampled_from(["USD", "USD", "USD", "USD", "EUR", ""]))
    at = T0 + draw(st.sampled_from(MOMENTS)) + draw(st.integers(0, 2)) * 3_600_000
    return Hit(
        event_id="",
        site=draw(st.sampled_from(["s"] * 9 + ["other"])),
        visitor_id=draw(st.sampled_from(VISITORS)),
        occurred_at=at,
        received_at=at + 5,
        event=event,
        user_agent=draw(st.sampled_from([""] * 9 + ["Googlebot/2.1"])),
        **fields,
    )


@st.composite
def refund_worlds(draw: st.DrawFn) -> tuple[list[Hit], AttributionPolicy]:
    """Hits, and the policy that judges them. Visitors may use each other's event ids."""
    most = draw(st.sampled_from([9, 5, 1]))
    hits = [draw(refund_hit(event)) for event in ("purchase", "refund", "refund")]
    hits += draw(st.lists(refund_hit(), max_size=most))
    used: set[tuple[str, str, str]] = set()
    for number, hit in enumerate(hits):
        shared = f"e{number % 3}"
        is_free = (hit.site, hit.visitor_id, shared) not in used
        hit.event_id = shared if is_free and draw(st.booleans()) else f"e{number + 3}"
        used.add((hit.site, hit.visitor_id, hit.event_id))
    return hits, AttributionPolicy(models=("first_touch", "linear", "position_based"))


@st.composite
def shop_tellings(draw: st.DrawFn) -> list[ConversionFact]:
    """What a shop tells of the order, if it tells anything: paid, paid back in parts, or that it never was one."""
    facts = []
    for revision in range(1, draw(st.sampled_from([0, 0, 1, 2])) + 1):
        at = T0 + draw(st.sampled_from(MOMENTS))
        paid = BookedValue(at, "conversion", 1000, 1)
        back = BookedValue(at + DAY_MS, "refund", 250, 1)
        facts.append(
            ConversionFact(
                conversion_id=conversion_id_of_order("s", "purchase", "o1"),
                site="s",
                type="purchase",
                order_id="o1",
                visitor_id=draw(st.sampled_from(["", "v1"])),
                event_id=f"shop:order:o1:{revision}",
                occurred_at=at,
                received_at=at + revision,
                value_minor=None,
                currency="USD",
                bookings=draw(st.sampled_from([(), (paid,), (paid, back)])),
                revision=revision,
            )
        )
    return facts
