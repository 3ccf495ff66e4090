"""ChannelAttribution: its three heuristic models in C++, and its simulated Markov model of order 1, as documented.

    python -m bench.models.channel_attribution_job FILE

channelattribution.io/docs/main-doc: ``heuristic_models`` and ``markov_model`` over conversions, values and journeys
without conversion, with the defaults (100,000 simulated paths to begin with, more until results vary by less than 5 %).
"""

from __future__ import annotations

import sys
from contextlib import redirect_stdout

import pandas as pd

from bench.models.rows import Rows
from bench.models.stages import CONVERSIONS, VALUE, Stages, Sums, main, shares_of

with redirect_stdout(sys.stderr):  # it greets
    import ChannelAttribution

_MODELS = {"first_touch": "first_touch", "last_touch": "last_touch", "linear_touch": "linear"}


def _run(rows: Rows) -> None:
    frame = pd.DataFrame(
        {
            "path": rows.paths(),
            "converted": rows.converted,
            "value": rows.cents / 100,
            "lost": 1 - rows.converted,
        }
    )
    stages = Stages()
    with stages.stage("heuristic"):
        heuristic = ChannelAttribution.heuristic_models(
            frame, "path", "converted", var_value="value", flg_pro=False
        )
    with stages.stage("Markov"):
        markov = ChannelAttribution.markov_model(
            frame, "path", "converted", var_value="value", var_null="lost", verbose=False, flg_pro=False
        )
    by_channel = heuristic.set_index("channel_name")
    sums: Sums = {
        f"{ours} {what}": by_channel[f"{theirs}_{what}"].to_dict()
        for theirs, ours in _MODELS.items()
        for what in (CONVERSIONS, VALUE)
    }
    sums["markov"] = shares_of(markov.set_index("channel_name")["total_conversions"].to_dict())
    stages.tell(sums)


if __name__ == "__main__":
    main(_run)
