"""What so many journeys cost Headwater: chunk by chunk, so that memory does not grow with them.

    python -m bench.models.growth_job COUNT

Making the journeys is not measured.
"""

from __future__ import annotations

import json
import resource
import sys
import time

from attribution.bulk import JourneySums, Paths
from bench.models.ours_job import ENDED_AT, credit, moments
from bench.models.rows import CHANNELS, Rows, make_rows

_CHUNK = 1 << 16


def _arrays(rows: Rows) -> Paths:
    return Paths(
        CHANNELS,
        rows.channels,
        ENDED_AT - rows.ages,
        rows.offsets,
        moments(rows.lead_ages),
        moments(rows.opportunity_ages),
    )


def _run(count: int) -> dict[str, float]:
    journeys, conversions, took, clock = JourneySums(CHANNELS), 0.0, 0.0, 0.0
    for begin in range(0, count, _CHUNK):
        rows = make_rows(min(_CHUNK, count - begin), begin)
        cpu, now = time.process_time(), time.perf_counter()
        paths = _arrays(rows)
        conversions += sum(credit(paths, rows)["linear conversions"].values())
        journeys.add(paths, rows.converted, 1 - rows.converted)
        took += time.process_time() - cpu
        clock += time.perf_counter() - now
    cpu, now = time.process_time(), time.perf_counter()
    journeys.removal_effects()
    journeys.shapley_values()
    return {
        "cpu": took + time.process_time() - cpu,
        "clock": clock + time.perf_counter() - now,
        "conversions": conversions,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


if __name__ == "__main__":
    _run(_CHUNK // 8)
    print(json.dumps(_run(int(sys.argv[1]))))
