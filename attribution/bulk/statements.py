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
from attribution.bulk.paths import Parts as BulkParts
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
from attribution.models import Division, Parts
from attribution.money import share_by_parts as share_one
from attribution.packing import pack_word
from attribution.paths import Path
from attribution.policy import AttributionPolicy

_TOO_LARGE = 1 << 64
"""Parts that no array takes."""


def credit_many(
    facts: Sequence[ConversionFact], paths: Sequence[Path], policy: AttributionPolicy, models: Models
) -> list[bytes]:
    """``credit(fact, path, policy, models).to_bytes()`` of each of ``facts`` and its path.

    Conversions without a path or with bookings are done one by one, and so are models that are not built in.
    """
    able = [number for number, path in enumerate(paths) if path.touchpoints and not facts[number].is_told]
    packed: dict[int, bytes] = {}
    if able:
        some = Paths.of([paths[number] for number in able])
        values = np.array([facts[number].value_minor or 0 for number in able], dtype=np.int64)
        sites = [facts[number].site for number in able]
        shared = divided(some, values, sites, policy, models)
        for place, number in enumerate(able):
            packed[number] = _packed(facts[number], paths[number], [shares[place] for shares in shared])
    return [
        packed[number] if number in packed else credit(fact, path, policy, models).to_bytes()
        for number, (fact, path) in enumerate(zip(facts, paths, strict=True))
    ]


def divided(
    paths: Paths, values: Ints, sites: Sequence[str], policy: AttributionPolicy, models: Models
) -> list[list[PackedShares]]:
    """For each model the shares of each path; a path of which nobody is credited has none.

    ``sites``: of each path.
    """
    whole = np.full(len(paths), WEIGHT_ONE, dtype=np.int64)
    numbers = np.arange(len(paths.channels)) - paths.spread(paths.first)
    found = []
    for name, divide in models:
        word = pack_word(name)
        parts = _parts(name, divide, paths, sites, policy)
        if parts is None:
            each = zip(paths.sources, values.tolist(), strict=True)
            found.append([(word, _triples(value, divide(path, policy))) for path, value in each])
            continue
        weights = share_by_parts(whole, parts, paths.offsets)
        amounts = share_by_parts(values, parts, paths.offsets)
        gets = (weights != 0) | (amounts != 0)
        triples = np.stack((numbers, weights, amounts), axis=1)[gets].ravel().tolist()
        ends = np.zeros(len(gets) + 1, dtype=np.int64)
        np.cumsum(gets, out=ends[1:])
        borders = (ends[paths.offsets] * 3).tolist()
        found.append([(word, triples[start:end]) for start, end in pairwise(borders)])
    return found


def is_built_in(name: str, policy: AttributionPolicy) -> bool:
    """Whether it has a vectorised form, for this policy's numbers."""
    return (
        name in BULK_DIVISIONS
        and name not in policy.custom_models
        and name not in policy.learnt
        and policy.time_decay_half_life_ms < MAX_HALF_LIFE_MS
    )


def _parts(
    name: str, divide: Division, paths: Paths, sites: Sequence[str], policy: AttributionPolicy
) -> BulkParts | None:
    """The parts of all paths; None when each path has to be shared by itself."""
    if is_built_in(name, policy):
        return BULK_DIVISIONS[name](paths, policy)
    if name not in policy.learnt:
        return None
    # Learnt models look at nothing but site and channels, and journeys through the same channels come again and again.
    channels, known = paths.channels.tolist(), dict[tuple[object, ...], Parts]()
    found: list[int] = []
    for number, (site, (start, end)) in enumerate(zip(sites, pairwise(paths.offsets.tolist()), strict=True)):
        key = (site, *channels[start:end])
        if key not in known:
            known[key] = divide(paths.sources[number], policy)
        found += known[key]
    return None if max(found) >= _TOO_LARGE else np.array(found, dtype=np.uint64)


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
