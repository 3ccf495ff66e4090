"""What the simulated shop's CRM and till tell by webhook: deals with their life, paid orders, refunds in part.

Messages are those of the ``standard`` sender (docs/webhooks.md, docs/deals.md), in the order of sending: some late,
some twice, and so never in the order of events. What is to happen after the end of the world is not told.

Pure: the same generator of chance gives the same messages. Instants are epoch milliseconds, UTC; money is US cents.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runtime.simulator.instants import DAY_MS, HOUR_MS, iso

CURRENCY = "USD"
SQL, OPPORTUNITY = "sql", "opportunity"
_OPEN, _WON, _LOST = "open", "won", "lost"
_SHARE_LATE, _SHARE_TWICE = 0.2, 0.15


@dataclass(frozen=True)
class SimulatedMessage:
    """One delivery of a webhook."""

    message_id: str
    """``webhook-id``: the same on every delivery of the message."""
    body: Mapping[str, Any]
    send_at: int
    """Simulated instant of sending."""


@dataclass
class CrmTruth:
    """What CRM and till really saw, for comparison. Money in US cents."""

    messages: int = 0
    """Different messages."""
    deliveries: int = 0
    deals: int = 0
    qualified: int = 0
    """Deals that sales has qualified: all of them, as far as the CRM has told of them."""
    opportunities: int = 0
    """Deals that are open with an amount, or won."""
    pipeline: int = 0
    """What these are worth."""
    won_deals: int = 0
    won: int = 0
    ordered: int = 0
    """Value of all orders of the pages, before refunds."""
    refunds: int = 0
    """Those that the till tells."""
    refunds_by_hits: int = 0
    """Those that only the shop's server reports, as hits."""
    refunded: int = 0
    """What both paid back."""
    changed_amounts: int = 0
    reopened: int = 0


@dataclass(frozen=True)
class Told:
    """All deliveries about one deal or order, and what came of it."""

    deliveries: list[SimulatedMessage]
    bookings: list[tuple[int, int]]
    """(instant, US cents): what it brought when, and what was taken back."""

    @property
    def net(self) -> int:
        """US cents that it brought in the end."""
        return sum(cents for _, cents in self.bookings)


class Crm:
    """Writes deals and orders down and tells of them. Adds what really happened to ``truth``."""

    def __init__(self, rng: random.Random, ends_at: int, truth: CrmTruth) -> None:
        self._rng = rng
        self._ends_at = ends_at
        self._truth = truth

    def deal(self, name: str, opened_at: int, identity: Mapping[str, str]) -> Told:
        """A deal that somebody asked for at ``opened_at``; ``identity``: fields that say who."""
        truth = self._truth
        acts = self._life(opened_at)
        told = [(at, act, fields) for at, act, fields in acts if at < self._ends_at]
        status, stage, amount = _OPEN, "", 0
        deliveries: list[SimulatedMessage] = []
        bookings: list[tuple[int, int]] = []
        for number, (at, act, fields) in enumerate(told):
            is_closed, was_won, before = status != _OPEN, status == _WON, amount
            status = act if act in (_OPEN, _WON, _LOST) else status
            stage, amount = fields.get("stage", stage), fields.get("cents", amount)
            if was_won != (status == _WON):
                bookings.append((at, -amount if was_won else amount))
            truth.reopened += is_closed and status == _OPEN
            truth.changed_amounts += bool(before) and amount != before
            data = {"id": f"D-{name}", **({"stage": stage} if "stage" in fields else {})}
            if number == 0:
                data |= identity
            if "cents" in fields:
                data |= {"amount": text(amount), "currency": CURRENCY}
            deliveries += self._deliver(f"D-{name}-{number}", f"deal.{act}", at, data)
        if not told:
            return Told([], [])
        truth.deals += 1
        truth.qualified += 1
        is_won = status == _WON
        if stage == OPPORTUNITY and status in (_OPEN, _WON):
            truth.opportunities += 1
            truth.pipeline += amount
        truth.won_deals += is_won
        truth.won += amount if is_won else 0
        return Told(deliveries, bookings)

    def order(self, order_id: str, paid_at: int, amount: int, identity: Mapping[str, str]) -> Told:
        """An order of a page, which the till tells, too, and of which it may pay something back, once or twice."""
        rng, truth = self._rng, self._truth
        data = {
            "id": order_id,
            "order_id": order_id,
            "amount": text(amount),
            "currency": CURRENCY,
            **identity,
        }
        deliveries = self._deliver(f"P-{order_id}", "order.paid", paid_at, data)
        left, at, bookings = amount, paid_at, [(paid_at, amount)]
        for number in range(rng.choices((0, 1, 2), (40, 45, 15))[0]):
            at += rng.randrange(DAY_MS, 9 * DAY_MS)
            back = max(1, left * rng.randint(10, 55) // 100)
            if at >= self._ends_at or back >= left:
                break
            left -= back
            bookings.append((at, -back))
            truth.refunds += 1
            truth.refunded += back
            # Who pays back may know the order of the till, or no more than its number.
            named = (
                {"parent": {"object": "order", "id": order_id}}
                if rng.random() < 0.5
                else {"order_id": order_id}
            )
            refund = {"id": f"R{number}-{order_id}", "amount": text(back), "currency": CURRENCY, **named}
            deliveries += self._deliver(f"R{number}-{order_id}", "refund.succeeded", at, refund)
        return Told(deliveries, bookings)

    def _life(self, opened_at: int) -> list[tuple[int, str, dict[str, Any]]]:
        """(instant, act, what changes), as it would go on for ever."""
        rng = self._rng
        at, amount = opened_at, int(rng.lognormvariate(10.4, 0.5)) + 4_900
        acts: list[tuple[int, str, dict[str, Any]]] = [(at, "created", {"stage": SQL})]

        def later(first_h: int, last_h: int, act: str, **fields: Any) -> None:
            nonlocal at
            at += rng.randrange(first_h * HOUR_MS, last_h * HOUR_MS)
            acts.append((at, act, fields))

        later(2, 48, "updated", stage=OPPORTUNITY, cents=amount)
        if rng.random() < 0.5:
            later(6, 72, "updated", cents=amount * rng.randint(70, 140) // 100)
        end = rng.choices((_WON, _LOST, ""), (60, 28, 12))[0]
        if end:
            later(24, 240, end)
            if rng.random() < 0.3:
                later(12, 96, _OPEN)
                if rng.random() < 0.6:
                    later(12, 96, _WON)
        return acts

    def _deliver(
        self, message_id: str, kind: str, at: int, data: Mapping[str, Any]
    ) -> list[SimulatedMessage]:
        rng = self._rng
        body = {"type": kind, "timestamp": iso(at), "data": data}
        delay = rng.randrange(HOUR_MS, 4 * DAY_MS) if rng.random() < _SHARE_LATE else rng.randrange(2_000)
        sent = [SimulatedMessage(message_id, body, at + delay)]
        if rng.random() < _SHARE_TWICE:
            sent.append(SimulatedMessage(message_id, body, at + delay + rng.randrange(1_000, 2 * DAY_MS)))
        self._truth.messages += 1
        self._truth.deliveries += len(sent)
        return sent


def text(cents: int) -> str:
    """An amount of US cents in major units, as senders write it."""
    return f"{cents // 100}.{cents % 100:02d}"
