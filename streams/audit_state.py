"""What the self-audit knows: how far each of its rounds has come, and which differences it saw how often. Pure.

Reading two places takes two moments, and rows are written meanwhile. So nothing is an alarm before a second pass sees
it again; and where the two sides are no snapshot, only if either the figures of both sides are the same as before
(nothing was being written, and still they differ) or the gap was the same ``HOT_PASSES`` times (something always is
being written). One reading without the difference clears it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import msgspec

STATE_KEY = "hw:audit"
"""Redis string: the ``AuditState`` that the last pass left, JSON."""
LEASE_KEY = "hw:audit:lease"
"""Redis string: the worker that makes a pass now."""
CHECKS: dict[str, str] = {
    "events": "every event behind the fence is one hit, one drop or one dead letter, and ClickHouse has its rows",
    "offsets": "every offset of the log behind the fence was read, and once",
    "roll_up_traffic": "channel_metrics equals a recount of hits and sessions",
    "roll_up_credits": "channel_metrics equals a recount of credits",
    "books": "credit equals the value of every conversion under every model, at every instant of booking",
    "uncredited": "every conversion that stands is credited, and no other",
    "statements": "the ledger adds up to what Redis says stands credited",
    "waiting": "no conversion waits for its credit for long",
    "signs_sessions": "every row of sessions stands 0 or 1 times",
    "signs_touchpoints": "every row of touchpoints stands 0 or 1 times",
    "signs_conversions": "every row of conversions stands 0 or 1 times",
    "signs_paths": "every row of paths stands 0 or 1 times",
    "duplicate_hits": "every hit is kept once",
    "spend": "spend adds up to what Redis says counts",
    "signs_spend": "every row of spend stands 0 or 1 times",
    "roll_up_spend": "spend_metrics equals a recount of spend",
}
"""Name and promise of each comparison."""
NOT_A_SNAPSHOT = frozenset(
    {"roll_up_traffic", "roll_up_credits", "uncredited", "statements", "spend", "roll_up_spend"}
)
"""Checks whose two sides are written one after the other. The others read one table, or what lies behind the fence."""
CONFIRM_AFTER_SECONDS = {**dict.fromkeys(NOT_A_SNAPSHOT, 45.0), "waiting": 600.0}
"""Checks whose difference is normal for a while: until a dead worker's half-written batch is finished by another, and
until a worker that catches up has come to a conversion."""
HOT_PASSES = 10
"""Passes with the same gap that make an alarm although the figures move. Ten chance meetings with the same few rows
on their way are not to be feared."""
MOST_FINDINGS = 100
"""Kept per check: more are not counted, they are one fault."""


class Difference(msgspec.Struct, frozen=True):
    """Two places that must agree and did not when they were read."""

    check: str
    slice: str
    """What its axis must read to see it again."""
    subject: str
    detail: str
    """Both sides as they were read."""
    gap: str = ""
    """The difference alone; "" = ``detail``."""


class Finding(msgspec.Struct):
    """A difference, and how often it was seen. Instants are epoch seconds."""

    difference: Difference
    since: float
    read_in: int
    """Number of the last pass that saw it."""
    same_gap: int = 1
    """Passes in a row with this gap."""
    is_alarm: bool = False

    @property
    def key(self) -> tuple[str, str]:
        """Differences with the same key are the same."""
        return self.difference.check, self.difference.subject


class Round(msgspec.Struct):
    """How far an axis has come. A round compares everything once, slice by slice, over as many passes as it takes."""

    cursor: str = ""
    """Where the next slice begins; "" = at the beginning."""
    began_at: float = 0.0
    covered_from: float = 0.0
    """When the last complete round began: whatever was there then has been compared since. 0 = none yet."""


class AuditState(msgspec.Struct):
    """What one pass leaves to the next, whichever worker makes it, and to ``headwater doctor``. Epoch seconds."""

    since: float
    """When the first worker looked for something to audit."""
    next_at: float
    attempts: int = 0
    """Number of the last pass."""
    succeeded_at: float = 0.0
    """End of the last pass that compared everything it meant to."""
    seconds: float = 0.0
    """How long the last pass took."""
    failure: str = ""
    """Why the last pass ended early; "" = it did not."""
    alarms: int = 0
    """Differences that were ever confirmed, those that are gone by now included."""
    compared: dict[str, int] = msgspec.field(default_factory=dict)
    """Slices compared by axis, ever."""
    rounds: dict[str, Round] = msgspec.field(default_factory=dict)
    findings: list[Finding] = msgspec.field(default_factory=list)

    def record(
        self, number: int, now: float, checks: Iterable[str], slice_: str, seen: Iterable[Difference]
    ) -> tuple[list[Finding], list[Finding]]:
        """Note what pass ``number`` saw when it read ``slice_`` for ``checks``: alarms new and alarms gone."""
        known = {finding.key: finding for finding in self.findings}
        counts = Counter(finding.difference.check for finding in self.findings)
        alarmed = []
        for difference in seen:
            finding = known.get((difference.check, difference.subject))
            if finding is None:
                if counts[difference.check] < MOST_FINDINGS:
                    counts[difference.check] += 1
                    finding = Finding(difference, now, number)
                    known[finding.key] = finding
                    self.findings.append(finding)
            elif finding.read_in != number and _seen_again(finding, difference, number, now):
                alarmed.append(finding)
        self.alarms += len(alarmed)
        read = {(check, slice_) for check in checks}
        gone = [
            finding
            for finding in self.findings
            if finding.read_in != number and (finding.difference.check, finding.difference.slice) in read
        ]
        if gone:
            forgotten = {finding.key for finding in gone}
            self.findings = [finding for finding in self.findings if finding.key not in forgotten]
        return alarmed, [finding for finding in gone if finding.is_alarm]

    def differences(self) -> dict[str, int]:
        """Confirmed differences by check, 0 included; ``MOST_FINDINGS`` stands for any number from there on."""
        counts = dict.fromkeys(CHECKS, 0)
        for finding in self.findings:
            counts[finding.difference.check] += finding.is_alarm
        return counts


def _seen_again(finding: Finding, difference: Difference, number: int, now: float) -> bool:
    """Count one more sighting; True when it makes the finding an alarm."""
    old = finding.difference
    is_same_gap = (old.gap or old.detail) == (difference.gap or difference.detail)
    finding.same_gap = finding.same_gap + 1 if is_same_gap else 1
    finding.difference, finding.read_in = difference, number
    if finding.is_alarm:
        return False
    is_certain = (
        difference.check not in NOT_A_SNAPSHOT
        or old.detail == difference.detail
        or finding.same_gap >= HOT_PASSES
    )
    is_old_enough = now - finding.since >= CONFIRM_AFTER_SECONDS.get(difference.check, 0.0)
    finding.is_alarm = is_certain and is_old_enough
    return finding.is_alarm
