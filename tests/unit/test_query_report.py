"""Answers as text: nothing lost, nothing that a spreadsheet or a terminal would run."""

from __future__ import annotations

import csv
import io
import json
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console, RenderableType

from api.answers import Cell, Coverage, CoveragePart, OtherCurrency, QueryAnswer, QueryMeta, encode
from api.bookings import BookingExplained
from api.explain import ConversionFacts, Correction, Explanation, Move, Share, TouchpointExplained
from api.numbers import money_text, plain_number
from api.person import LinkExplained, PersonExplained
from api.report import coverage_line, explanation_to_text, to_csv, to_json, to_table

COVERAGE = Coverage(
    "11.50",
    "10.50",
    "1.00",
    Decimal("0.913043"),
    Decimal(3),
    Decimal(2),
    Decimal(1),
    (
        CoveragePart("attributed", "10.50", Decimal(2), Decimal("0.913043")),
        CoveragePart("no_consent", "1.00", Decimal(1), Decimal("0.086957")),
        CoveragePart("no_person", "0.00", Decimal(0), Decimal(0)),
    ),
    "11.50",
    Decimal(3),
    7,
    (OtherCurrency("EUR", "7.00", Decimal(1), "7.00"),),
)
META = QueryMeta(
    "linear", "conversion", "USD", None, "UTC", {"cr": "sessions"}, COVERAGE, (), None, None, 1.5
)


def answer(
    *rows: list[Cell], columns: tuple[str, ...] = ("campaign", "conversions", "revenue", "cr")
) -> QueryAnswer:
    return QueryAnswer(columns, list(rows), META)


def rendered(what: RenderableType) -> str:
    console = Console(file=io.StringIO(), width=200, force_terminal=True, color_system=None)
    console.print(what)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert isinstance(text, str)
    return text


def touch(**given: Any) -> TouchpointExplained:
    names = TouchpointExplained.__struct_fields__
    return TouchpointExplained(**{**dict.fromkeys(names, ""), "decision": "in", "credits": {}, **given})


def test_json_keeps_money_as_text_and_weights_as_exact_numbers() -> None:
    text = to_json(answer(["a", Decimal("0.333333333"), "10.50", None]))
    assert '["a",0.333333333,"10.50",null]' in text
    assert json.loads(text)["meta"]["coverage"]["other_currencies"] == [
        {"currency": "EUR", "revenue": "7.00", "conversions": 1, "heard_revenue": "7.00"}
    ]


@given(
    st.lists(st.tuples(st.text(), st.decimals(allow_nan=False, allow_infinity=False, places=4)), max_size=5)
)
def test_csv_reads_back_as_what_it_was(rows: list[tuple[str, Decimal]]) -> None:
    """Quotes, commas and line ends survive; only the guard before formulas is added."""
    text = to_csv(answer(*([name, Decimal(1), f"{amount:f}", None] for name, amount in rows)))
    back = list(csv.reader(io.StringIO(text, newline="")))
    assert back[0] == ["campaign", "conversions", "revenue", "cr"]
    for (name, amount), (got, _, revenue, cr) in zip(rows, back[1:], strict=True):
        assert got in (name, f"'{name}")
        assert not got.startswith(("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠"))  # noqa: RUF001
        assert (Decimal(revenue), cr) == (amount, "")


def test_csv_does_not_spoil_negative_money() -> None:
    """A refund is a number of ours, not a stranger's formula."""
    assert to_csv(answer(["-x", Decimal("-1"), "-5.00", None])).splitlines()[1] == "'-x,-1,-5.00,"


@pytest.mark.parametrize(
    "name", ["[red]x[/red]", "[/]", "[link=http://x]y[/link]", "\x1b[31mred\x1b[0m", "a\rb", "\x9b2J"]
)
def test_names_of_strangers_neither_style_nor_steer_the_terminal(name: str) -> None:
    text = rendered(to_table(answer([name, Decimal(1), "1.00", None])))
    assert "\x1b[31m" not in text
    assert "\x9b" not in text
    assert "\r" not in text
    if name.isprintable():
        assert name in text


def test_a_campaign_under_its_id_is_shown_with_its_name() -> None:
    """In the table; files keep what the ledger has."""
    named = msgspec.structs.replace(META, campaign_names={"17391": "Brand [/]"})
    told = QueryAnswer(("campaign", "clicks"), [["17391", 17391], ["autumn", 2]], named)
    assert "Brand [/] (17391)" in rendered(to_table(told))
    assert to_csv(told).splitlines() == ["campaign,clicks", "17391,17391", "autumn,2"]


def test_coverage_names_what_is_not_added_up() -> None:
    line = coverage_line(answer())
    assert line == (
        "linear, by conversion: 11.50 USD in 3 conversions; 10.50 attributed, 1.00 without a touchpoint;"
        " not added up: 7.00 EUR"
    )


def test_an_explanation_tells_what_a_deal_was_worth_when() -> None:
    facts = ConversionFacts(
        *(
            "c1",
            "s",
            "deal_won",
            "D-1",
            "",
            "e",
            "2026-10-02T12:00:00.000Z",
            "6.00",
            "USD",
            "stands",
            90.0,
            "p",
        )
    )
    won = BookingExplained("2026-10-02T12:00:00.000Z", "conversion", "10.00", "USD", Decimal(1), "10.00")
    refund = BookingExplained("2026-10-05T12:00:00.000Z", "refund", "-4.00", "USD", Decimal(0), "6.00")
    explanation = Explanation(facts, PersonExplained([], []), [], {}, {"linear": True}, [], [won, refund])
    text = rendered(explanation_to_text(explanation))
    for part in ("Bookings", "2026-10-05T12:00:00.000Z", "refund", "-4.00", "6.00 USD"):
        assert part in text
    alone = msgspec.structs.replace(explanation, bookings=[won])
    assert "Bookings" not in rendered(explanation_to_text(alone))


def test_an_explanation_shows_reasons_credit_and_unbalanced_books() -> None:
    facts = ConversionFacts(
        "c1",
        "s",
        "purchase",
        "[b]o",
        "v",
        "e",
        "2026-10-02T12:00:00.000Z",
        "10.00",
        "USD",
        "stands",
        90.0,
        "p1",
    )
    shares = {"linear": Share(Decimal("0.5"), "5.00")}
    text = rendered(
        explanation_to_text(
            Explanation(
                facts,
                PersonExplained(
                    ["v", "w"], [LinkExplained("w", "user:42", "e9", "2026-10-01T00:00:00.000Z", True)]
                ),
                [
                    touch(channel="Email", credits=shares),
                    touch(channel="Late", decision="out", reason="after_conversion"),
                ],
                {"linear": Share(Decimal("0.5"), "5.00")},
                {"linear": False},
                [
                    Correction(
                        "2026-10-02T13:00:00.000Z",
                        "late_touch",
                        "p1",
                        [Move("linear", "Email", "USD", "10.00", "5.00", Decimal(1), Decimal("0.5"))],
                        [],
                    )
                ],
            )
        )
    )
    for part in (
        "purchase c1 (stands)",
        "10.00 USD",
        "[b]o",
        "0.5 = 5.00",
        "out: after conversion",
        "NOT BALANCED: linear",
        "Person of 2 visitors",
        "w is user:42 (event e9",
        "linear: Email 10.00 -> 5.00 USD",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("visitors", "colleagues", "days", "shown"),
    [
        (["v"], [], 1.0, ["lookback 1 day\n"]),
        (["v"], ["bob"], 90.0, ["lookback 90 days\n", "Colleagues of 1 visitor: bob"]),
        (
            ["v", "w"],
            ["bob", "eve"],
            0.5,
            ["lookback 0.5 days\n", "Person of 2 visitors", "of 2 visitors: bob, eve"],
        ),
    ],
)
def test_one_is_one_and_two_are_several(
    visitors: list[str], colleagues: list[str], days: float, shown: list[str]
) -> None:
    when = "2026-10-02T12:00:00.000Z"
    facts = ConversionFacts("c1", "s", "lead", "", "v", "e", when, "0.00", "USD", "stands", days, "p1")
    person = PersonExplained(visitors, [], colleagues)
    text = rendered(explanation_to_text(Explanation(facts, person, [], {}, {}, [])))
    lines = [" ".join(line.split()) for line in text.splitlines()]
    for part in shown:
        assert part in "\n".join(lines)
    assert ("Person of" in text) == (len(visitors) > 1)


SAME = Move("time_decay", "Direct", "USD", "14.98", "14.98", Decimal("0.3"), Decimal("0.300000001"))
OTHER = Move("linear", "Email", "USD", "10.00", "5.00", Decimal(1), Decimal("0.5"))
WEIGHT = Move("linear", "Email", "USD", "0.00", "0.00", Decimal(0), Decimal("0.5"))


@pytest.mark.parametrize(
    ("value", "moves", "shown", "left_out"),
    [
        ("10.00", [SAME, OTHER], "Email 10.00 -> 5.00 USD", "Direct"),
        ("10.00", [SAME], "weights only", "Direct"),
        ("10.00", [], "within channels only", "weights"),
        ("0.00", [WEIGHT], "linear: Email 0 -> 0.5", "USD 0"),
    ],
)
def test_the_ledger_tells_the_amounts_that_a_correction_moved(
    value: str, moves: list[Move], shown: str, left_out: str
) -> None:
    """Billionths of weight that move no cent are in the JSON; a conversion without value has weights only."""
    facts = ConversionFacts(
        "c1", "s", "purchase", "", "v", "e", "2026-10-02T12:00:00.000Z", value, "USD", "stands", 90.0, "p1"
    )
    correction = Correction("2026-10-02T13:00:00.000Z", "policy", "p1", moves, [])
    explanation = Explanation(facts, PersonExplained(["v"], []), [], {}, {"linear": True}, [correction])
    text = rendered(explanation_to_text(explanation))
    assert shown in text
    assert left_out not in text
    assert to_json(explanation).count('"weight_after"') == len(moves)


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [
        ("10", "USD", "10.00"),
        ("10.5", "JPY", "10.5"),
        ("10", "JPY", "10"),
        ("1.2345", "KWD", "1.2345"),
        ("1.2", "KWD", "1.200"),
        ("-0.01", "USD", "-0.01"),
        ("0.0000", "USD", "0.00"),
        ("99999999999999.9999", "USD", "99999999999999.9999"),
        ("1E+3", "USD", "1000.00"),
    ],
)
def test_money_has_the_decimals_of_its_currency_and_loses_none(amount: str, currency: str, text: str) -> None:
    assert money_text(Decimal(amount), currency) == text


@given(st.decimals(allow_nan=False, allow_infinity=False, places=9, min_value=-(10**9), max_value=10**9))
def test_plain_numbers_keep_their_value_and_are_json_numbers(number: Decimal) -> None:
    assert plain_number(number) == number
    assert "E+" not in str(plain_number(number)).upper()
    body = encode(OtherCurrency("USD", "0", plain_number(number), "0"))
    assert json.loads(body, parse_float=Decimal, parse_int=Decimal)["conversions"] == number
