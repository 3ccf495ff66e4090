"""I1, I2, I3 with refunds that hits report: the stages' own values, in any order, without a server between them."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import accumulate

from hypothesis import event, given, settings
from hypothesis import strategies as st
from refund_worlds import refund_worlds, shop_tellings
from stream_worlds import assert_books_balance, assert_equals_oracle, cents

from attribution.conversions import ConversionFact
from attribution.hit import Hit, encode_envelope
from attribution.learnt.applied import models_of
from attribution.oracle import oracle
from attribution.past import past_of
from attribution.policy import AttributionPolicy
from attribution.stored_past import StoredPast
from attribution.timeline import Timeline
from sinks.memory import MemoryWriter
from sinks.tables import WRITTEN
from streams.policies import KeptPolicy
from streams.records import Batch, Record
from streams.recredit import Work, credited_at_once, merged, pack_state, recredit, state_of
from streams.rules import StitchRules
from streams.stitch_batch import stitch
from streams.stitch_read import read_batch
from streams.told import TABLES, told
from streams.topics import HITS
from streams.triggers import Trigger, decode_triggers, encode_trigger


class Stages:
    """Stitch and credit as values, and tables that are checked after every correction."""

    def __init__(self, policy: AttributionPolicy) -> None:
        self.rules = StitchRules(policy, "USD", 1)
        self.kept = KeptPolicy(policy.version, policy, models_of(policy))
        self.timelines: dict[tuple[str, str], Timeline] = {}
        self.states: dict[str, bytes] = {}
        self.writer = MemoryWriter()
        self.wishes: list[bytes] = []
        self.inserts = 0

    def hear(self, hits: list[Hit]) -> None:
        """One batch of hits; what it asks for waits."""
        self.inserts += 1
        batch = Batch(HITS, 0, "broker", [Record(self.inserts, 0, b"key", encode_envelope(hits))])
        output = stitch(
            read_batch(batch, self.rules),
            lambda visitor: self.timelines.setdefault(visitor, Timeline.empty(*visitor)),
            batch,
            self.rules,
        )
        for table, rows in output.rows.items():
            self.writer.insert(table, WRITTEN[table], rows, str(self.inserts))
        self.wishes += [encode_trigger(one) for one in output.triggers]

    def tell(self, fact: ConversionFact) -> None:
        """What a sender says."""
        wish = Trigger(
            conversion_id=fact.conversion_id,
            site=fact.site,
            visitor_id=fact.visitor_id,
            hits_partition=0,
            recorded_at=fact.received_at,
            nonce="n",
            fact=fact,
        )
        self.wishes.append(encode_trigger(wish))

    def credit(self, wishes: list[bytes]) -> None:
        """Everything that ``wishes`` ask for."""
        asked: dict[str, list[Trigger]] = defaultdict(list)
        for wish in wishes:
            for trigger in decode_triggers(wish):
                asked[trigger.conversion_id].append(trigger)
        for conversion_id, triggers in asked.items():
            packed = self.states.get(conversion_id)
            state = state_of(packed) if packed else None
            conversion = merged(state, triggers)
            if conversion is None:
                continue
            site = conversion.winner.site
            past = past_of(
                StoredPast.from_bytes(self.timelines[site, name].to_bytes(), site, name)
                for name in conversion.visitor_ids
                if (site, name) in self.timelines
            )
            work = Work(conversion, state, triggers, past)
            (known,) = credited_at_once([work], lambda _: self.kept)
            done = recredit(work, lambda _: self.kept, known)
            self.states[conversion_id] = pack_state(done.state)
            for correction in done.corrections:
                self.inserts += 1
                for table in TABLES:
                    rows = told([correction]).of(table)
                    self.writer.insert(table, WRITTEN[table], rows, str(self.inserts))
                assert_books_balance(self.writer)
                assert_nothing_falls_below_zero(self.writer)


def assert_nothing_falls_below_zero(writer: MemoryWriter) -> None:
    """No order is worth less than nothing, at any instant, under any model."""
    values: dict[tuple[str, str, str], Counter[int]] = defaultdict(Counter)
    for row in writer.dicts("credits"):
        key = row["conversion_id"], row["model"], row["currency"]
        values[key][row["booked_at"]] += cents(row["conversion_value"])
    for its in values.values():
        assert all(value >= 0 for value in accumulate(its[at] for at in sorted(its)))


@settings(max_examples=60, deadline=None)
@given(data=st.data(), world=refund_worlds(), shop=shop_tellings())
def test_refunds_in_any_order_end_where_the_oracle_ends(
    data: st.DataObject, world: tuple[list[Hit], AttributionPolicy], shop: list[ConversionFact]
) -> None:
    """Shuffled, doubled, before their order; credited at once, late and again; a shop tells the order, too."""
    hits, policy = world
    doubled = data.draw(st.lists(st.sampled_from(hits), max_size=4), label="doubled")
    log: list[Hit | ConversionFact] = data.draw(st.permutations([*hits, *doubled, *shop, *shop]), label="log")
    stages = Stages(policy)
    heard: list[bytes] = []
    for start in range(0, len(log), size := data.draw(st.integers(1, 5), label="batch")):
        part = log[start : start + size]
        if batch := [one for one in part if isinstance(one, Hit)]:
            stages.hear(batch)
        for fact in part:
            if isinstance(fact, ConversionFact):
                stages.tell(fact)
        waiting = data.draw(st.permutations(stages.wishes), label="wishes")
        border = data.draw(st.integers(0, len(waiting)), label="credited")
        again = data.draw(st.lists(st.sampled_from(heard), max_size=2), label="again") if heard else []
        stages.credit([*waiting[:border], *again])
        heard += waiting[:border]
        stages.wishes = list(waiting[border:])
    stages.credit(stages.wishes)
    expected = oracle(hits, policy, "USD", told=shop)
    assert_equals_oracle(stages.writer, expected)
    paid_back = {row["conversion_id"] for row in stages.writer.dicts("credits") if row["cause"] == "refund"}
    event(f"orders paid back: {min(len(paid_back), 3)}")
    event(
        f"some order is worth nothing now: {any(not one.net_minor for one in expected.conversions.values())}"
    )
