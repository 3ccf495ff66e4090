"""marketing-attribution-models 1 (pandas): its seven heuristic models, Markov and Shapley, as documented.

python -m bench.models.mam_pandas_job FILE
"""

from __future__ import annotations

import warnings

import pandas as pd

from bench.models.rows import SEPARATOR, Rows
from bench.models.stages import CONVERSIONS, Stages, Sums, main, shares_of

warnings.simplefilter("ignore")  # of seaborn's style names
from marketing_attribution_models import MAM  # noqa: E402

_MODELS = {
    "first_click": "first_touch",
    "last_click": "last_touch",
    "last_click_non": "last_non_direct_touch",
    "linear": "linear",
    "position_based": "position_based",
    "position_decay": "",
    "time_decay": "",
}
"""Theirs to ours; "" where the rule is another one: its time decay goes in steps."""
_HOUR_MS = 3_600_000


def _run(rows: Rows) -> None:
    frame = pd.DataFrame(
        {
            "journey_id": [str(number) for number in range(len(rows.converted))],
            "journey": rows.paths(),
            "converted": rows.converted.astype(bool),
            "hours": [SEPARATOR.join(str(age / _HOUR_MS) for age in ages) for ages in rows.path_ages()],
        }
    )
    stages = Stages()
    with stages.stage("read"):
        mam = MAM(
            frame,
            channels_colname="journey",
            journey_with_conv_colname="converted",
            time_till_conv_colname="hours",
            group_channels_by_id_list=["journey_id"],
        )
    with stages.stage("heuristic"):
        for theirs in _MODELS:
            getattr(mam, f"attribution_{theirs}")()
        by_channel = mam.group_by_channels_models.set_index("channels")
    with stages.stage("Markov"):
        # By default a journey counts as often as it has conversions, so those without one count for nothing.
        markov = mam.attribution_markov(conversion_value_as_frequency=False)
    with stages.stage("Shapley"):
        mam.attribution_shapley()
    sums: Sums = {
        f"{ours} {CONVERSIONS}": by_channel[column].to_dict()
        for ours, column in zip(_MODELS.values(), by_channel.columns, strict=True)
        if ours
    }
    sums["markov"] = shares_of(markov[3].iloc[:, 0].to_dict())
    stages.tell(sums)


if __name__ == "__main__":
    main(_run)
