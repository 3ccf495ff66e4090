"""The statement with one row per group: keys ``d0`` ..., measures ``m_*``. Pure.

- Traffic, credit and cost are added up side by side: a group that only one of them has stays. A side that no metric
  asks for is not read, so its groups do not appear.
- ``conversion_type`` is a property of credit only. A filter on it leaves traffic and cost alone; grouped by it they
  stand under "", and ``cr``, ``cpa`` and ``roas`` relate to the sessions and the spend of the other dimensions.
- Groups whose measures are all zero (taken back) are left out, whether ClickHouse has merged them away or not.
- Customers are conversions that a group has a share of, listed: which of them are anybody's first is told afterwards.
- Visitors are those with a session in the group: impressions, opened emails and purchases that a server sends are
  hits, but nobody's visit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from api.catalog import JOINED, Dimension, Metric
from api.measures import Rows, Side
from api.queries import load_sql
from api.reading import Reading
from api.scenes import Scenes
from api.selection import Condition, all_of, within
from sinks.names import qualify

_OF_MONEY = ", CAST(currency, 'String') AS of_currency, toDate(hour, 'UTC') AS of_day"
_OF_NO_MONEY = ", '' AS of_currency, toDate(0) AS of_day"
_BY_MONEY = ", of_currency, of_day"
"""Money is converted by currency and day."""
_NOBODY_ACQUIRED = "emptyArrayUInt64() AS p_acquired"
_BASES = {Side.traffic: "sessions", Side.cost: "spend"}
"""What ratios divide by that knows no conversion type."""


@dataclass(frozen=True)
class Groups:
    """What one statement groups by and which rows it is about."""

    metrics: Sequence[Metric]
    dimensions: Sequence[Dimension]
    conditions: Sequence[Condition]
    time: Sequence[str]
    reading: Reading

    def sql(self) -> str:
        """The statement, up to where ``ORDER BY`` can follow."""
        bases = [name for side, name in _BASES.items() if side in self.reading.sides]
        if not bases or all(dimension.of_traffic for dimension in self.dimensions):
            return self._summed([f"m_{name} AS m_{name}_base" for name in bases])
        return self._over_types(bases)

    def _summed(self, beside: Sequence[str] = ()) -> str:
        """One row per group; ``beside`` is selected, too."""
        reading = self.reading
        has_visitors = any("visitors" in metric.measures for metric in self.metrics)
        read = [measure.name for measure in reading.measures]
        having = " OR ".join(f"m_{name} != 0" for name in (*read, *["visitors"] * has_visitors)) or "0"
        rows = [one for one in Rows if any(one in measure.rows for measure in reading.measures)]
        if len(rows) == 1 and not has_visitors and not self.has_customers and not reading.converts:
            totals = [f"{measure.total} AS m_{measure.name}" for measure in reading.measures]
            return load_sql(
                "grouped", totals=", ".join([*totals, *beside]), having=having, **self._places(rows[0])
            )
        arms, sums = [self._arm(one, has_visitors) for one in rows], self._sums()
        if has_visitors:
            arms.append(self._visitors_arm())
            sums.append("sum(p_visitors) AS m_visitors")
            sums += ["groupArrayArray(p_linked) AS m_linked"] if self._has_people else []
        if self.has_customers:
            arms.append(self._customers_arm(has_visitors))
            sums += ["groupArrayArray(p_acquired) AS m_acquired", f"toUInt8({having}) AS m_stays"]
            having = "m_stays OR notEmpty(m_acquired)"
        union = "\nUNION ALL\n".join(arms)
        if reading.converts:
            union = load_sql("converted", rows=union, rates=reading.rates)
        keys = self._keys()["keys"]
        return load_sql(
            "grouped_arms", keys=keys, sums=", ".join([*sums, *beside]), rows=union, having=having
        )

    @property
    def _has_people(self) -> bool:
        return any(JOINED in metric.measures for metric in self.metrics)

    @property
    def has_customers(self) -> bool:
        """Each group has ``m_acquired``, conversions and shares in turns, and ``m_stays``: it is there without them."""
        return any(metric.has_customers for metric in self.metrics)

    def _keys(self) -> dict[str, str]:
        expressions = [dimension.key for dimension in self.dimensions] or ["toUInt8(0)"]
        keys = [f"d{number}" for number in range(len(expressions))]
        return {
            "keys": ", ".join(keys),
            "keys_as": ", ".join(f"{sql} AS {key}" for sql, key in zip(expressions, keys, strict=True)),
        }

    def _places(self, rows: Rows) -> dict[str, str]:
        used = [*self.dimensions, *(condition.dimension for condition in self.conditions)]
        sides = [self.reading.heard_rows] if rows is Rows.heard else []
        conditions = [*self.time, *sides, *(condition.sql for condition in self.conditions)]
        return {**self._keys(), "where": all_of(*conditions) or "1", "facts": self.reading.facts(rows, used)}

    def _sums(self) -> list[str]:
        converts = self.reading.converts
        return [
            f"{measure.converted if converts else f'sum(p_{measure.name})'} AS m_{measure.name}"
            for measure in self.reading.measures
        ]

    def _arm(self, rows: Rows, has_visitors: bool) -> str:
        """The sums over some rows; of measures that are not in them a zero."""
        # Who saw impressions has no currency; by day he would be counted once a day.
        converts = self.reading.converts and rows is not Rows.reached
        no_money = _OF_NO_MONEY if self.reading.converts else ""
        parts = [
            f"{one.zero if rows not in one.rows else one.part if converts else one.total} AS p_{one.name}"
            for one in self.reading.measures
        ]
        if has_visitors:
            parts += self._no_visitors()
        if self.has_customers:
            parts.append(_NOBODY_ACQUIRED)
        return load_sql(
            "grouped_parts",
            of_money=_OF_MONEY if converts else no_money,
            by_money=_BY_MONEY if converts else "",
            parts=", ".join(parts),
            **self._places(rows),
        )

    def _no_visitors(self) -> list[str]:
        return ["toInt64(0) AS p_visitors", *(["emptyArrayUInt64() AS p_linked"] if self._has_people else [])]

    def _customers_arm(self, has_visitors: bool) -> str:
        nothing = [f"{measure.zero} AS p_{measure.name}" for measure in self.reading.measures]
        nothing += self._no_visitors() if has_visitors else []
        conditions = [*self.time, *(condition.sql for condition in self.conditions)]
        time = "converted_at" if self.reading.basis == "conversion" else "touched_at"
        which = all_of(
            "model = {model:String} AND conversion_type NOT IN {pipeline_types:Array(String)}",
            self.reading.known,
            within(time),
        )
        scenes = Scenes.of([*self.dimensions, *(condition.dimension for condition in self.conditions)])
        return load_sql(
            "grouped_customers",
            credits=qualify(self.reading.database, "credits"),
            credit_time=time,
            which=which,
            scene=scenes.columns,
            scenes=scenes.join(self.reading.database, which),
            no_parts="".join(f", {one}" for one in nothing),
            of_money=_OF_NO_MONEY if self.reading.converts else "",
            where=all_of(*conditions) or "1",
            **self._keys(),
        )

    def _visitors_arm(self) -> str:
        linked = ""
        if self._has_people:
            links = qualify(self.reading.database, "identity_links")
            linked = f", {load_sql('linked_visitors', identity_links=links)} AS p_linked"
        linked += f", {_NOBODY_ACQUIRED}" if self.has_customers else ""
        conditions = [*self.time, *(condition.sql for condition in self.conditions)]
        return load_sql(
            "grouped_visitors",
            sessions=qualify(self.reading.database, "sessions"),
            no_parts=", ".join(f"{measure.zero} AS p_{measure.name}" for measure in self.reading.measures),
            of_money=_OF_NO_MONEY if self.reading.converts else "",
            linked=linked,
            where=all_of(*conditions) or "1",
            **self._keys(),
        )

    def _over_types(self, bases: Sequence[str]) -> str:
        """With the sessions and the spend to divide by where a dimension is not of traffic: those of all groups that
        differ in it only. Rows of a side that is read only for that are left out.
        """
        keys = [(f"d{number}", dimension.of_traffic) for number, dimension in enumerate(self.dimensions)]
        shared = [key for key, of_traffic in keys if of_traffic]
        window = f"PARTITION BY {', '.join(shared)}" if shared else ""
        is_asked = any(side in metric.sides for metric in self.metrics for side in _BASES)
        return load_sql(
            "over_types",
            grouped=self._summed(),
            bases=", ".join(f"sum(m_{name}) OVER ({window}) AS m_{name}_base" for name in bases),
            keep="1" if is_asked else all_of(*(f"{key} != ''" for key, of_traffic in keys if not of_traffic)),
        )
