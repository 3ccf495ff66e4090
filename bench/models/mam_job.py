"""marketing-attribution-models 2 (Polars): its five heuristic models, Markov and Shapley, as documented.

python -m bench.models.mam_job FILE

Over conversions; the same over values would be as much again.
"""

from __future__ import annotations

import polars as pl
from mam.core import MAM

from bench.models.rows import SEPARATOR, Rows
from bench.models.stages import CONVERSIONS, Stages, Sums, main, shares_of

_MODELS = {
    "first_click": "first_touch",
    "last_click": "last_touch",
    "linear": "linear",
    "position_based": "position_based",
    "time_decay": "time_decay",
}
_HOUR_MS = 3_600_000


def _run(rows: Rows) -> None:
    frame = pl.DataFrame(
        {
            "journey_id": [str(number) for number in range(len(rows.converted))],
            "journey": rows.paths(),
            "converted": rows.converted.astype(bool),
            "hours": [SEPARATOR.join(str(age / _HOUR_MS) for age in ages) for ages in rows.path_ages()],
        }
    )
    sums: Sums = {}
    stages = Stages()
    with stages.stage("read"):
        mam = MAM(
            df=frame,
            format_type="journey",
            channels_colname="journey",
            journey_with_conv_colname="converted",
            time_till_conv_colname="hours",
        )
    with stages.stage("heuristic"):
        for theirs, ours in _MODELS.items():
            found = getattr(mam, f"run_{theirs}")().to_polars()
            sums[f"{ours} {CONVERSIONS}"] = dict(
                zip(found["channels"].to_list(), found["attribution"].to_list(), strict=True)
            )
    with stages.stage("Markov"):
        markov = mam.run_markov()
    with stages.stage("Shapley"):
        mam.run_shapley()
    sums["markov"] = shares_of(markov.metadata["removal_effect"]["removal_effect"].to_dict())
    stages.tell(sums)


if __name__ == "__main__":
    main(_run)
