"""The writer's in-memory twin: same promise as ``RowWriter``, for tests of the stages without a server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

import msgspec

from attribution.learnt.tables import LearntTable
from attribution.spend.click_costs import LiveFigure, days_after, days_before
from attribution.spend.fact import MICROS
from attribution.spend.labels import TouchLabel
from sinks.deliveries import StoredDelivery
from sinks.learnt_rows import table_from
from sinks.tables import WRITTEN
from sinks.visitors import HIT_FIELDS, NOWHERE, Place

Row = tuple[Any, ...]


class MemoryWriter:
    """Keeps rows by table; a token counts once per table. ``tests/contract`` holds it against the real
    one.
    """

    def __init__(self) -> None:
        self.tables: dict[str, list[Row]] = {}
        self._tokens: set[tuple[str, str]] = set()

    def insert(
        self, table: str, columns: tuple[str, ...], rows: Sequence[Row | msgspec.Raw], token: str
    ) -> None:
        """Keep ``rows`` unless ``token`` was used for the table before."""
        if rows and (table, token) not in self._tokens:
            self._tokens.add((table, token))
            self.tables.setdefault(table, []).extend(
                tuple(msgspec.json.decode(row) if isinstance(row, msgspec.Raw) else row) for row in rows
            )

    def count_rows(
        self, table: str, src_broker: str, src_partition: int, from_offset: int, to_offset: int
    ) -> int:
        """How many rows come from the given offsets, both ends included."""
        names = WRITTEN[table]
        broker, partition, offset = (names.index(n) for n in ("src_broker", "src_partition", "src_offset"))
        return sum(
            row[broker] == src_broker
            and row[partition] == src_partition
            and from_offset <= row[offset] <= to_offset
            for row in self.tables.get(table, [])
        )

    def find_policy(self, version: str) -> str | None:
        """The policy of that version, as JSON."""
        return next((str(row[1]) for row in self.tables.get("policies", []) if row[0] == version), None)

    def find_learnt_table(self, version: str) -> LearntTable | None:
        """The learnt table of that version."""
        return table_from(row for row in self.tables.get("learnt_models", []) if row[0] == version)

    def touch_labels(self) -> list[TouchLabel]:
        """How many touches of each site name a campaign, by their labels."""
        sums: Counter[Row] = Counter()
        for row in self.dicts("touchpoints"):
            if row["campaign"]:
                sums[tuple(row[name] for name in TouchLabel._fields[:-1])] += row["sign"]
        return [TouchLabel(*(*labels, touches)) for labels, touches in sums.items() if touches > 0]

    def click_visitors(self, clicks: Sequence[str]) -> list[tuple[str, str, str, str, int]]:
        """Who landed with each of ``clicks`` first."""
        first: dict[tuple[str, str, str], tuple[int, str, int]] = {}
        for row in self.dicts("hits"):
            if row["click_id"] and row["click_id"] in clicks:
                place = (row["site"], row["click_id_param"], row["click_id"])
                landed = (row["occurred_at"], row["visitor_id"], row["received_at"])
                first[place] = min(first.get(place, landed), landed)
        return [(*place, visitor, heard_at) for place, (_, visitor, heard_at) in first.items()]

    def click_cost_days(self) -> list[tuple[str, str, date, int]]:
        """How many hits said on which days what their clicks cost."""
        found = Counter((row["site"], row["ad_network"], row["day"]) for row in self._click_costs())
        return [(site, network, day, hits) for (site, network, day), hits in found.items()]

    def click_costs(self, site: str, ad_network: str, day: date) -> tuple[list[LiveFigure], list[date]]:
        """What the clicks of a day cost, and the later days on which some of them came again."""
        firsts: dict[tuple[date, str], Row] = {}
        days: dict[str, set[date]] = {}
        for row in self._click_costs():
            if (row["site"], row["ad_network"]) == (site, ad_network):
                days.setdefault(row["click"], set()).add(row["day"])
                said = tuple(
                    row[name]
                    for name in (
                        "occurred_at",
                        "event_id",
                        "recorded_at",
                        "currency",
                        "amount",
                        "campaign_id",
                        "campaign",
                    )
                )
                place = row["day"], row["click"]
                firsts[place] = min(firsts.get(place, said), said)
        sums: dict[tuple[str, str, str], LiveFigure] = {}
        later: set[date] = set()
        for (its_day, click), (_, _, heard_at, currency, amount, campaign_id, campaign) in firsts.items():
            if its_day != day:
                continue
            later |= {one for one in days[click] if day < one <= days_after(day)}
            if any(days_before(day) <= one < day for one in days[click]):
                continue
            key = campaign_id, campaign, currency
            before = sums.get(key, LiveFigure(*key, 0, 0, 0))
            micros = before.micros + int(amount * MICROS)
            sums[key] = LiveFigure(*key, micros, before.clicks + 1, max(before.heard_at, heard_at))
        return [sums[key] for key in sorted(sums)], sorted(later)

    def _click_costs(self) -> Iterator[dict[str, Any]]:
        """Rows that count, days and amounts as what they are."""
        for row in self.dicts("click_costs"):
            if not row["reason"]:
                yield {**row, "day": date.fromisoformat(row["day"]), "amount": Decimal(row["amount"])}

    def hits_of_visitors(self, visitors: Sequence[tuple[str, str]], but_from: Place = NOWHERE) -> list[Row]:
        """The stored hits of ``visitors``, but those of one log at an offset or behind it."""
        return [
            tuple(row[name] for name in HIT_FIELDS)
            for row in self.dicts("hits")
            if (row["site"], row["visitor_id"]) in visitors
            and not (
                (row["src_broker"], row["src_partition"]) == but_from[:2]
                and row["src_offset"] >= but_from.offset
            )
        ]

    def rows_that_stand(self, table: str, starts: Sequence[tuple[int, str]], but_from: Place) -> list[Row]:
        """What stands in ``table`` and was begun by one of ``starts``."""
        ids, signs = {one for _, one in starts}, Counter[Row]()
        sign = WRITTEN[table].index("sign")
        for row in self.tables.get(table, []):
            *_, broker, partition, offset = row
            if row[1] in ids and not ((broker, partition) == but_from[:2] and offset >= but_from.offset):
                signs[tuple(tuple(part) if isinstance(part, list) else part for part in row[:sign])] += row[
                    sign
                ]
        return [row for row, number in signs.items() if number > 0]

    def deliveries_after(
        self, of: tuple[str, str], place: tuple[int, str, int, int], limit: int, but_from: Place = NOWHERE
    ) -> list[StoredDelivery]:
        """The next deliveries of (site, source; "" = all) behind ``place``."""
        names = ("src_broker", "src_partition", "src_offset", "position")
        found = [
            StoredDelivery._make(
                (
                    *(row[name] for name in ("site", "source", "scheme")),
                    tuple(row["keys"]),
                    row["received_at"],
                    row["outcome"],
                    "unreadable_body" in row["reasons"],
                    *(row[name] for name in ("headers", "body_base64", *names)),
                )
            )
            for row in self.dicts("deliveries")
            if row["site"] == of[0] and of[1] in ("", row["source"])
        ]
        at, partition = but_from.offset, but_from[:2]
        kept = [one for one in found if not ((one.broker, one.partition) == partition and one.offset >= at)]
        return [one for one in sorted(kept, key=lambda one: one.place) if one.place > place][:limit]

    def dicts(self, table: str) -> list[dict[str, Any]]:
        """The rows of a table by column name."""
        return [dict(zip(WRITTEN[table], row, strict=True)) for row in self.tables.get(table, [])]
