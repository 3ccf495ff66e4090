"""Each input ends in exactly one place: a row of hits, a named drop, or a dead letter with its bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from attribution.channel_rules import ArrivalRules
from attribution.conversions import conversion_id_of, conversion_id_of_order
from attribution.drops import DropReason
from attribution.hit import Hit, encode_envelope, encode_hit
from attribution.policy import AttributionPolicy
from attribution.refunds import RefundProblem
from attribution.timeline import Timeline
from sinks.tables import WRITTEN
from streams import stitch_read
from streams.records import Batch, Record
from streams.rules import StitchRules
from streams.stitch_batch import StitchOutput, stitch
from streams.stitch_read import read_batch
from streams.topics import HITS, partition_of

RULES = StitchRules(AttributionPolicy(), "USD", 1)
T0 = 1_760_000_000_000


def hit(event_id: str = "e", **fields: object) -> Hit:
    base: dict[str, object] = {
        "event_id": event_id,
        "site": "s",
        "visitor_id": "v",
        "occurred_at": T0,
        "received_at": T0,
    }
    return msgspec.convert(base | fields, Hit)


def run(*values: bytes, rules: StitchRules = RULES, **options: int | bool) -> StitchOutput:
    records = [Record(offset, 1_234, b"key", value) for offset, value in enumerate(values, start=10)]
    batch = Batch(HITS, 0, "broker", records)
    timelines: dict[tuple[str, str], Timeline] = {}
    read = read_batch(batch, rules, **options)  # type: ignore[arg-type]
    return stitch(
        read,
        lambda visitor: timelines.setdefault(visitor, Timeline.empty(*visitor)),
        batch,
        rules,
        **options,  # type: ignore[arg-type]
    )


def values(row: tuple[Any, ...] | msgspec.Raw) -> Sequence[Any]:
    """A row's values, whether it is written out already or not."""
    return msgspec.json.decode(row, type=list[Any]) if isinstance(row, msgspec.Raw) else row


def ends(output: StitchOutput) -> tuple[int, int, int]:
    return output.accepted, sum(output.dropped.values()), len(output.dead_letters)


def test_a_single_object_and_an_envelope_are_both_read() -> None:
    """Contract, section 5: a value is one object or an array."""
    output = run(encode_hit(hit("a")), encode_envelope([hit("b"), hit("c")]))
    assert ends(output) == (3, 0, 0)


@pytest.mark.parametrize(
    "value",
    [b"", b"{", b"null", b"42", b'"text"', b"\xff\xfe", b"[1,2", b"{}", b'{"site": 5}', b"[" * 5_000],
    ids=[
        "empty",
        "cut off",
        "null",
        "number",
        "string",
        "not utf-8",
        "half a list",
        "no fields",
        "wrong type",
        "deep",
    ],
)
def test_a_value_that_cannot_be_read_is_a_dead_letter_with_its_bytes(value: bytes) -> None:
    """One bad record harms nobody else and can be replayed as it came."""
    output = run(value, encode_hit(hit()))
    assert ends(output) == (1, 0, 1)
    (letter,) = output.dead_letters
    assert (letter.reason, letter.payload, letter.offset) == ("malformed", value, 10)


def test_half_a_surrogate_pair_is_refused_or_stored_but_never_stops_the_worker() -> None:
    """JSON can spell text that UTF-8 cannot hold; a row with it could not be inserted."""
    value = encode_hit(hit("a")).replace(b'"e', b'"e').replace(b'"site":"s"', b'"site":"s","title":"\\ud800"')
    output = run(value)
    for rows in output.rows.values():
        msgspec.json.encode(rows)
    assert sum(ends(output)) == 1


def test_one_bad_hit_in_an_envelope_leaves_the_others_alone() -> None:
    """The rest of a batch is kept; the bad part is a dead letter by itself."""
    value = b"[" + encode_hit(hit("a")) + b',{"site":1},' + encode_hit(hit("b")) + b"]"
    output = run(value)
    assert ends(output) == (2, 0, 1)
    assert output.dead_letters[0].payload == b'{"site":1}'
    assert output.dead_letters[0].index == 1


@pytest.mark.parametrize("field", ["site", "visitor_id", "event_id", "event"])
def test_an_empty_identity_is_refused(field: str) -> None:
    """Other producers may forget them."""
    assert [letter.reason for letter in run(encode_hit(hit(**{field: ""}))).dead_letters] == ["malformed"]


@pytest.mark.parametrize("at", [-1, 2**62, 7_258_118_400_001])
def test_an_absurd_instant_is_refused(at: int) -> None:
    """ClickHouse would store another day, or fail the whole batch."""
    assert [letter.reason for letter in run(encode_hit(hit(occurred_at=at))).dead_letters] == ["bad_time"]


def test_bad_money_of_another_producer_is_refused_with_the_field() -> None:
    """Our collector never lets it through; others may."""
    output = run(encode_hit(hit(event="purchase", value="NaN", currency="USD")))
    assert [letter.reason for letter in output.dead_letters] == ["bad_money"]
    assert output.dead_letters[0].detail.startswith("value: ")


@pytest.mark.parametrize(
    "value", ["abc", "1e30", "9" * 40, "", "inf", " 5 ", "1,5", "0x10", "1_0", "+5", ".", "٣"]
)
@pytest.mark.parametrize("event", ["page_view", "purchase"])
def test_a_value_that_clickhouse_would_refuse_for_ever_is_a_dead_letter(event: str, value: str) -> None:
    """Else the worker would die of the same batch again and again."""
    output = run(encode_hit(hit(event=event, value=value, currency="USD")), encode_hit(hit("good")))
    assert ends(output) == (1, 0, 1)
    assert output.dead_letters[0].reason == "bad_money"


@pytest.mark.parametrize("skew", [2**62, -(2**63)])
def test_an_absurd_clock_skew_is_refused(skew: int) -> None:
    """Beyond what the column holds."""
    output = run(encode_hit(hit(clock_skew_ms=skew)))
    assert [letter.reason for letter in output.dead_letters] == ["bad_time"]


def test_robots_and_doubles_are_dropped_under_their_names() -> None:
    """On purpose and counted: DropReason."""
    robot = hit("r", user_agent="Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)")
    output = run(encode_envelope([hit("a"), hit("a"), robot]), encode_hit(hit("a")))
    assert ends(output) == (1, 3, 0)
    assert output.dropped == {DropReason.bot: 1, DropReason.duplicate: 2}
    assert sum(row[WRITTEN["drops"].index("count")] for row in output.rows["drops"]) == 3


def test_what_dropped_hits_claim_was_bought_is_kept_with_its_reason() -> None:
    """A robot's purchase, and one beyond the limit of its visitor; of copies only what the first one was."""
    robot = {"user_agent": "Googlebot/2.1", "visitor_id": "r"}
    bought = {"event": "purchase", "currency": "EUR"}
    hits = [
        hit("a"),
        hit("b", **bought, order_id="1", value="2.50"),
        hit("b", **bought, order_id="1", value="2.50"),
        hit("c", **bought, order_id="2", value="7", occurred_at=T0 + 5, received_at=T0 + 9),
        hit("d", **robot),
        hit("e", **robot, **bought, order_id="3", value="0.99"),
        hit("f", **robot, event="lead"),
        hit("g", **robot, event="purchase", value="1.005", currency="USD"),
    ]
    policy = AttributionPolicy(max_hits_per_visitor=2)
    output = run(encode_hit(hits[0]), encode_envelope(hits[1:]), rules=StitchRules(policy, "USD", 1))
    assert ends(output) == (2, 6, 0)
    names = WRITTEN["dropped_conversions"]
    found = [dict(zip(names, row, strict=True)) for row in output.rows["dropped_conversions"]]
    shown = [
        tuple(row[n] for n in ("event_id", "conversion_type", "value", "currency", "reason")) for row in found
    ]
    assert shown == [
        ("e", "purchase", "0.99", "EUR", "bot"),
        ("f", "lead", None, "USD", "bot"),
        ("c", "purchase", "7.00", "EUR", "visitor_over_limit"),
    ]
    assert found[0]["conversion_id"] == conversion_id_of(hits[5])
    last = found[2]
    assert (last["converted_at"], last["recorded_at"], last["site"]) == (T0 + 5, T0 + 9, "s")
    assert {(row["src_broker"], row["src_partition"], row["src_offset"]) for row in found} == {
        ("broker", 0, 11)
    }


def test_a_record_on_the_wrong_partition_is_refused() -> None:
    """Its visitor's owner would never see it: sessions would fall apart."""
    rules = StitchRules(AttributionPolicy(), "USD", 8)
    stranger = next(f"v{i}" for i in range(100) if partition_of(f"v{i}", 8) != 0)
    output = run(encode_envelope([hit("a", visitor_id=stranger), hit("b", visitor_id=stranger)]), rules=rules)
    assert [letter.reason for letter in output.dead_letters] == ["wrong_partition"] * 2
    assert len({letter.dead_letter_id for letter in output.dead_letters}) == 2


def test_poison_stops_the_worker_first_and_is_isolated_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unexpected error is raised; from the third attempt on only the hit that causes it is put aside."""
    real = stitch_read.enrich

    def explode(one: Hit, rules: ArrivalRules | None) -> object:
        if one.event_id == "poison":
            raise ZeroDivisionError("a bug of ours")
        return real(one, rules)

    monkeypatch.setattr(stitch_read, "enrich", explode)
    value = encode_envelope([hit("a"), hit("poison"), hit("b")])
    with pytest.raises(ZeroDivisionError):
        run(value)
    output = run(value, attempt=3, isolate=True)
    assert ends(output) == (2, 0, 1)
    assert (output.dead_letters[0].reason, output.dead_letters[0].attempts) == ("poison", 3)
    assert msgspec.json.decode(output.dead_letters[0].payload, type=Hit).event_id == "poison"


def test_a_timeline_that_raises_is_isolated_with_its_visitor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its hits are put aside, the others go on, and the half-changed timeline is named."""
    real = Timeline.apply

    def explode(self: Timeline, marks: object, policy: AttributionPolicy) -> object:
        if self.visitor_id == "bad":
            raise IndexError
        return real(self, marks, policy)  # type: ignore[arg-type]

    monkeypatch.setattr(Timeline, "apply", explode)
    value = encode_envelope([hit("a"), hit("b", visitor_id="bad"), hit("c", visitor_id="bad")])
    output = run(value, attempt=3, isolate=True)
    assert ends(output) == (1, 0, 2)
    assert output.poisoned == [("s", "bad")]


def test_rows_fit_their_tables() -> None:
    """One value per column, in every table."""
    output = run(
        encode_envelope(
            [hit("a", url="https://x.example/?gclid=1"), hit("b", event="purchase", value="1.00")]
        ),
        b"{",
    )
    for table, rows in output.rows.items():
        assert all(len(values(row)) == len(WRITTEN[table]) for row in rows)
    assert {table for table, rows in output.rows.items() if rows} == {
        "hits",
        "sessions",
        "touchpoints",
        "dead_letters",
    }


def restated(event_id: str, **fields: object) -> bytes:
    return encode_hit(hit(event_id, restated={"policy": "new", "recorded_at": T0 + 9}, **fields))


def test_a_restated_hit_is_a_row_of_nothing_but_of_what_it_changes() -> None:
    """It is in ``hits`` already; the audit finds it as an input of its own kind."""
    first, again = (
        encode_hit(hit("a", url="https://shop.example/x")),
        restated("a", url="https://shop.example/x"),
    )
    output = run(first, again)
    assert (output.accepted, output.restated, len(output.rows["hits"])) == (1, 1, 1)
    assert not output.dropped
    assert [values(row)[-4] for row in output.rows["sessions"]] == [1]


def test_what_other_rules_say_of_a_hit_is_a_signed_difference_and_a_wish_under_the_new_policy() -> None:
    """The conversions behind a changed touchpoint are told which policy to be credited under, and since when."""
    known = encode_hit(hit("a", url="https://shop.example/", referrer="https://www.google.com/"))
    order = encode_hit(hit("b", event="purchase", occurred_at=T0 + 1, value="5", currency="USD"))
    # What the rules of today make of it: as if the referrer said nothing any more.
    output = run(known, order, restated("a", url="https://shop.example/"))
    signs = Counter((values(row)[4], values(row)[-4]) for row in output.rows["touchpoints"])
    assert signs == Counter({("Organic Search", 1): 1, ("Organic Search", -1): 1, ("Direct", 1): 1})
    told = [(trigger.policy, trigger.recorded_at, trigger.fact is not None) for trigger in output.triggers]
    assert sorted(told) == [("", T0, True), ("new", T0 + 9, False)]
    assert len({trigger.field for trigger in output.triggers}) == 2


def test_restated_hits_of_a_lost_timeline_bring_their_reports() -> None:
    """One wish for each report, so that the one that counts is among them."""
    sale = {"event": "purchase", "currency": "USD", "order_id": "o"}
    output = run(
        restated("a", **sale), restated("b", occurred_at=T0 + 1, value="5", **sale), restated("a", **sale)
    )
    assert [(t.policy, t.fact.event_id if t.fact else "") for t in output.triggers] == [
        ("new", "a"),
        ("new", "b"),
        ("new", "a"),
    ]
    assert (output.accepted, output.restated) == (0, 3)


def test_a_stored_hit_stays_one_when_its_sender_counts_as_a_robot_now() -> None:
    output = run(restated("a", user_agent="Googlebot/2.1", url="https://shop.example/"))
    assert (output.restated, sum(output.dropped.values())) == (1, 0)


BACK = {"event": "refund", "order_id": "o", "value": "3", "currency": "USD"}
PURCHASE = conversion_id_of_order("s", "purchase", "o")


def refunds_asked(output: StitchOutput) -> list[tuple[str, str, str, int]]:
    """(conversion, event, policy, recorded at) of each wish that a refund made."""
    return [
        (one.conversion_id, one.fact.event_id, one.policy, one.recorded_at)
        for one in output.triggers
        if one.fact is not None and one.fact.is_refund
    ]


def test_a_refund_is_a_hit_and_a_wish_of_its_order() -> None:
    """Its visitor needs to have bought nothing; of copies one is told."""
    output = run(encode_envelope([hit("r", **BACK), hit("r", **BACK)]), encode_hit(hit("r", **BACK)))
    assert ends(output) == (1, 2, 0)
    assert refunds_asked(output) == [(PURCHASE, "r", "", T0)]
    assert not output.refund_problems


def test_an_order_and_its_refund_of_one_visitor_are_two_wishes() -> None:
    order = hit("a", event="purchase", order_id="o", value="9", currency="USD")
    output = run(encode_envelope([order, hit("r", occurred_at=T0 + 1, **BACK)]))
    assert sorted(one.field for one in output.triggers) == sorted(
        {f"{PURCHASE}|s|v|fact|{name}".encode() for name in "ar"}
    )


def test_refunds_of_robots_and_of_visitors_beyond_their_limit_take_nothing() -> None:
    """What is dropped is counted, and does nothing."""
    full = StitchRules(AttributionPolicy(max_hits_per_visitor=1), "USD", 1)
    hits = [hit("a"), hit("r", **BACK), hit("b", user_agent="Googlebot/2.1", **BACK)]
    output = run(encode_envelope(hits), rules=full)
    assert (ends(output), refunds_asked(output)) == ((1, 2, 0), [])
    assert not output.rows["dropped_conversions"]


def test_refunds_that_name_no_order_or_no_type_are_kept_and_counted() -> None:
    named = msgspec.Raw(b'{"conversion_type":"rent"}')
    hits = [hit("r", event="refund"), hit("q", **BACK, props=named), hit("p", event="refund", value="5")]
    output = run(encode_envelope(hits))
    assert (ends(output), output.triggers) == ((3, 0, 0), [])
    assert output.refund_problems == {RefundProblem.without_order: 2, RefundProblem.of_unknown_type: 1}


def test_a_refund_that_is_judged_once_more_is_told_under_no_policy() -> None:
    """A former Headwater let it lie. The order is restated by a wish of its own, or is not part of it."""
    output = run(restated("r", **BACK))
    assert refunds_asked(output) == [(PURCHASE, "r", "", T0 + 9)]
