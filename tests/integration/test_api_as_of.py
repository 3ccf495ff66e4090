"""Reports as they stood at an earlier instant, and the models beside each other, against a real engine."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Any

import pytest
from api_store import Store, credit, session
from clickhouse_connect.driver.client import Client
from sinks_rows import DAY, HOUR, NOON

from api.answers import QueryAnswer
from attribution.errors import Rejected
from attribution.policy import AttributionPolicy

QUESTIONS: list[tuple[str, str, dict[str, Any]]] = [
    ("revenue conversions aov", "channel", {"order_by": [["channel", "asc"]]}),
    ("revenue", "campaign day", {"basis": "touch"}),
    ("conversions revenue", "", {"filters": [["conversion_type", "is", ["lead"]]]}),
    ("revenue", "landing_page", {"date_range": ["2026-10-01", "2026-10-02"]}),
    ("revenue", "channel", {"spread": True, "currency": "EUR", "order_by": [["channel", "asc"]]}),
]


@pytest.fixture
def store(clean: tuple[Client, str]) -> Store:
    return Store(*clean)


def instant(epoch_ms: int) -> str:
    import datetime as dt

    return dt.datetime.fromtimestamp(epoch_ms / 1000, dt.UTC).isoformat(timespec="milliseconds")


def random_entries(rng: random.Random, recorded_at: int) -> list[dict[str, Any]]:
    return [
        credit(
            rng.choice(["Email", "Direct", "(unattributed)"]),
            f"{Decimal(rng.randint(-500, 5000)) / 100}",
            f"{Decimal(rng.randint(-3, 9)) / 8}",
            source=rng.choice(["(no person)", "(no consent)"]),
            campaign=rng.choice(["a", "b"]),
            landing_page=rng.choice(["/", "/p"]),
            conversion_type=rng.choice(["purchase", "lead"]),
            currency=rng.choice(["USD", "EUR"]),
            model=rng.choice(["linear", "last_touch", "first_touch"]),
            converted_at=NOON - rng.randint(0, 3 * DAY),
            touched_at=NOON - rng.randint(3 * DAY, 6 * DAY),
            recorded_at=recorded_at,
        )
        for _ in range(rng.randint(1, 12))
    ]


def test_what_was_answered_then_is_answered_as_of_then(store: Store) -> None:
    """Batches of ledger entries; after each, five questions. At the end each is asked as of each earlier instant."""
    rng = random.Random(20261123)
    answered = []
    at = NOON
    for _ in range(6):
        at += rng.randint(1, 2 * HOUR)
        store.put("credits", *random_entries(rng, at))
        answers = [store.ask(metrics, by, **given) for metrics, by, given in QUESTIONS]
        answered.append((at, answers))
    for number, (then, answers) in enumerate(answered):
        next_at = answered[number + 1][0] if number + 1 < len(answered) else then + DAY
        for moment in (then, next_at - 1):
            for before, (metrics, by, given) in zip(answers, QUESTIONS, strict=True):
                now = store.ask(metrics, by, **given, as_of=instant(moment))
                assert (now.rows, now.spread) == (before.rows, before.spread)
                assert now.meta.coverage.parts == before.meta.coverage.parts
                assert now.meta.coverage.other_currencies == before.meta.coverage.other_currencies
                assert now.meta.coverage.bot_hits is None
                check_coverage(now)
    first = store.ask("revenue", as_of=instant(answered[0][0] - 1))
    assert first.rows == [["0.00"]]


def check_coverage(answer: QueryAnswer) -> None:
    """The parts add up to all that was heard, those in the books to all revenue and conversions, in exact money."""
    coverage = answer.meta.coverage
    assert sum(Decimal(part.revenue) for part in coverage.parts) == Decimal(coverage.heard_revenue)
    assert sum(part.conversions for part in coverage.parts) == coverage.heard_conversions
    in_books = [part for part in coverage.parts if part.name not in ("bot", "visitor_over_limit")]
    assert sum(Decimal(part.revenue) for part in in_books) == Decimal(coverage.revenue)
    assert sum(part.conversions for part in in_books) == coverage.conversions
    if Decimal(coverage.heard_revenue) > 0:
        assert abs(sum(part.share or 0 for part in coverage.parts) - 1) < Decimal("0.00001")


def test_coverage_of_random_ledgers_equals_a_plain_recount(store: Store) -> None:
    """Every model, currency and range of dates: each part is what the entries of that reason come to."""
    rng = random.Random(18)
    rows = [row for step in range(8) for row in random_entries(rng, NOON + step)]
    store.put("credits", *rows)
    reason_of = {"(no person)": "no_person", "(no consent)": "no_consent"}
    for _ in range(15):
        model, currency = rng.choice(["linear", "last_touch"]), rng.choice(["USD", "EUR"])
        first = rng.choice(["2026-09-29", "2026-10-01"])
        answer = store.ask(
            "revenue", "channel", model=model, currency=currency, date_range=[first, None], limit=1
        )
        check_coverage(answer)
        wanted: dict[str, list[Decimal]] = {}
        for row in rows:
            if row["model"] == model and instant(row["converted_at"])[:10] >= first:
                is_nobody = row["channel"] == "(unattributed)"
                sums = wanted.setdefault(
                    reason_of[row["source"]] if is_nobody else "attributed", [Decimal(0)] * 2
                )
                sums[0] += Decimal(row["amount"]) if row["currency"] == currency else 0
                sums[1] += Decimal(row["weight"])
        found = {part.name: [Decimal(part.revenue), part.conversions] for part in answer.meta.coverage.parts}
        assert {name: sums for name, sums in found.items() if any(sums)} == {
            name: sums for name, sums in wanted.items() if any(sums)
        }


def test_a_day_as_of_includes_its_last_millisecond(store: Store) -> None:
    midnight = NOON + 12 * HOUR
    store.put(
        "credits", credit("Email", "1", recorded_at=midnight - 1), credit("Email", "2", recorded_at=midnight)
    )
    answer = store.ask("revenue", as_of="2026-10-02")
    assert answer.rows == [["1.00"]]
    assert answer.meta.as_of == "2026-10-02T23:59:59.999Z"
    assert store.rows("revenue", as_of="2026-10-03") == [["3.00"]]


def test_the_spread_is_the_lowest_and_the_highest_that_any_model_says(clean: tuple[Client, str]) -> None:
    """A model without any row in a group says 0 of it; a row that only other models credit is there too."""
    rules = ("first_touch", "last_touch", "last_non_direct_touch", "linear", "position_based", "time_decay")
    store = Store(*clean, AttributionPolicy(models=rules))
    store.put("sessions", session("1", channel="Email"))
    store.put(
        "credits",
        *(
            credit("Email", amount, weight, model=model)
            for model, amount, weight in (
                ("linear", "6", "0.6"),
                ("first_touch", "10", "1"),
                ("time_decay", "6", "0.6"),
            )
        ),
        *(credit("Direct", "4", "0.4", model=model) for model in ("linear", "time_decay")),
        *(credit("Display", "10", "1", model=model) for model in ("last_touch", "position_based")),
        credit("Email", "100", model="markov"),
        credit("Email", "70", currency="EUR", model="last_touch"),
    )
    answer = store.ask("sessions conversions revenue", "channel", spread=True, order_by=[["channel", "asc"]])
    assert answer.rows == [
        ["Direct", 0, Decimal("0.4"), "4.00"],
        ["Display", 0, 0, "0.00"],
        ["Email", 1, Decimal("0.6"), "6.00"],
    ]
    assert isinstance(answer.spread, list)
    ranges = [(one["revenue"].low, one["revenue"].high, one["revenue"].high_models) for one in answer.spread]
    assert ranges == [
        ("0.00", "4.00", ("linear", "time_decay")),
        ("0.00", "10.00", ("last_touch", "position_based")),
        ("0.00", "10.00", ("first_touch",)),
    ]
    email = answer.spread[2]
    assert (email["conversions"].low, email["conversions"].high) == (0, 1)
    assert email["revenue"].low_models == ("last_touch", "last_non_direct_touch", "position_based")
    assert "markov" not in answer.meta.spread_models
    assert store.ask("revenue", "channel").meta.spread_models == ()


def test_a_model_without_policy_is_answered_where_it_has_credited(store: Store) -> None:
    """A learnt or former model: its rows can be asked for as long as they are there."""
    with pytest.raises(Rejected, match="headwater learn"):
        store.ask("revenue", model="markov")
    store.put("credits", credit("Email", "1", model="markov"), credit("Email", "2", model="ours"))
    assert store.rows("revenue", model="markov") == [["1.00"]]
    assert store.rows("revenue", model="ours") == [["2.00"]]
    with pytest.raises(Rejected, match="no such model"):
        store.ask("revenue", model="theirs")


def test_coverage_parts_add_up_and_robots_hits_stand_beside_them(store: Store) -> None:
    """In every currency; entries that do not say why are not put under a reason that nobody found."""
    for channel, source, amount in (
        ("Email", "mail", "5.01"),
        ("(unattributed)", "(no touch in window)", "0.99"),
        ("(unattributed)", "(no person)", "3"),
        ("(unattributed)", "(no consent)", "2"),
        ("(unattributed)", "(no touch of the model)", "4"),
        ("(unattributed)", "(unattributed)", "1"),
    ):
        store.put(
            "credits",
            credit(channel, amount, source=source),
            credit(channel, amount, source=source, currency="EUR"),
        )
    store.put("drops", {"reason": "bot", "count": 7}, {"reason": "duplicate", "count": 9})
    store.put(
        "drops",
        {"reason": "bot", "count": 4, "site": "other"},
        {"reason": "bot", "count": 2, "hour": NOON // 1000 + 86_400},
    )
    asked = {"date_range": ["2026-10-02", "2026-10-02"], "filters": [["site", "is", ["site1"]]]}
    coverage = store.ask("revenue", "channel", **asked).meta.coverage
    parts = {part.name: (part.revenue, part.conversions) for part in coverage.parts}
    assert parts == {
        "attributed": ("5.01", 2),
        "no_consent": ("2.00", 2),
        "no_person": ("3.00", 2),
        "no_touch_in_window": ("0.99", 2),
        "no_touch_of_model": ("4.00", 2),
        "bot": ("0.00", 0),
        "not_told": ("1.00", 2),
    }
    assert sum(Decimal(part.revenue) for part in coverage.parts) == Decimal(coverage.revenue) == 16
    assert sum(part.conversions for part in coverage.parts) == coverage.conversions == 12
    assert coverage.bot_hits == 7


def claim(name: str, value: str | None, **given: Any) -> dict[str, Any]:
    """A row of dropped_conversions."""
    base = {"conversion_id": name, "event_id": f"event of {name}", "currency": "USD", "reason": "bot"}
    return {**base, "value": value, **given}


def conversion(name: str, **given: Any) -> dict[str, Any]:
    return {"conversion_id": name, "type": "purchase", "currency": "USD", "value": "10", **given}


def dropped(answer: QueryAnswer) -> dict[str, tuple[str, Any]]:
    parts = ("bot", "visitor_over_limit")
    check_coverage(answer)
    return {
        one.name: (one.revenue, one.conversions) for one in answer.meta.coverage.parts if one.name in parts
    }


def test_the_first_claim_is_told_by_the_first_answer_after_it(store: Store) -> None:
    """Claims are asked for as soon as there are any, and with the answer from then on."""
    store.put("credits", credit("Email", "10"))
    assert dropped(store.ask("revenue", "channel")) == {"bot": ("0.00", 0)}
    store.put("dropped_conversions", claim("a", "5"))
    first = store.ask("revenue", "channel")
    assert dropped(first) == {"bot": ("5.00", 1)}
    again = store.ask("revenue", "channel")
    assert (dropped(again), again.rows) == (dropped(first), first.rows)


def test_what_robots_claim_is_a_part_and_counts_once(store: Store) -> None:
    """Doubles, orders that people reported too, reports with and without a value; by site, type, day, currency."""
    store.put("credits", credit("Email", "10"))
    store.put("conversions", conversion("real"), conversion("gone"), conversion("gone", sign=-1))
    store.put(
        "dropped_conversions",
        claim("twice", "5"),
        claim("twice", "5"),
        claim("twice", "6", converted_at=NOON - 1, event_id="earlier"),
        claim("twice", None, converted_at=NOON - 2),
        claim("real", "10"),
        claim("gone", "0.25"),
        claim("elsewhere", "100", site="other"),
        claim("next day", "1", converted_at=NOON + DAY),
        claim("in euro", "2", currency="EUR"),
        claim("a lead", None, conversion_type="lead"),
        claim("too many", "30", reason="visitor_over_limit"),
    )
    here = {"filters": [["site", "is", ["site1"]]]}
    answer = store.ask("revenue", "channel", **here)
    assert dropped(answer) == {"bot": ("7.25", 5), "visitor_over_limit": ("30.00", 1)}
    assert answer.rows == [["Email", "10.00"]], "no row of a report has it"
    coverage = answer.meta.coverage
    assert (coverage.revenue, coverage.heard_revenue) == ("10.00", "47.25")
    assert (coverage.conversions, coverage.heard_conversions) == (1, 7)
    (euro,) = coverage.other_currencies
    assert (euro.currency, euro.revenue, euro.conversions, euro.heard_revenue) == ("EUR", "0.00", 0, "2.00")
    assert dropped(store.ask("revenue", currency="EUR", **here))["bot"] == ("2.00", 5)
    assert dropped(store.ask("revenue"))["bot"] == ("107.25", 6)
    day = {"date_range": ["2026-10-03", None]}
    assert dropped(store.ask("revenue", basis="touch", **day)) == {"bot": ("1.00", 1)}
    lead = {"filters": [["conversion_type", "is", ["lead"]]]}
    assert dropped(store.ask("revenue", **lead)) == {"bot": ("0.00", 1)}
    narrower = {"filters": [*here["filters"], ["channel", "is", ["Direct"]]]}
    assert dropped(store.ask("revenue", **narrower)) == dropped(answer), "as the other parts"
    spread = store.ask("revenue", "channel", spread=True, **here)
    assert dropped(spread) == dropped(answer)
    assert dropped(store.ask("people", "channel", **here)) == dropped(answer)


def test_what_robots_claimed_is_dated_as_the_ledger_is(store: Store) -> None:
    """As of an instant: what was heard by then, and not what a person reported by then."""
    store.put("dropped_conversions", claim("a", "5"), claim("b", "7", recorded_at=NOON + 2))
    store.put("conversions", conversion("a", recorded_at=NOON + 4))
    for later, expected in ((-1, "0.00"), (0, "5.00"), (2, "12.00"), (3, "12.00"), (4, "7.00")):
        assert dropped(store.ask("revenue", as_of=instant(NOON + later)))["bot"][0] == expected
    assert dropped(store.ask("revenue"))["bot"] == ("7.00", 1)


def test_random_claims_equal_a_plain_recount(store: Store) -> None:
    """However often, by whom and in which order: each conversion once, by the report that would count."""
    rng = random.Random(13)
    rows = [
        claim(
            f"c{rng.randrange(40)}",
            rng.choice([None, f"{Decimal(rng.randint(0, 9999)) / 100}"]),
            site=rng.choice(["site1", "other"]),
            event_id=f"e{number}",
            converted_at=NOON + rng.randint(-DAY, DAY),
            currency=rng.choice(["USD", "EUR"]),
            reason=rng.choice(["bot", "bot", "visitor_over_limit"]),
        )
        for number in range(200)
    ]
    store.put("dropped_conversions", *rows, *rng.sample(rows, 50))
    known = {(rng.choice(["site1", "other"]), f"c{number}") for number in range(20)}
    store.put("conversions", *(conversion(name, site=site) for site, name in sorted(known)))
    store.put("credits", *random_entries(rng, NOON))
    wins: dict[tuple[str, str], dict[str, Any]] = {}
    for row in sorted(rows, key=lambda one: (one["value"] is None, one["converted_at"], one["event_id"])):
        wins.setdefault((row["site"], row["conversion_id"]), row)
    for currency in ("USD", "EUR"):
        for first in ("2026-10-01", "2026-10-02", "2026-10-03"):
            answer = store.ask("revenue", "channel", currency=currency, date_range=[first, None])
            wanted: dict[str, tuple[Decimal, int]] = {"bot": (Decimal(0), 0)}
            for name, row in wins.items():
                if name not in known and instant(row["converted_at"])[:10] >= first:
                    amount, count = wanted.get(row["reason"], (Decimal(0), 0))
                    amount += Decimal(row["value"] or 0) if row["currency"] == currency else 0
                    wanted[row["reason"]] = amount, count + 1
            found = {name: (Decimal(revenue), count) for name, (revenue, count) in dropped(answer).items()}
            assert found == wanted


def test_the_causes_add_up_to_the_difference_of_the_two_reports(store: Store) -> None:
    """Between any two instants, whatever is grouped and filtered; a plain recount says the same by cause."""
    rng = random.Random(7)
    at, steps, written = NOON, [NOON - HOUR], []
    for _ in range(5):
        at += rng.randint(1, HOUR)
        rows = [
            {**row, "cause": rng.choice(["conversion", "late_touch", "merge"])}
            for row in random_entries(rng, at)
        ]
        store.put("credits", *rows)
        written += rows
        steps.append(at)
    for _ in range(12):
        first, second = sorted(rng.sample(steps, 2))
        common: dict[str, Any] = {
            "model": rng.choice(["linear", "last_touch"]),
            "currency": rng.choice(["USD", "EUR"]),
            "filters": rng.choice([[], [["campaign", "is", ["a"]]]]),
        }
        found = store.changes(
            **{"from": instant(first), "to": instant(second)}, **common, dimensions=["channel"]
        )
        before, after = (
            store.ask("conversions revenue", as_of=instant(when), **common).rows[0]
            for when in (first, second)
        )
        assert [found.before.conversions, found.before.revenue] == before
        assert [found.after.conversions, found.after.revenue] == after
        for name in ("revenue", "conversions"):
            whole = sum(Decimal(str(getattr(one, name))) for one in found.causes)
            assert whole == Decimal(str(getattr(found.difference, name)))
            place = found.columns.index(name)
            assert whole == sum(Decimal(str(row[place])) for row in found.rows)
        wanted: dict[str, Decimal] = {}
        for row in written:
            is_meant = row["model"] == common["model"] and (not common["filters"] or row["campaign"] == "a")
            if is_meant and first < row["recorded_at"] <= second:
                amount = Decimal(row["amount"]) if row["currency"] == common["currency"] else Decimal(0)
                wanted[row["cause"]] = wanted.get(row["cause"], Decimal(0)) + amount
        assert {one.cause: Decimal(one.revenue) for one in found.causes} == wanted


def test_two_instants_the_wrong_way_round_are_refused(store: Store) -> None:
    with pytest.raises(Rejected) as caught:
        store.changes(**{"from": "2026-10-03", "to": "2026-10-02"})
    assert caught.value.field == "from"
    with pytest.raises(Rejected) as caught:
        store.changes(**{"from": "then"})
    assert caught.value.field == "from"


def test_a_learnt_model_says_how_sure_it_is_by_its_newest_table(store: Store) -> None:
    def learnt(version: str, channel: str, share: str, at: int, **given: Any) -> dict[str, Any]:
        numbers = {"share": share, "low": "0.1", "high": "0.9", "effect": "0", "error": "0"}
        times = {"from_at": NOON, "to_at": NOON, "learnt_at": at}
        counts = {"markov_order": 1, "journeys": 1, "conversions": 1, "seed": 1, "rounds": 1}
        lists = {"conversion_types": ["purchase"], "model": "markov", "site": ""}
        return {"version": version, "channel": channel, **numbers, **times, **counts, **lists, **given}

    store.put("credits", credit("Email", "1", model="markov"))
    store.put(
        "learnt_models",
        learnt("old", "Email", "0.3", NOON),
        learnt("new", "Email", "0.25", NOON + 1),
        learnt("new", "Display", "0.75", NOON + 1),
        learnt("site", "Email", "1", NOON + 2, site="s1"),
        learnt("other", "Email", "1", NOON + 2, model="shapley"),
    )
    table = store.ask("revenue", "channel", model="markov").meta.learnt
    assert table is not None
    assert table.version == "new"
    assert [(one.channel, one.share, one.low, one.high) for one in table.shares] == [
        ("Display", Decimal("0.75"), Decimal("0.1"), Decimal("0.9")),
        ("Email", Decimal("0.25"), Decimal("0.1"), Decimal("0.9")),
    ]
    assert store.ask("revenue").meta.learnt is None
