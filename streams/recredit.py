"""One conversion credited again as a value: its state, what asks for it and its past in; state and corrections out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from attribution.booked import cause_of_bookings, is_booked_anew, under_bookings_of
from attribution.bulk.redivided import Redivided, redivide_many
from attribution.bulk.statements import credit_many
from attribution.conversions import CONVERSION, Conversion, ConversionFact
from attribution.entries import Entry, entries_between
from attribution.ledger import credit
from attribution.moves import Moves
from attribution.past import Past
from attribution.paths import path_of
from attribution.redivision import Redivision, redivision
from attribution.standing_path import StandingPath, path_in_ledger, standing_path
from streams.policies import KeptPolicy
from streams.triggers import Trigger


class CreditState(msgspec.Struct, array_like=True):
    """What Redis keeps of one conversion: its facts, and the statement that the ledger adds up to."""

    conversion: Conversion
    statement: bytes = b""
    policy: str = ""
    """Version of the policy that made the statement; "" = of a Headwater that did not keep it."""
    recorded_at: int = 0
    """Of the latest correction, epoch ms: none after it is dated before it."""
    has_path: bool = False
    """Table ``paths`` has the path of the statement. False = of a Headwater that did not write it: then it has what
    could be read from the ledger when the table was made."""
    restated_at: int = 0
    """When the restatement began that chose the policy, epoch ms; 0 = none has. What an earlier one still asks for (of
    a store that was set back, say) does not take the conversion back under its policy."""


pack_state = msgspec.msgpack.Encoder().encode
state_of = msgspec.msgpack.Decoder(CreditState).decode

_NOTHING: Mapping[str, Redivided] = MappingProxyType({})
_MANY = 16
"""From so many conversions on it is faster to credit them at once."""

_OTHER = "earlier_fact"
"""Another report counts."""

FindPolicy = Callable[[str], KeptPolicy]
"""The policy of a version; the active one for "" and for a version that nobody knows."""


class Correction(NamedTuple):
    """One step from what stood to what stands, for one reason."""

    cause: str
    before: CreditState | None
    """None = there was no such conversion."""
    after: CreditState
    moves: Moves | None = None
    """The entries as numbers, where they are known already."""

    @property
    def policy(self) -> str:
        """Version of the policy that made it."""
        return self.after.policy

    @property
    def recorded_at(self) -> int:
        """Epoch ms: when the collector received what caused it, or when its restatement began; but not before what it
        corrects. A hit that comes late out of a spool is dated by its arrival there: as of an instant in between the
        ledger would hold the correction without the corrected."""
        return self.after.recorded_at

    @property
    def old(self) -> ConversionFact | None:
        """The report that counted before."""
        return self.before.conversion.credited if self.before is not None else None

    @property
    def new(self) -> ConversionFact:
        """The report that counts now."""
        return self.after.conversion.credited

    @property
    def old_statement(self) -> bytes:
        """What the ledger adds up to before; b"" = nothing."""
        return self.before.statement if self.before is not None else b""

    @property
    def entries(self) -> Sequence[Entry]:
        """What the ledger is told."""
        return entries_between(self.old_statement, self.after.statement)

    @property
    def old_path(self) -> StandingPath | None:
        """What table ``paths`` has of it; None = nothing."""
        before = self.before
        if before is None or not before.statement:
            return None
        return standing_path(before.statement) if before.has_path else path_in_ledger(before.statement)

    @property
    def new_path(self) -> StandingPath | None:
        """What table ``paths`` is to have of it; None = nothing."""
        return standing_path(self.after.statement)


class Recredited(NamedTuple):
    """What stands from now on, and how the ledger gets there."""

    state: CreditState
    corrections: Sequence[Correction]
    """Each has another report, path or statement: all that tables can tell."""


class Work(NamedTuple):
    """A conversion that is to be credited again: as ``merged``, as it stood, what asks for it, and its past."""

    conversion: Conversion
    state: CreditState | None
    triggers: Sequence[Trigger]
    past: Past | None
    """None = it is restated from its own statement (``restates_in_place``)."""


def merged(state: CreditState | None, triggers: Sequence[Trigger]) -> Conversion | None:
    """The conversion as all reports agree on it, the triggers' included; None = nobody has reported it yet."""
    conversion = state.conversion if state is not None else None
    for trigger in triggers:
        if trigger.fact is not None:
            conversion = Conversion.of(trigger.fact) if conversion is None else conversion.merge(trigger.fact)
    return conversion


def versions_wanted(state: CreditState | None, triggers: Sequence[Trigger]) -> set[str]:
    """Versions of the policies that ``recredit`` will ask for."""
    return {trigger.policy for trigger in triggers} | ({state.policy} if state is not None else set())


def restates_in_place(
    conversion: Conversion, state: CreditState | None, triggers: Sequence[Trigger], find: FindPolicy
) -> bool:
    """Whether what is asked for follows from ``state`` alone.

    That is a restatement that nobody but its own sender asks for: what stitch asks for follows a change of the past.
    Under the very policy that the conversion stands under it is credited anew from its past: who asks for that doubts
    what stands. So is one with bookings: they are few.
    """
    if state is None or not state.statement or conversion != state.conversion or conversion.credited.is_told:
        return False
    if any(trigger.hits_partition >= 0 or not trigger.policy or trigger.fact for trigger in triggers):
        return False
    return _plan(state, triggers, find) is not None


def _plan(state: CreditState, triggers: Sequence[Trigger], find: FindPolicy) -> Redivision | None:
    kept, asked = find(state.policy), find(_asked(state, triggers))
    if kept.version != state.policy or asked.version == kept.version:
        return None
    return _redivision(kept, asked, state.conversion.winner.type)


@lru_cache(maxsize=256)
def _redivision(kept: KeptPolicy, asked: KeptPolicy, type_: str) -> Redivision | None:
    return redivision(kept.policy, asked.policy, type_)


def recredit(work: Work, find: FindPolicy, known: Mapping[str, Redivided] = _NOTHING) -> Recredited:
    """The conversion credited by its past, in at most two steps.

    First what has happened, under the policy that it stands under; then, if a restatement asks for it, the other policy
    with cause ``policy``. So no entry of the one hides an effect of the other, whatever arrives together. ``known``:
    statements by the version of the policy, of those that are known already (``credited_at_once``); one that is
    restated in place must be among them.
    """
    conversion, state, triggers, past = work
    corrections: list[Correction] = []
    fact = conversion.credited
    for is_restating, step in _steps(triggers):
        kept = find(_asked(state, step))
        if state is not None and past is not None and is_booked_anew(state.conversion.credited, fact):
            moved = _moved_path(state, fact, step, past, kept)
            if moved is not None:
                corrections.append(moved)
                state = moved.after
        done = known.get(kept.version)
        if done is not None:
            packed, moves = done
        else:
            if past is None:
                raise ValueError("a conversion is credited by its past")
            path = path_of(past, fact, kept.policy)
            packed, moves = credit(fact, path, kept.policy, kept.models).to_bytes(), None
        if state is None:
            is_told, recorded_at = True, 0
        else:
            # A path may change where no entry does: under models that credit nobody before and after.
            is_told = packed != state.statement or fact != state.conversion.credited or not _has_path(state)
            recorded_at = state.recorded_at
        if is_told:
            recorded_at = max(recorded_at, *(trigger.recorded_at for trigger in step))
        restated_at = max(state.restated_at if state is not None else 0, *map(_began, step))
        after = CreditState(conversion, packed, kept.version, recorded_at, True, restated_at)
        if is_told:
            before_fact = state.conversion.credited if state is not None else None
            cause = "policy" if is_restating else _cause(before_fact, fact, step)
            corrections.append(Correction(cause, state, after, moves))
        state = after
    if state is None:
        raise ValueError("nothing asks for this conversion")
    return Recredited(state, corrections)


def _moved_path(
    state: CreditState, fact: ConversionFact, step: Sequence[Trigger], past: Past, kept: KeptPolicy
) -> Correction | None:
    """What the path alone changes where bookings change, too: a step of its own, before them; None = nothing."""
    old = state.conversion.credited
    moved = under_bookings_of(old, fact)
    path = path_of(past, moved, kept.policy)
    packed = credit(moved, path, kept.policy, kept.models).to_bytes()
    if not entries_between(state.statement, packed):
        return None
    terms_before = (old.type, old.visitor_id, old.occurred_at)
    cause = _touch_cause(step) if terms_before == (fact.type, fact.visitor_id, fact.occurred_at) else _OTHER
    recorded_at = max(state.recorded_at, *(trigger.recorded_at for trigger in step))
    after = CreditState(state.conversion, packed, kept.version, recorded_at, True, state.restated_at)
    return Correction(cause, state, after)


def _has_path(state: CreditState) -> bool:
    """Whether table ``paths`` has something of it."""
    return state.has_path or (bool(state.statement) and path_in_ledger(state.statement) is not None)


def _steps(triggers: Sequence[Trigger]) -> Iterator[tuple[bool, Sequence[Trigger]]]:
    """(whether it is a restatement, the triggers that ask for it)."""
    happened = [trigger for trigger in triggers if not trigger.policy]
    restating = [trigger for trigger in triggers if trigger.policy]
    if happened:
        yield False, happened
    if restating:
        yield True, restating


def _asked(state: CreditState | None, step: Sequence[Trigger]) -> str:
    """Version of the policy that the step credits under; "" = the active one.

    Of several restatements it is the one that began last, in whatever order they are heard of.
    """
    wish = max(reversed(step), key=_began)
    if wish.policy and (state is None or wish.recorded_at >= state.restated_at):
        return wish.policy
    # What never stood, as far as is known, stands under no policy: no restatement has asked for it either.
    return state.policy if state is not None and state.conversion.winner.worths else ""


def _began(trigger: Trigger) -> int:
    """When the restatement began that asks for it; of what has happened none."""
    return trigger.recorded_at if trigger.policy else 0


def credited_at_once(works: Sequence[Work], find: FindPolicy) -> list[dict[str, Redivided]]:
    """Statements for ``recredit`` by version of the policy, of many conversions at once.

    Of those that are restated in place all are there; of others those of which there are enough to pay.
    """
    known: list[dict[str, Redivided]] = [{} for _ in works]
    in_place: dict[tuple[KeptPolicy, Redivision], list[int]] = {}
    by_past: dict[str, tuple[KeptPolicy, list[int]]] = {}
    for number, work in enumerate(works):
        if work.past is None and work.state is not None:
            plan = _plan(work.state, work.triggers, find)
            if plan is not None:
                in_place.setdefault((find(_asked(work.state, work.triggers)), plan), []).append(number)
            continue
        for _, step in _steps(work.triggers):
            kept = find(_asked(work.state, step))
            by_past.setdefault(kept.version, (kept, []))[1].append(number)
    for (kept, plan), numbers in in_place.items():
        facts = [works[number].conversion.winner for number in numbers]
        statements = [state.statement for number in numbers if (state := works[number].state) is not None]
        redivided = redivide_many(facts, statements, plan, kept.policy, kept.models)
        for number, one in zip(numbers, redivided, strict=True):
            known[number][kept.version] = one
    for kept, numbers in by_past.values():
        if len(numbers) < _MANY:
            continue
        facts = [works[number].conversion.credited for number in numbers]
        pasts = [past for number in numbers if (past := works[number].past) is not None]
        paths = [path_of(past, fact, kept.policy) for past, fact in zip(pasts, facts, strict=True)]
        credited = credit_many(facts, paths, kept.policy, kept.models)
        for number, packed in zip(numbers, credited, strict=True):
            known[number][kept.version] = Redivided(packed, None)
    return known


def _cause(old: ConversionFact | None, new: ConversionFact, triggers: Sequence[Trigger]) -> str:
    """Why the ledger says something else from now on."""
    if old is None:
        return CONVERSION
    if is_booked_anew(old, new):
        return cause_of_bookings(old, new)
    return _OTHER if old != new else _touch_cause(triggers)


def _touch_cause(triggers: Sequence[Trigger]) -> str:
    return next((trigger.cause for trigger in triggers if trigger.cause), "late_touch")
