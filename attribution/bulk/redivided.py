"""Stored statements divided anew under another policy that chooses the same paths (``attribution.redivision``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, overload

import numpy as np

from attribution.bulk.paths import NEVER, Paths
from attribution.bulk.statements import divided
from attribution.conversions import ConversionFact
from attribution.learnt.applied import Models
from attribution.ledger import (
    WEIGHT_ONE,
    PackedShares,
    StoredStatement,
    UnreadableStatement,
    encode_statement,
    read_statement,
)
from attribution.missing import missing_of
from attribution.moves import Moves, moves_of_model
from attribution.packing import channel_of, pack_acquisition, pack_word, unpack_acquisition
from attribution.paths import Path
from attribution.policy import AttributionPolicy
from attribution.redivision import Redivision
from attribution.touchpoints import Touchpoint


class Redivided(NamedTuple):
    """A statement made of another."""

    statement: bytes
    moves: Moves | None
    """From the former one; None = not known, or the same."""


def redivide_many(
    facts: Sequence[ConversionFact],
    statements: Sequence[bytes],
    plan: Redivision,
    policy: AttributionPolicy,
    models: Models,
) -> list[Redivided]:
    """``credit(fact, path, policy, models).to_bytes()`` of each, read off what stands credited for it.

    ``statements`` are those of ``facts`` under a policy from which ``plan`` leads to ``policy``. Raises
    ``UnreadableStatement``.
    """
    if plan.is_same:
        return [Redivided(data, None) for data in statements]
    found = [read_statement(data) for data in statements]
    anew = tuple((name, divide) for name, divide in models if name not in plan.stays)
    able = [number for number, stored in enumerate(found) if _has_touch(stored)]
    given: dict[int, list[PackedShares]] = {}
    if able and anew:
        some = [facts[number] for number in able]
        paths = _paths([found[number] for number in able], some)
        values = np.array([found[number].value_minor for number in able], dtype=np.int64)
        columns = divided(paths, values, [fact.site for fact in some], policy, anew)
        given = {number: [column[place] for column in columns] for place, number in enumerate(able)}
    words = [pack_word(name) for name, _ in models]
    return [
        _redivided(fact, stored, words, dict(given.get(number, ())))
        for number, (fact, stored) in enumerate(zip(facts, found, strict=True))
    ]


def _has_touch(stored: StoredStatement) -> bool:
    return bool(stored.touches and stored.touches[0][0])


def _redivided(
    fact: ConversionFact,
    stored: StoredStatement,
    words: Sequence[int | str],
    given: dict[int | str, list[int]],
) -> Redivided:
    """``words``: the models to come. ``given``: flat triples of those that divide otherwise; none = they credit nobody.

    The others stay as they stood.
    """
    old_touches, stood = stored.touches, dict(stored.shares)
    touches = [touch for touch in old_touches if touch[0]]
    nobody = [len(touches), WEIGHT_ONE, stored.value_minor]
    if touches:
        stored.shares = [(word, (given[word] if word in given else stood[word]) or nobody) for word in words]
        if any(triples == nobody for _, triples in stored.shares):
            missing = missing_of(has_consent=fact.has_consent, is_known=True, has_path=True)
            touches.append((b"", 0, pack_acquisition(missing.acquisition), ""))
        stored.touches = touches
    else:
        stored.shares = [(word, nobody) for word in words]
    statement = encode_statement(stored)
    if len(old_touches) > len(stored.touches):
        stored.touches = old_touches  # nobody was credited, and is not any more
    now = dict(stored.shares)
    others = [word for word in words if word not in stood or (word in given and stood[word] != now[word])]
    others += [word for word in stood if word not in now]
    moves = [
        move
        for word in others
        for move in moves_of_model(word, stood.get(word), now.get(word), stored.value_minor)
    ]
    return Redivided(statement, Moves(stored, moves))


def _paths(statements: Sequence[StoredStatement], facts: Sequence[ConversionFact]) -> Paths:
    """The paths that the statements hold, without moments."""
    touches = [touch for stored in statements for touch in stored.touches if touch[0]]
    channels = [channel_of(packed) for _, _, packed, _ in touches]
    names = sorted(set(channels))
    code = {name: number for number, name in enumerate(names)}
    counts = [len(stored.touches) - (not stored.touches[-1][0]) for stored in statements]
    ages = np.array([age for _, age, _, _ in touches], dtype=np.int64)
    converted = np.array([stored.converted_at for stored in statements], dtype=np.int64)
    never = np.full(len(statements), NEVER)
    return Paths(
        tuple(names),
        np.array([code[channel] for channel in channels], dtype=np.int64),
        np.repeat(converted, counts) - ages,
        np.cumsum([0, *counts], dtype=np.int64),
        never,
        never,
        _Sources(statements, facts),
    )


class _Sources(Sequence[Path]):
    """Paths that are made when somebody looks at them: few models do."""

    def __init__(self, statements: Sequence[StoredStatement], facts: Sequence[ConversionFact]) -> None:
        self._statements = statements
        self._facts = facts

    def __len__(self) -> int:
        return len(self._statements)

    @overload
    def __getitem__(self, index: int) -> Path: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Path]: ...

    def __getitem__(self, index: int | slice) -> Path | Sequence[Path]:
        if isinstance(index, slice):
            return _Sources(self._statements[index], self._facts[index])
        return _path(self._statements[index], self._facts[index])


def _path(stored: StoredStatement, fact: ConversionFact) -> Path:
    """As far as models look at it: a statement does not say whose touch each was."""
    at = stored.converted_at
    try:
        touches = tuple(
            Touchpoint(identity.hex(), "", fact.site, at - age, unpack_acquisition(packed), page)
            for identity, age, packed, page in stored.touches
            if identity
        )
    except ValueError as error:
        raise UnreadableStatement(f"stored statement: {error}") from error
    return Path(touches, at, fact.type)
