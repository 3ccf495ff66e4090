"""Where the rows of one question come from. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from api.catalog import SPREAD, Dimension, Metric
from api.instants import parse_instant
from api.measures import ALWAYS, MEASURES, Measure, Rows, Side
from api.queries import load_sql
from api.rates import given_sql, rates_sql
from api.requests import QueryRequest
from api.scenes import NO_SCENES, Scenes
from api.selection import all_of, known_by, within
from attribution.errors import Rejected
from sinks.names import qualify


@dataclass(frozen=True)
class Reading:
    """The tables, sides, models and instant of one question."""

    database: str
    basis: str
    as_of: int | None
    spread: tuple[str, ...]
    sides: frozenset[Side]
    measures: tuple[Measure, ...]
    """What is summed over fact rows."""
    converts: bool
    """Whether money of other currencies is converted."""
    has_rates: bool
    """By rates that are given as parameters, not worked out by the statement."""

    @classmethod
    def of(
        cls,
        metrics: Sequence[Metric],
        request: QueryRequest,
        database: str,
        spread: tuple[str, ...],
        *,
        converts: bool,
        has_rates: bool = False,
    ) -> Reading:
        """``Rejected`` when something is asked as of an instant that is not dated by when it became known."""
        as_of = None if request.as_of is None else parse_instant(request.as_of, "as_of")
        for number, metric in enumerate(metrics):
            if as_of is not None and metric.has_visits:
                raise Rejected(
                    "not_available",
                    f"{metric.name} counts visits, which are not dated by when they became known. Ask it without"
                    " as_of; as of an instant there are conversions, revenue, aov, spend and what follows from them.",
                    f"metrics.{number}",
                )
        sides = frozenset(side for metric in metrics for side in metric.sides | metric.needs)
        asked = {name for metric in metrics for name in metric.measures}
        always = {name for side in sides for name in ALWAYS[side]}
        read = [measure for measure in MEASURES if measure.name in asked | always]
        if spread:
            read = [of_model(one, "{model:String}") if one.side is Side.credit else one for one in read]
            read += [measure for measure in spread_measures(spread) if measure.of in asked]
        return cls(database, request.basis, as_of, spread, sides, tuple(read), converts, has_rates)

    @property
    def rates(self) -> str:
        """What converts money of each currency and day."""
        return given_sql() if self.has_rates else rates_sql(self.database)

    def facts(self, rows: Rows, dimensions: Iterable[Dimension]) -> str:
        """The roll-up if that can answer, else rows of the same shape. Roll-ups have no past."""
        used = [*dimensions]
        in_roll_up = self.as_of is None and all(dimension.in_roll_up for dimension in used)
        if rows is Rows.heard:
            sides = {measure.side for measure in self.measures}
            scenes = Scenes.of(used) if Side.credit in sides else NO_SCENES
            return self._heard(sides, scenes, in_roll_up=in_roll_up)
        if rows is Rows.cost:
            return self._cost(in_roll_up=in_roll_up)
        if rows is Rows.reached:
            known = str(int(self.as_of is None))
            return load_sql("facts_reached", hits=qualify(self.database, "hits"), known=known)
        return load_sql("facts_told", spend=qualify(self.database, "spend"), known=self.known)

    def credit_facts(self) -> str:
        """Rows of the ledger only, by what the roll-up knows."""
        return replace(self, spread=())._heard({Side.credit}, NO_SCENES, in_roll_up=self.as_of is None)

    def cost_facts(self) -> str:
        """Rows of what ads cost only, by what the roll-up knows."""
        return self._cost(in_roll_up=self.as_of is None)

    def _heard(self, sides: set[Side], scenes: Scenes, *, in_roll_up: bool) -> str:
        if in_roll_up:
            return qualify(self.database, "channel_metrics")
        time = "booked_at" if self.basis == "conversion" else "touched_at"
        which = all_of(
            self._models,
            self.known,
            within(time),
            str(int(Side.credit in sides)),
        )
        return load_sql(
            "facts_detail",
            **{name: qualify(self.database, name) for name in ("sessions", "hits", "credits")},
            credit_time=time,
            which_credits=which,
            scene=scenes.columns,
            scenes=scenes.join(self.database, which),
            reads_traffic=str(int(Side.traffic in sides)),
        )

    def _cost(self, *, in_roll_up: bool) -> str:
        if in_roll_up:
            return load_sql("facts_spend_metrics", spend_metrics=qualify(self.database, "spend_metrics"))
        return load_sql("facts_cost", spend=qualify(self.database, "spend"), known=self.known)

    @property
    def heard_rows(self) -> str:
        """Condition on rows that were heard: they are of one of the sides. Traffic has neither model nor basis."""
        sides = {measure.side for measure in self.measures if Rows.heard in measure.rows}
        if Side.credit not in sides:
            return "model = ''"
        if self.spread:
            side = "model IN {models:Array(String)} AND basis = {basis:String}"
            return f"(model = '' OR {side})" if Side.traffic in sides else side
        if Side.traffic in sides:
            return "model IN ('', {model:String}) AND basis IN ('', {basis:String})"
        return "model = {model:String} AND basis = {basis:String}"

    @property
    def known(self) -> str:
        """Condition: the row was recorded by the instant as of which the answer is."""
        return known_by(self.as_of)

    @property
    def _models(self) -> str:
        return "model IN {models:Array(String)}" if self.spread else "model = {model:String}"


def of_model(measure: Measure, model: str) -> Measure:
    """The same over the rows of one of several models that are read at once; ``model`` is SQL."""
    condition = f"{measure.condition} AND " if measure.condition else ""
    return replace(measure, condition=f"{condition}model = {model}")


def spread_measures(models: Sequence[str]) -> list[Measure]:
    """What each model says, for each metric that has a spread."""
    return [
        replace(of_model(measure, f"{{s{number}:String}}"), name=f"{measure.name}_{number}", of=measure.name)
        for measure in MEASURES
        if measure.name in SPREAD
        for number, _ in enumerate(models)
    ]
