"""Questions: what is refused and how, and that no text of a user ever reaches the SQL."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.catalog import DIMENSIONS, METRICS, OPERATORS
from api.models import SENTENCES, models_about
from api.plan import Conversion, Plan, Terms, build_plan
from api.requests import MAX_LIMIT, QueryRequest, parse_query
from attribution.errors import Rejected
from attribution.models import MODELS as REGISTERED

MODELS = ("linear", "last_touch")


def plan(**given: Any) -> Plan:
    request = parse_query(json.dumps({"metrics": ["hits"], **given}).encode())
    return build_plan(request, "headwater", MODELS, Terms())


def refused(**given: Any) -> tuple[str, str, str]:
    with pytest.raises(Rejected) as caught:
        plan(**given)
    return caught.value.reason, caught.value.field, caught.value.message


@pytest.mark.parametrize(
    ("given", "reason", "field"),
    [
        ({"metrics": ["hits", "nope"]}, "unknown_metric", "metrics.1"),
        ({"metrics": ["hits", "hits"]}, "duplicate_name", "metrics.1"),
        ({"metrics": []}, "invalid_request", "metrics"),
        ({"metrics": "hits"}, "invalid_request", "metrics"),
        ({"metrics": [1]}, "invalid_request", "metrics.0"),
        ({"dimensions": ["colour"]}, "unknown_dimension", "dimensions.0"),
        ({"dimensions": ["channel", "channel"]}, "duplicate_name", "dimensions.1"),
        ({"filters": [["colour", "is", ["red"]]]}, "unknown_dimension", "filters.0.0"),
        ({"filters": [["channel", "like", ["%"]]]}, "unknown_operator", "filters.0.1"),
        ({"filters": [["channel", "is", []]]}, "invalid_request", "filters.0.2"),
        ({"filters": [["channel", "is", "Email"]]}, "invalid_request", "filters.0.2"),
        ({"filters": [["channel", "is"]]}, "invalid_request", "filters.0.2"),
        ({"filters": [["channel", "contains", [""]]]}, "empty_value", "filters.0.2"),
        ({"filters": [["channel", "is", ["x" * 1001]]]}, "invalid_request", "filters.0.2.0"),
        ({"filters": [["month", "is", ["2026-10", "2026-10-01"]]]}, "bad_value", "filters.0.2.1"),
        ({"filters": [["month", "is_not", ["2026-13"]]]}, "bad_value", "filters.0.2.0"),
        ({"filters": [["week", "is", ["2026-10-27"]]]}, "bad_value", "filters.0.2.0"),
        ({"filters": [["day", "is", ["10/31/2026"]]]}, "bad_value", "filters.0.2.0"),
        ({"filters": [["hour", "is", ["2026-10-31T18:30:00Z"]]]}, "bad_value", "filters.0.2.0"),
        ({"date_range": ["2026-10-02", "2026-10-01"]}, "bad_date_range", "date_range"),
        ({"date_range": ["2026-02-30", None]}, "bad_date_range", "date_range.0"),
        ({"date_range": [None, "20261001"]}, "bad_date_range", "date_range.1"),
        ({"date_range": ["2026-W40-4", None]}, "bad_date_range", "date_range.0"),
        ({"date_range": ["١٩٩٩-01-01", None]}, "bad_date_range", "date_range.0"),
        ({"date_range": ["1969-12-31", None]}, "bad_date_range", "date_range.0"),
        ({"date_range": ["9999-12-31", None]}, "bad_date_range", "date_range.0"),
        ({"date_range": ["2026-10-01"]}, "invalid_request", "date_range.1"),
        ({"model": "magic"}, "unknown_model", "model"),
        ({"model": "markov"}, "not_available", "model"),
        ({"basis": "cash"}, "invalid_request", "basis"),
        ({"currency": "XXZ"}, "unknown_currency", "currency"),
        ({"order_by": [["revenue", "desc"]]}, "bad_order", "order_by.0.0"),
        ({"order_by": [["hits", "up"]]}, "invalid_request", "order_by.0.1"),
        ({"limit": 0}, "invalid_request", "limit"),
        ({"limit": MAX_LIMIT + 1}, "invalid_request", "limit"),
        ({"limit": "10"}, "invalid_request", "limit"),
        ({"limit": True}, "invalid_request", "limit"),
        ({"limit": 1.5}, "invalid_request", "limit"),
        ({"offset": -1}, "invalid_request", "offset"),
        ({"as_of": "2026-10-01"}, "not_available", "metrics.0"),
        ({"metrics": ["revenue", "cr"], "as_of": "2026-10-01"}, "not_available", "metrics.1"),
        ({"metrics": ["revenue"], "as_of": "2026-02-30"}, "bad_instant", "as_of"),
        ({"metrics": ["revenue"], "as_of": "2026-10-01T12:00:00"}, "bad_instant", "as_of"),
        ({"metrics": ["revenue"], "as_of": "9999-12-31T23:59:59-12:00"}, "bad_instant", "as_of"),
        ({"metrics": ["revenue"], "as_of": "yesterday"}, "bad_instant", "as_of"),
        ({"metrics": ["hits"], "spread": True}, "bad_spread", "spread"),
        ({"metrics": ["revenue"], "spread": "yes"}, "invalid_request", "spread"),
        ({"metrics": ["revenue_roi"]}, "not_available", "metrics.0"),
        ({"metrics": ["hits", "mer"], "dimensions": ["day", "channel"]}, "not_available", "metrics.1"),
        ({"metrics": ["mer"], "filters": [["source", "is", ["x"]]]}, "not_available", "metrics.0"),
        ({"metrics": ["spend"], "dimensions": ["landing_page"]}, "not_available", "metrics.0"),
        ({"metrics": ["roas"], "filters": [["landing_page", "is", ["/"]]]}, "not_available", "metrics.0"),
        ({"metrics": ["cpm"], "as_of": "2026-10-01"}, "not_available", "metrics.0"),
        ({"convert": "no"}, "invalid_request", "convert"),
        ({"sql": "SELECT 1"}, "invalid_request", "sql"),
    ],
)
def test_what_makes_no_sense_is_refused_by_field(given: dict[str, Any], reason: str, field: str) -> None:
    assert refused(**given)[:2] == (reason, field)


@pytest.mark.parametrize(
    ("dimension", "operator", "value"),
    [
        ("hour", "is", "2026-10-31T18:00:00Z"),
        ("day", "is_not", "2026-10-31"),
        ("week", "is", "2026-10-26"),
        ("month", "is", "2026-10"),
        ("month", "contains", "2026-1"),
    ],
)
def test_times_are_filtered_as_answers_write_them(dimension: str, operator: str, value: str) -> None:
    assert plan(filters=[[dimension, operator, [value]]]).parameters["f0"] == [value]


def test_every_dimension_of_the_contract_is_there() -> None:
    contract = (
        "channel source medium campaign term content ad_network landing_page country device conversion_type stage site"
        " hour day week month"
    )
    assert {*contract.split()} <= DIMENSIONS.keys()


def test_an_unknown_name_is_answered_with_the_valid_ones_and_not_repeated() -> None:
    """The message goes into logs and pages: what a stranger sent stays out of it."""
    _, _, message = refused(metrics=["<script>alert(1)</script>"])
    assert "script" not in message
    for name in METRICS:
        assert name in message


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b"null", b"\xff", b'"hits"', b"{}" * 2, b"[" * 100_000])
def test_bodies_that_are_no_question_are_rejected(body: bytes) -> None:
    with pytest.raises(Rejected):
        parse_query(body)


@given(
    st.lists(st.sampled_from(sorted(METRICS)), min_size=1, unique=True),
    st.lists(st.sampled_from(sorted(DIMENSIONS)), max_size=8, unique=True),
    st.lists(
        st.tuples(
            st.sampled_from(sorted(DIMENSIONS)),
            st.sampled_from(sorted(OPERATORS)),
            st.lists(st.text(min_size=1), min_size=1, max_size=3),
        ),
        max_size=4,
    ),
)
def test_values_of_users_are_parameters_and_nothing_else(
    metrics: list[str], dimensions: list[str], filters: list[tuple[str, str, list[str]]]
) -> None:
    """The statement is the same whatever the values are: they cannot be part of it."""
    request = QueryRequest(metrics=metrics, dimensions=dimensions, filters=filters, basis="touch")
    harmless = request.model_copy(
        update={"filters": [(name, operator, ["x"]) for name, operator, _ in filters]}
    )
    for conversion in (None, Conversion(("EUR", "USD"), 20_000)):
        try:
            made = build_plan(request, "headwater", MODELS, Terms(), conversion)
        except Rejected:
            # What ads cost is not known by everything; which, is told above.
            return
        others = build_plan(harmless, "headwater", MODELS, Terms(), conversion)
        assert (made.sql, made.claims) == (others.sql, others.claims)
        assert "$" not in made.sql + made.claims
        assert [made.parameters[f"f{number}"] for number in range(len(filters))] == [
            values for _, _, values in filters
        ]


def test_days_are_inclusive_and_utc() -> None:
    parameters = plan(date_range=["2026-10-01", "2026-10-01"]).parameters
    assert parameters["to"] - parameters["from"] == 86_400
    assert parameters["from"] == 1_790_812_800


def test_an_open_range_is_all_of_time() -> None:
    for open_range in (None, [None, None]):
        parameters = plan(date_range=open_range).parameters
        assert (parameters["from"], parameters["to"]) == (0, 2**32 - 1)


@pytest.mark.parametrize(
    ("given", "tables"),
    [
        (
            {
                "metrics": ["hits", "cr", "revenue"],
                "dimensions": ["channel", "day", "site", "conversion_type"],
            },
            {"channel_metrics"},
        ),
        ({"metrics": ["visitors"]}, {"channel_metrics", "sessions"}),
        ({"dimensions": ["landing_page"]}, {"channel_metrics", "sessions", "hits", "credits"}),
        (
            {"filters": [["landing_page", "is", ["/"]]]},
            {"channel_metrics", "sessions", "hits", "credits"},
        ),
        ({"metrics": ["revenue"], "spread": True}, {"channel_metrics"}),
        (
            {"metrics": ["spend", "roas", "cpm", "cpql", "pipeline_roi", "mer"]},
            {"spend_metrics", "channel_metrics"},
        ),
        ({"metrics": ["impressions"]}, {"spend_metrics", "channel_metrics"}),
        ({"metrics": ["cac", "revenue"]}, {"spend_metrics", "channel_metrics", "credits"}),
        ({"metrics": ["platform_value"]}, {"spend_metrics", "channel_metrics", "spend"}),
        ({"metrics": ["reach"]}, {"spend_metrics", "channel_metrics", "spend", "hits"}),
        ({"metrics": ["spend"], "as_of": "2026-10-01"}, {"sessions", "hits", "credits", "spend"}),
        # The roll-up has no past: the ledger answers the rows and the coverage.
        ({"metrics": ["revenue"], "as_of": "2026-10-01"}, {"sessions", "hits", "credits"}),
    ],
)
def test_the_roll_up_is_read_wherever_it_can_answer(given: dict[str, Any], tables: set[str]) -> None:
    """It always answers the coverage, with what was dropped: in how many hits, and what they claim was bought."""
    found = plan(**given)
    names = {sql: set(re.findall(r"`headwater`.`(\w+)`", sql)) for sql in (found.sql, found.claims)}
    assert names[found.sql] == tables | {"drops", "dropped_conversions"}
    assert names[found.claims] == {"dropped_conversions", "conversions"}


@pytest.mark.parametrize(
    ("date_range", "bounds"),
    [
        (None, (False, False)),
        (["2026-10-01", None], (True, False)),
        ([None, "2026-10-01"], (False, True)),
        (["2026-10-01", "2026-10-01"], (True, True)),
    ],
)
def test_only_the_bounds_that_are_given_are_looked_at(date_range: Any, bounds: tuple[bool, bool]) -> None:
    """In the rows, in the coverage and in what was dropped."""
    found = plan(metrics=["hits", "revenue"], date_range=date_range)
    sql = found.sql + found.claims
    assert (sql.count("hour >= "), sql.count("hour < ")) == (4 * bounds[0], 4 * bounds[1])


def test_only_what_the_answer_needs_is_summed() -> None:
    """Hits and sessions tell whether a group has traffic; their kinds are read when asked for."""
    assert "impressions" not in plan(metrics=["hits"]).sql
    assert "sum(impressions)" in plan(metrics=["hits", "impressions"]).sql
    assert "sum(conversions)" not in plan(metrics=["hits"]).sql
    assert "sum(hits)" not in plan(metrics=["revenue"]).sql


def test_a_side_that_is_not_asked_for_is_not_read() -> None:
    assert "model = ''" in plan(metrics=["hits"]).sql
    assert "model IN" not in plan(metrics=["revenue"]).sql
    assert "model IN ('', {model:String})" in plan(metrics=["revenue", "hits"]).sql
    assert "model IN ('', {model:String})" in plan(metrics=["cr"]).sql


@pytest.mark.parametrize(
    ("text", "epoch_ms"),
    [
        ("2026-10-01", 1_790_899_199_999),
        ("2026-10-01T00:00Z", 1_790_812_800_000),
        ("2026-10-01T02:00:00.25+02:00", 1_790_812_800_250),
    ],
)
def test_a_day_means_its_end_and_an_instant_its_own_time_zone(text: str, epoch_ms: int) -> None:
    assert plan(metrics=["revenue"], as_of=text).as_of == epoch_ms


@pytest.mark.parametrize("name", SENTENCES)
def test_every_model_of_the_contract_is_answered_or_says_what_to_do(name: str) -> None:
    if name in MODELS:
        assert plan(model=name).parameters["model"] == name
        return
    reason, field, message = refused(model=name)
    assert (reason, field) == ("not_available", "model")
    assert ("headwater learn" in message) == (name in ("markov", "shapley"))
    assert ("headwater restate" in message) == (name not in ("markov", "shapley"))


def test_the_registered_models_are_those_that_have_a_sentence() -> None:
    """A person who chooses reads one sentence about each; learnt ones have it before they have a table."""
    assert {*REGISTERED} | {"markov", "shapley"} == {*SENTENCES}


def test_models_of_this_installation_alone_are_listed_too() -> None:
    listed = {one.name: one for one in models_about(("linear", "ours"))}
    assert (listed["ours"].kind, listed["ours"].is_credited) == ("custom", True)
    assert listed["linear"].is_credited
    assert not listed["markov"].is_credited
    assert "headwater learn" in listed["markov"].remedy
