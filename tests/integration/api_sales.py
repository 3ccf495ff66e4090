"""Sales for the tests of customers: conversions that stand, with their ledger under three models."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from api_store import Store, credit
from sinks_rows import DAY, NOON

EUR = {"currency": "EUR"}
SEARCH, EMAIL, DISPLAY, NONE = "Paid Search", "Email", "Display", "(unattributed)"


def day(number: float) -> int:
    """Noon of that day; day 0 is 2026-10-02."""
    return NOON + int(number * DAY)


def sell(
    store: Store,
    name: str,
    at: float,
    *booked: tuple[float, str],
    visitor: str = "",
    ids: tuple[str, ...] = (),
    touches: tuple[tuple[str, float], ...] = (),
    type_: str = "purchase",
    currency: str = "EUR",
    **given: Any,
) -> None:
    """A conversion that stands, and its ledger under three models. ``touches``: channel and day of one or two."""
    value = sum(Decimal(amount) for _, amount in booked)
    about = {"conversion_id": name, "converted_at": day(at), "currency": currency}
    its = {"visitor_id": visitor, "ids": list(ids), "value": f"{value}", "type": type_}
    store.put("conversions", {**about, **its, **given})
    touches = touches or ((NONE, at),)
    weights = {
        "first_touch": [1] + [0] * (len(touches) - 1),
        "last_touch": [0] * (len(touches) - 1) + [1],
        "linear": [Decimal(1) / len(touches)] * len(touches),
    }
    entries = [
        credit(
            channel,
            f"{Decimal(amount) * weight}",
            # It stands from its first booking on.
            f"{weight if number == 0 else 0}",
            **about,
            **{"model": model, "touched_at": day(touched), "conversion_type": type_, "booked_at": day(when)},
            **given,
        )
        for model, its_weights in weights.items()
        for (channel, touched), weight in zip(touches, its_weights, strict=True)
        for number, (when, amount) in enumerate(booked)
        if weight
    ]
    store.put("credits", *entries)


def link(visitor_id: str, id_: str, sign: int = 1, **given: Any) -> dict[str, Any]:
    return {"visitor_id": visitor_id, "id": id_, "sign": sign, **given}


def spend(channel: str, at: int, amount: str, currency: str = "EUR", **given: Any) -> dict[str, Any]:
    labels = {"channel": channel, "source": "", "medium": "", "ad_network": "n", "level": "campaign"}
    told = {"day": f"2026-10-{2 + at:02}", "amount": amount, "currency": currency}
    return {**labels, **told, **{"platform_value": None, "cause": "report"}, **given}
