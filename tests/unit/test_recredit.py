"""Crediting again as a value: what has happened and what a restatement asks for are told apart, entry by entry."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest
from conversion_facts import fact as a_fact

from attribution.acquisition import Acquisition
from attribution.conversions import ConversionFact
from attribution.learnt.applied import models_of
from attribution.past import Past
from attribution.policy import DAY_MS, AttributionPolicy
from attribution.touchpoints import Touchpoint
from streams.policies import KeptPolicy
from streams.recredit import (
    CreditState,
    Recredited,
    Work,
    merged,
    pack_state,
    recredit,
    restates_in_place,
    state_of,
    versions_wanted,
)
from streams.told import TABLES, told
from streams.triggers import Trigger

T0 = 1_760_000_000_000
OLD = AttributionPolicy(models=("first_touch", "linear"))
NEW = AttributionPolicy(models=("last_touch", "linear"))
BARE = AttributionPolicy(models=("linear",), conversion_lookbacks_ms={"lead": DAY_MS})
KEPT = {policy.version: KeptPolicy(policy.version, policy, models_of(policy)) for policy in (OLD, NEW, BARE)}


def find(version: str) -> KeptPolicy:
    return KEPT.get(version, KEPT[OLD.version])


def touch(number: int, days: int) -> Touchpoint:
    way = Acquisition(f"Channel {number}", "source", "medium")
    return Touchpoint(f"{number:032x}", "v", "s", T0 - days * DAY_MS, way, "/")


FACT = a_fact(occurred_at=T0, value_minor=1_000)
NEAR, FAR = touch(1, 1), touch(2, 20)


def asks(
    policy: str = "", fact: ConversionFact | None = None, recorded_at: int = T0, cause: str = ""
) -> Trigger:
    return Trigger(
        conversion_id=FACT.conversion_id,
        site="s",
        visitor_id="v",
        hits_partition=0,
        recorded_at=recorded_at,
        nonce="n",
        fact=fact,
        policy=policy,
        cause=cause,
    )


def first() -> CreditState:
    """Credited under ``OLD`` with one touch."""
    trigger = asks(fact=FACT)
    conversion = merged(None, [trigger])
    assert conversion is not None
    return recredit(Work(conversion, None, [trigger], Past([NEAR])), find).state


Said = tuple[str, str, int, Counter[str]]


def again(state: CreditState, triggers: list[Trigger], *touches: Touchpoint) -> list[Said]:
    """(cause, policy, recorded_at, net minor units by model) of each correction."""
    done = recredit(Work(state.conversion, state, triggers, Past(list(touches))), find)
    said = []
    for correction in done.corrections:
        net: Counter[str] = Counter()
        for entry in correction.entries:
            net[f"{entry.model} {entry.touch.acquisition.channel}"] += entry.amount_minor
        said.append((correction.cause, correction.policy, correction.recorded_at, net))
    return said


def test_a_conversion_keeps_its_policy_until_a_restatement_names_another() -> None:
    state = first()
    assert state.policy == OLD.version
    (late,) = again(state, [asks()], FAR, NEAR)
    assert (late[0], late[1]) == ("late_touch", OLD.version)
    (restated,) = again(state, [asks(NEW.version, recorded_at=T0 + 5)], NEAR)
    assert restated == (
        "policy",
        NEW.version,
        T0 + 5,
        Counter({"last_touch Channel 1": 1_000, "first_touch Channel 1": -1_000}),
    )


@pytest.mark.parametrize("is_first", [True, False])
def test_what_arrives_together_is_told_apart(is_first: bool) -> None:
    """A late touch and a restatement in one batch, in either order: each entry has the cause of its own step."""
    triggers = [asks(), asks(NEW.version, recorded_at=T0 + 5)]
    late, restated = again(first(), triggers if is_first else triggers[::-1], FAR, NEAR)
    assert (late[0], late[1], late[2]) == ("late_touch", OLD.version, T0)
    assert late[3] == Counter(
        {
            "first_touch Channel 1": -1_000,
            "first_touch Channel 2": 1_000,
            "linear Channel 2": 500,
            "linear Channel 1": -500,
        }
    )
    assert (restated[0], restated[1], restated[2]) == ("policy", NEW.version, T0 + 5)
    assert restated[3] == Counter({"first_touch Channel 2": -1_000, "last_touch Channel 1": 1_000})


def test_what_never_stood_keeps_no_policy() -> None:
    """A sender told of nothing yet; everything was restated, and now a page reports the order."""
    nothing = msgspec.structs.replace(FACT, visitor_id="", value_minor=None, revision=1)
    conversion = merged(None, [asks(fact=nothing)])
    assert conversion is not None
    empty = recredit(Work(conversion, None, [asks(fact=nothing)], Past([])), find).state
    assert (empty.policy, empty.conversion.winner.number) == (OLD.version, 0)
    reported = merged(empty, [asks(fact=FACT)])
    assert reported is not None
    work = Work(reported, empty, [asks(fact=FACT)], Past([FAR, NEAR]))
    done = recredit(work, lambda version: KEPT.get(version, KEPT[NEW.version]))
    assert done.state.policy == NEW.version
    standing = Work(first().conversion, first(), [asks()], Past([FAR, NEAR]))
    done = recredit(standing, lambda version: KEPT.get(version, KEPT[NEW.version]))
    assert done.state.policy == OLD.version, "what stands keeps its own"


def test_a_restatement_that_changes_nothing_leaves_no_entry_but_its_policy() -> None:
    state = first()
    done = recredit(Work(state.conversion, state, [asks(OLD.version)], Past([NEAR])), find)
    assert done.corrections == []
    back = AttributionPolicy(models=OLD.models, time_decay_half_life_ms=DAY_MS)
    KEPT[back.version] = KeptPolicy(back.version, back, models_of(back))
    done = recredit(Work(state.conversion, state, [asks(back.version)], Past([NEAR])), find)
    assert done.corrections == []
    assert done.state.policy == back.version


def test_a_type_without_window_under_the_new_policy_is_unattributed() -> None:
    """It stays a conversion: its value is in every report, credited to nobody."""
    (restated,) = again(first(), [asks(BARE.version)], NEAR)
    assert restated[3] == Counter(
        {"linear Channel 1": -1_000, "linear (unattributed)": 1_000, "first_touch Channel 1": -1_000}
    )


def test_a_conversion_that_only_the_new_rules_call_one_is_theirs() -> None:
    trigger = asks(NEW.version, fact=FACT)
    conversion = merged(None, [trigger])
    assert conversion is not None
    (correction,) = recredit(Work(conversion, None, [trigger], Past([NEAR])), find).corrections
    assert (correction.cause, correction.policy, correction.old) == ("policy", NEW.version, None)


def test_of_several_restatements_the_last_one_counts() -> None:
    done = recredit(
        Work(first().conversion, first(), [asks(BARE.version), asks(NEW.version)], Past([NEAR])), find
    )
    assert [correction.policy for correction in done.corrections] == [NEW.version]
    assert versions_wanted(first(), [asks(BARE.version), asks()]) == {OLD.version, BARE.version, ""}


def test_an_earlier_restatement_that_is_heard_of_later_does_not_count() -> None:
    """Its wish is a sign that the past has changed, and no more."""
    newer, older = asks(NEW.version, recorded_at=T0 + 9), asks(BARE.version, recorded_at=T0 + 5)
    state = first()
    together = recredit(Work(state.conversion, state, [newer, older], Past([NEAR])), find).state
    assert together.policy == NEW.version
    state = recredit(Work(state.conversion, state, [newer], Past([NEAR])), find).state
    late = recredit(Work(state.conversion, state, [older], Past([FAR, NEAR])), find)
    assert [(one.cause, one.policy, one.recorded_at) for one in late.corrections] == [
        ("policy", NEW.version, T0 + 9)
    ]
    assert late.state.policy == NEW.version
    again = recredit(
        Work(state.conversion, state, [asks(OLD.version, recorded_at=T0 + 10)], Past([NEAR])), find
    )
    assert again.state.policy == OLD.version  # back to the former policy is a restatement of its own


DECAYING = AttributionPolicy(models=OLD.models, time_decay_half_life_ms=DAY_MS)
KEPT[DECAYING.version] = KeptPolicy(DECAYING.version, DECAYING, models_of(DECAYING))


def test_only_a_restatement_that_its_sender_alone_asks_for_is_made_in_place() -> None:
    """What stitch asks for follows a change of the past; under the same policy it is asked because of a doubt."""
    state = first()
    alone = msgspec.structs.replace(asks(DECAYING.version), hits_partition=-1)
    assert restates_in_place(state.conversion, state, [alone], find)
    for triggers in (
        [msgspec.structs.replace(alone, hits_partition=0)],
        [alone, msgspec.structs.replace(asks(), hits_partition=-1)],
        [msgspec.structs.replace(alone, fact=FACT)],
        [msgspec.structs.replace(alone, policy=OLD.version)],
        [msgspec.structs.replace(alone, policy=BARE.version)],
        [msgspec.structs.replace(alone, policy="unknown")],
    ):
        assert not restates_in_place(state.conversion, state, triggers, find)
    assert not restates_in_place(state.conversion, None, [alone], find)
    unknown = msgspec.structs.replace(state, policy="unknown")
    assert not restates_in_place(state.conversion, unknown, [alone], find)
    earlier = merged(state, [asks(fact=a_fact(occurred_at=T0 - 1, value_minor=1_000))])
    assert earlier is not None
    assert not restates_in_place(earlier, state, [alone], find)


def test_an_earlier_report_that_a_restated_hit_brings_is_a_matter_of_the_policy() -> None:
    earlier = a_fact(occurred_at=T0 - 1, value_minor=1_000, event_id="earlier")
    state = first()
    trigger = asks(NEW.version, fact=earlier)
    conversion = merged(state, [trigger])
    assert conversion is not None
    (correction,) = recredit(Work(conversion, state, [trigger], Past([NEAR])), find).corrections
    assert (correction.cause, correction.old, correction.new) == ("policy", FACT, earlier)


def paths_of(done: Recredited) -> list[tuple[tuple[str, ...] | None, tuple[str, ...]]]:
    """The channels before and after each correction; None = table ``paths`` has nothing of it."""
    return [
        (one.old_path.channels if one.old_path else None, one.new_path.channels) for one in done.corrections
    ]


def test_a_path_is_told_with_the_correction_that_changes_it() -> None:
    trigger = asks(fact=FACT)
    conversion = merged(None, [trigger])
    assert conversion is not None
    done = recredit(Work(conversion, None, [trigger], Past([NEAR])), find)
    assert paths_of(done) == [(None, ("Channel 1",))]
    path = done.corrections[0].new_path
    assert (path.converted_at, path.first_touch_at, path.last_touch_at, path.value_minor) == (
        *(T0, NEAR.touched_at, NEAR.touched_at),
        1_000,
    )
    done = recredit(Work(conversion, done.state, [asks()], Past([FAR, NEAR])), find)
    assert paths_of(done) == [(("Channel 1",), ("Channel 2", "Channel 1"))]
    done = recredit(Work(conversion, done.state, [asks(NEW.version)], Past([FAR, NEAR])), find)
    assert paths_of(done) == [(("Channel 2", "Channel 1"),) * 2]  # other models, the same path
    done = recredit(Work(conversion, done.state, [asks()], Past([])), find)
    assert paths_of(done)[0][1] == ()
    assert (done.corrections[0].new_path.first_touch_at, done.corrections[0].new_path.last_touch_at) == (
        T0,
        T0,
    )


ALONE = AttributionPolicy(models=("last_touch",))
KEPT[ALONE.version] = KeptPolicy(ALONE.version, ALONE, models_of(ALONE))


@pytest.mark.parametrize(("policy", "known"), [(OLD, ("Channel 1",)), (ALONE, None)])
def test_a_state_of_before_there_were_paths_has_what_the_ledger_told(
    policy: AttributionPolicy, known: tuple[str, ...] | None
) -> None:
    """Without ``linear`` nothing was: then it is written as soon as anybody asks, even if no entry moves."""
    trigger = asks(policy.version, fact=FACT)
    conversion = merged(None, [trigger])
    assert conversion is not None
    state = recredit(Work(conversion, None, [trigger], Past([NEAR])), find).state
    older = state_of(msgspec.msgpack.encode(msgspec.msgpack.decode(pack_state(state))[:4]))
    assert not older.has_path
    asked = recredit(Work(conversion, older, [asks()], Past([NEAR])), find)
    assert paths_of(asked) == ([] if known else [(None, ("Channel 1",))])
    assert asked.state.has_path
    late = recredit(Work(conversion, older, [asks()], Past([FAR, NEAR])), find)
    assert paths_of(late) == [(known, ("Channel 2", "Channel 1"))]


PAID = AttributionPolicy(models=("first_paid_touch",))
KEPT[PAID.version] = KeptPolicy(PAID.version, PAID, models_of(PAID))


def test_a_path_that_changes_where_no_entry_does_is_told() -> None:
    """Nobody was paid for, before and after."""
    trigger = asks(PAID.version, fact=FACT)
    conversion = merged(None, [trigger])
    assert conversion is not None
    state = recredit(Work(conversion, None, [trigger], Past([NEAR])), find).state
    done = recredit(Work(conversion, state, [asks()], Past([FAR, NEAR])), find)
    assert paths_of(done) == [(("Channel 1",), ("Channel 2", "Channel 1"))]
    assert not done.corrections[0].entries


def test_a_refund_is_a_correction_of_its_own_and_a_late_touch_beside_it_another() -> None:
    """The refund's entries are its cause's, dated when it was paid back; what the path changes is told before."""
    back = msgspec.structs.replace(
        FACT, event_id="r", value_minor=400, occurred_at=FACT.occurred_at + 9, is_refund=True
    )
    state = first()
    conversion = merged(state, [asks(fact=back)])
    assert conversion is not None
    late, refunded = recredit(
        Work(conversion, state, [asks(), asks(fact=back)], Past([FAR, NEAR])), find
    ).corrections
    assert (late.cause, refunded.cause) == ("late_touch", "refund")
    assert {entry.booked_at for entry in late.entries} == {FACT.occurred_at}
    assert {(entry.booked_at, entry.cause) for entry in refunded.entries} == {
        (FACT.occurred_at + 9, "refund")
    }
    net: Counter[str] = Counter()
    for entry in refunded.entries:
        net[f"{entry.model} {entry.touch.acquisition.channel}"] += entry.amount_minor
    assert net == Counter({"first_touch Channel 2": -400, "linear Channel 1": -200, "linear Channel 2": -200})
    job = msgspec.structs.replace(asks(NEW.version), hits_partition=-1)
    assert restates_in_place(state.conversion, state, [job], find)
    assert not restates_in_place(conversion, refunded.after, [job], find)


def test_a_refund_that_waits_for_its_order_tells_no_table_anything() -> None:
    back = msgspec.structs.replace(FACT, event_id="r", value_minor=400, is_refund=True)
    conversion = merged(None, [asks(fact=back)])
    assert conversion is not None
    done = recredit(Work(conversion, None, [asks(fact=back)], Past([])), find)
    said = told(done.corrections)
    assert not any(said.of(table) for table in TABLES)
    assert state_of(pack_state(done.state)) == done.state
    job = msgspec.structs.replace(asks(NEW.version), hits_partition=-1)
    assert not restates_in_place(conversion, done.state, [job], find)
