"""``POST /v1/spend``: facts of spend out of a body, against what is known, onto their topic."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from attribution.errors import Rejected
from attribution.spend.fact import SpendFact
from attribution.spend.fields import FieldReader
from attribution.spend.merging import Facts, newest, same_figures
from attribution.spend.report import SpendReport, encode_report
from collector.config import CollectorConfig
from collector.fields import check_site
from collector.kept_spend import KeptSpend, RecentSpend
from collector.outlets import Outlets
from collector.reasons import Refusal
from collector.responses import RefusedFact
from collector.segment import decode_json
from streams.topics import SPEND, partition_of

MAX_FACTS = 500
"""Facts in one body."""
FACTS = "facts"
_AT_ONCE = 25
"""Facts read before pixels have their turn."""
_BEARER = "bearer"
_AHEAD = timedelta(days=1)
"""How far a sender's clock may be ahead of ours."""


class Posted(NamedTuple):
    """One fact of a body."""

    place: int
    """Its index."""
    site: str
    fact: SpendFact


class SpendTaken(NamedTuple):
    """What became of a body's facts."""

    counts: Counter[str]
    """``new``, ``replaced``, ``unchanged``: durable."""
    refusals: list[tuple[int, Rejected]]
    """(index, why), in the order of their indexes."""

    @property
    def accepted(self) -> int:
        """Facts that are durable."""
        return self.counts.total()

    @property
    def refused(self) -> list[RefusedFact]:
        """The others, as they are answered."""
        return [RefusedFact(at, error.reason, error.message, error.field) for at, error in self.refusals]


def check_key(authorization: str, key: str) -> None:
    """Raise ``Rejected('unauthorized')`` if ``key`` is set and is not the bearer token."""
    if not key:
        return
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != _BEARER or not hmac.compare_digest(token.strip().encode(), key.encode()):
        raise Rejected(
            Refusal.unauthorized,
            "Send Authorization: Bearer with the key of HEADWATER_SPEND_KEY.",
            "authorization",
        )


def facts_in(body: bytes) -> tuple[list[Any], str]:
    """The facts of a body, undecoded in meaning, and the site that it names for all of them.

    Raises ``Rejected`` when the body is no JSON of a fact, an array of facts, or an object with ``facts``.
    """
    told = decode_json(body)
    site = ""
    if isinstance(told, dict):
        if FACTS not in told:
            told = [told]
        else:
            site = told.get("site") or ""
            told = told[FACTS]
            if not isinstance(site, str):
                raise Rejected(Refusal.wrong_type, "Send a text.", "site")
    if not isinstance(told, list):
        raise Rejected(Refusal.malformed, 'Send {"facts": [...]}, an array of facts, or one fact.', FACTS)
    if not told:
        raise Rejected(Refusal.missing_field, "Send at least one fact.", FACTS)
    if len(told) > MAX_FACTS:
        raise Rejected(
            Refusal.batch_too_large,
            f"Send at most {MAX_FACTS} facts, and the rest in another request.",
            FACTS,
        )
    return told, site


class SpendIntake:
    """Takes bodies, one at a time, so that the counts of two are those of one after the other."""

    def __init__(self, config: CollectorConfig, outlets: Outlets) -> None:
        self._config = config
        self._outlets = outlets
        self._kept = KeptSpend(config.redis, config.partitions)
        self._recent = RecentSpend()
        self._turn = asyncio.Lock()

    async def take(self, body: bytes, authorized_site: str) -> SpendTaken:
        """Raises ``Rejected`` when the body as a whole is unusable, ``Transient`` when it cannot be kept.

        What is wrong with one fact stays with that fact. ``authorized_site`` is the site of facts that name none.
        """
        told, site = facts_in(body)
        received_at = time.time_ns() // 1_000_000
        posted, refusals = await self._read(told, site or authorized_site, received_at)
        async with self._turn:
            counts, kept = await self._compare(posted, refusals)
            if kept:
                spool = await self._outlets.spool_of(SPEND)
                await spool.append_all(self._records(kept, received_at))
                now = time.monotonic()
                for each in kept:
                    self._recent.add(each.site, [each.fact], now)
        refusals.sort(key=lambda refusal: refusal[0])
        return SpendTaken(counts, refusals)

    async def close(self) -> None:
        """Let go of Redis."""
        await self._kept.close()

    async def _read(
        self, told: Sequence[Any], site: str, received_at: int
    ) -> tuple[list[Posted], list[tuple[int, Rejected]]]:
        reader = FieldReader(datetime.fromtimestamp(received_at / 1000, UTC))
        posted: list[Posted] = []
        refusals: list[tuple[int, Rejected]] = []
        for index, fields in enumerate(told):
            if index % _AT_ONCE == _AT_ONCE - 1:
                await asyncio.sleep(0)
            try:
                if not isinstance(fields, dict):
                    raise Rejected(Refusal.wrong_type, "Send one JSON object for each fact.")
                own = fields.get("site") or site
                if not isinstance(own, str):
                    raise Rejected(Refusal.wrong_type, "Send a text.", "site")
                check_site(own, self._config.sites)
                fact = reader.fact_of(fields)
                if fact.as_of > fact.imported_at + _AHEAD:
                    raise Rejected(
                        "bad_instant", "This is later than now: no newer figure could replace it.", "as_of"
                    )
                posted.append(Posted(index, own, fact))
            except Rejected as error:
                refusals.append((index, error))
        return posted, refusals

    async def _compare(
        self, posted: Sequence[Posted], refusals: list[tuple[int, Rejected]]
    ) -> tuple[Counter[str], list[Posted]]:
        """What each fact is beside what is known and what stands before it in the body, and those to keep."""
        counts: Counter[str] = Counter(new=0, replaced=0, unchanged=0)
        kept: list[Posted] = []
        by_site: defaultdict[str, list[Posted]] = defaultdict(list)
        for each in posted:
            by_site[each.site].append(each)
        for site, its in by_site.items():
            known = await self._known(site, [each.fact for each in its])
            sent: Facts = {}
            for each in its:
                fact = each.fact
                other = sent.get(fact.key)
                if other is not None and other.as_of == fact.as_of and not same_figures(other, fact):
                    refusals.append((each.place, _repeated(fact)))
                    continue
                sent = newest(sent, [fact])
                counts[_kind(known.get(fact.key), fact)] += 1
                known = newest(known, [fact])
                kept.append(each)
        return counts, kept

    async def _known(self, site: str, facts: Sequence[SpendFact]) -> Facts:
        known = await self._kept.read(site, facts)
        return self._recent.over(site, known, (fact.key for fact in facts), time.monotonic())

    def _records(self, kept: Iterable[Posted], received_at: int) -> Iterable[tuple[int, bytes]]:
        for _, site, fact in kept:
            report = SpendReport(site=site, fact=fact, received_at=received_at)
            yield partition_of(report.partition_key, self._config.partitions), encode_report(report)


def _kind(standing: SpendFact | None, fact: SpendFact) -> str:
    if standing is None:
        return "new"
    after = newest({fact.key: standing}, [fact])[fact.key]
    return "unchanged" if same_figures(after, standing) else "replaced"


def _repeated(fact: SpendFact) -> Rejected:
    return Rejected(
        "repeated_key",
        "Another fact of this body has other figures for the same day and thing, and neither is newer: add them up, "
        "or leave the old one out.",
        "cost",
    )
