"""What many conversions are credited with, as stored statements, to the byte as ``attribution.ledger`` makes each.

For restatements: nearly all of them stand as they stood, which equal bytes tell without anything being unpacked.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from attribution.bulk.decay import MAX_HALF_LIFE_MS
from attribution.bulk.divisions import BULK_DIVISIONS
from attribution.bulk.paths import Ints, Paths
from attribution.bulk.shares import share_by_parts
from attribution.conversions import ConversionFact
from attribution.learnt.applied import Models
from attribution.ledger import (
    WEIGHT_ONE,
    CreditedTouch,
    PackedShares,
    Terms,
    credit,
    nobody_of,
    pack_statement,
)
from attribution.models import Parts
from attribution.money import share_by_parts as share_one
from attribution.packing import pack_word
from attribution.paths import Path
from attribution.policy import AttributionPolicy


def credit_many(
    facts: Sequence[ConversionFact], paths: Sequence[Path], policy: AttributionPolicy, models: Models
) -> list[bytes]:
    """``credit(fact, path, policy, models).to_bytes()`` of each of ``facts`` and its path.

    Conversions without a path are done one by one, and so are models that are not built in.
    """
    able = [number for number, path in enumerate(paths) if path.touchpoints]
    packed: dict[int, bytes] = {}
    if able:
        some = Paths.of([paths[number] for number in able])
        values = np.array([facts[number].value_minor or 0 for number in able], dtype=np.int64)
        divided = _divided(some, values, policy, models)
        for place, number in enumerate(able):
            packed[number] = _packed(facts[number], paths[number], [shares[place] for shares in divided])
    return [
        packed[number] if number in packed else credit(fact, path, policy, models).to_bytes()
        for number, (fact, path) in enumerate(zip(facts, paths, strict=True))
    ]


def _divided(
    paths: Paths, values: Ints, policy: AttributionPolicy, models: Models
) -> list[list[PackedShares]]:
    """For each model the shares of each path; a path of which nobody is credited has none."""
    whole = np.full(len(paths), WEIGHT_ONE, dtype=np.int64)
    numbers = np.arange(len(paths.channels)) - paths.spread(paths.first)
    divided = []
    for name, divide in models:
        if not _is_built_in(name, policy):
            each = zip(paths.sources, values.tolist(), strict=True)
            word = pack_word(name)
            divided.append([(word, _triples(value, divide(path, policy))) for path, value in each])
            continue
        parts = BULK_DIVISIONS[name](paths, policy)
        weights = share_by_parts(whole, parts, paths.offsets)
        amounts = share_by_parts(values, parts, paths.offsets)
        gets = (weights != 0) | (amounts != 0)
        triples = np.stack((numbers, weights, amounts), axis=1)[gets].ravel().tolist()
        ends = np.zeros(len(gets) + 1, dtype=np.int64)
        np.cumsum(gets, out=ends[1:])
        borders = (ends[paths.offsets] * 3).tolist()
        word = pack_word(name)
        divided.append([(word, triples[start:end]) for start, end in pairwise(borders)])
    return divided


def _is_built_in(name: str, policy: AttributionPolicy) -> bool:
    """Whether it has a vectorised form, for this policy's numbers."""
    return (
        name in BULK_DIVISIONS
        and name not in policy.custom_models
        and name not in policy.learnt
        and policy.time_decay_half_life_ms < MAX_HALF_LIFE_MS
    )


def _triples(value: int, parts: Parts) -> list[int]:
    """The shares of one path; none when nobody is credited."""
    if not any(parts):
        return []
    shares = zip(share_one(WEIGHT_ONE, parts), share_one(value, parts), strict=True)
    return [
        number
        for index, (weight, amount) in enumerate(shares)
        if weight or amount
        for number in (index, weight, amount)
    ]


def _packed(fact: ConversionFact, path: Path, shares: list[PackedShares]) -> bytes:
    terms = Terms(fact.type, fact.visitor_id, fact.currency, fact.occurred_at)
    value = fact.value_minor or 0
    touches = [
        CreditedTouch(touch.touchpoint_id, touch.touched_at, touch.acquisition, touch.landing_page)
        for touch in path.touchpoints
    ]
    if not all(triples for _, triples in shares):
        shares = [(word, triples or [len(touches), WEIGHT_ONE, value]) for word, triples in shares]
        touches.append(nobody_of(fact, path))
    return pack_statement(terms, value, touches, shares)
