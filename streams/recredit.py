"""One conversion credited again as a value: its state, what asks for it and its past in; state and corrections out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from attribution.bulk.statements import credit_many
from attribution.conversions import Conversion, ConversionFact
from attribution.ledger import Entry, credit, entries, entries_between
from attribution.past import Past, report_of
from attribution.paths import build_path
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


pack_state = msgspec.msgpack.Encoder().encode
state_of = msgspec.msgpack.Decoder(CreditState).decode

FindPolicy = Callable[[str], KeptPolicy]
"""The policy of a version; the active one for "" and for a version that nobody knows."""


class Correction(NamedTuple):
    """One step from what stood to what stands, for one reason."""

    cause: str
    policy: str
    recorded_at: int
    """Epoch ms: when the collector received what caused it, or when its restatement began; but not before what it
    corrects. A hit that comes late out of a spool is dated by its arrival there: as of an instant in between the ledger
    would hold the correction without the corrected."""
    old: ConversionFact | None
    """The report that counted before; None = there was no such conversion."""
    new: ConversionFact
    entries: Sequence[Entry]
    old_path: StandingPath | None
    """What table ``paths`` has of it; None = nothing."""
    new_path: StandingPath


class Recredited(NamedTuple):
    """What stands from now on, and how the ledger gets there."""

    state: CreditState
    corrections: Sequence[Correction]
    """Each has entries, another report or another path."""


def merged(state: CreditState | None, triggers: Sequence[Trigger]) -> Conversion | None:
    """The conversion as all reports agree on it, the triggers' included; None = nobody has reported it yet."""
    conversion = state.conversion if state is not None else None
    for trigger in triggers:
        if trigger.fact is not None:
            conversion = Conversion(trigger.fact) if conversion is None else conversion.merge(trigger.fact)
    return conversion


def versions_wanted(state: CreditState | None, triggers: Sequence[Trigger]) -> set[str]:
    """Versions of the policies that ``recredit`` will ask for."""
    return {trigger.policy for trigger in triggers} | ({state.policy} if state is not None else set())


def recredit(
    conversion: Conversion,
    state: CreditState | None,
    triggers: Sequence[Trigger],
    past: Past,
    find: FindPolicy,
    restated: bytes = b"",
) -> Recredited:
    """``conversion`` (as ``merged``) credited by its ``past``, in at most two steps.

    First what has happened, under the policy that it stands under; then, if a restatement asks for it, the other policy
    with cause ``policy``. So no entry of the one hides an effect of the other, whatever arrives together. ``restated``:
    the statement of the second step where it is known already (``restated_at_once``).
    """
    happened = [trigger for trigger in triggers if not trigger.policy]
    restating = [trigger for trigger in triggers if trigger.policy]
    corrections: list[Correction] = []
    fact = conversion.winner
    for step in (happened, restating):
        if not step:
            continue
        old_fact = state.conversion.winner if state is not None else None
        if step is restating:
            cause, asked = "policy", restating[-1].policy
        else:
            cause, asked = _cause(old_fact, fact, step), state.policy if state is not None else ""
        version, policy, models = find(asked)
        former, packed = (
            (state.statement if state is not None else b""),
            (restated if step is restating else b""),
        )
        if packed:
            changed = entries_between(former, packed)
        else:
            new = credit(fact, build_path(past, report_of(fact), policy), policy, models)
            packed = new.to_bytes()
            changed = entries_between(former, packed) if former else entries(None, new)
        recorded_at = state.recorded_at if state is not None else 0
        # A path may change where no entry does: under models that credit nobody before and after.
        if state is None or packed != state.statement or old_fact != fact or not state.has_path:
            old_path, new_path = _known_path(state), standing_path(packed)
            if changed or old_fact != fact or old_path != new_path:
                recorded_at = max(recorded_at, *(trigger.recorded_at for trigger in step))
                corrections.append(
                    Correction(cause, version, recorded_at, old_fact, fact, changed, old_path, new_path)
                )
        state = CreditState(conversion, packed, version, recorded_at, has_path=True)
    if state is None:
        raise ValueError("nothing asks for this conversion")
    return Recredited(state, corrections)


def _known_path(state: CreditState | None) -> StandingPath | None:
    """What table ``paths`` has of a conversion."""
    if state is None or not state.statement:
        return None
    return standing_path(state.statement) if state.has_path else path_in_ledger(state.statement)


def restated_at_once(
    wanted: Sequence[tuple[Conversion, Sequence[Trigger], Past]], find: FindPolicy
) -> list[bytes]:
    """The statements that restatements come to, of many conversions at once; b"" where none is asked for."""
    statements = [b""] * len(wanted)
    by_policy: dict[str, list[int]] = {}
    for number, (_, triggers, _) in enumerate(wanted):
        asked = next((trigger.policy for trigger in reversed(triggers) if trigger.policy), "")
        if asked:
            by_policy.setdefault(asked, []).append(number)
    for asked, numbers in by_policy.items():
        _, policy, models = find(asked)
        facts = [wanted[number][0].winner for number in numbers]
        pasts = [wanted[number][2] for number in numbers]
        paths = [build_path(past, report_of(fact), policy) for past, fact in zip(pasts, facts, strict=True)]
        for number, packed in zip(numbers, credit_many(facts, paths, policy, models), strict=True):
            statements[number] = packed
    return statements


def _cause(old: ConversionFact | None, new: ConversionFact, triggers: Sequence[Trigger]) -> str:
    """Why the ledger says something else from now on."""
    if old is None:
        return "conversion"
    if old != new:
        return "earlier_fact"
    return next((trigger.cause for trigger in triggers if trigger.cause), "late_touch")
