"""The attribution models by name, each in one sentence, and what to do about one that is not credited here."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from attribution.errors import Rejected

SENTENCES: dict[str, str] = {
    "first_touch": "All credit to the first touchpoint: what brings new people in.",
    "last_touch": "All credit to the last touchpoint before the conversion.",
    "last_non_direct_touch": "All credit to the last touchpoint that was not a direct visit.",
    "first_paid_touch": "All credit to the first paid touchpoint; without one the conversion stays unattributed.",
    "last_paid_touch": "All credit to the last paid touchpoint; without one the conversion stays unattributed.",
    "linear": "The same share to every touchpoint.",
    "position_based": "40 % to the first touchpoint, 40 % to the last, 20 % shared by those between (U-shaped).",
    "j_shaped": "20 % to the first touchpoint, 60 % to the last, 20 % shared by those between.",
    "inverse_j_shaped": "60 % to the first touchpoint, 20 % to the last, 20 % shared by those between.",
    "w_shaped": "30 % each to first touchpoint, lead and opportunity, 10 % shared by the others.",
    "full_path": "22.5 % each to first touchpoint, lead, opportunity and last touchpoint, 10 % shared by the others.",
    "time_decay": "The later the more: a touchpoint counts half as much with every half-life before the conversion.",
    "markov": "Learnt: by how many conversions would be lost if the channel were taken out of all paths.",
    "shapley": "Learnt: what the channel adds on average, whichever other channels are there already.",
}
"""Every model of the contract, in the order in which a person is asked to choose."""

LEARNT = frozenset({"markov", "shapley"})
"""Credited by a table that ``headwater learn`` makes; no part of the spread, which is over rules."""

CUSTOM = "A model of this installation's policy."


class ModelAbout(msgspec.Struct, frozen=True):
    """One model that can be asked for, or could be."""

    name: str
    sentence: str
    kind: str
    """``rule``, ``learnt`` or ``custom``."""
    is_credited: bool
    """Whether a question under it has an answer here; else ``remedy`` says what to do."""
    remedy: str


class ModelList(msgspec.Struct, frozen=True):
    """All of them."""

    models: list[ModelAbout]


def models_about(credited: Collection[str]) -> list[ModelAbout]:
    """Every model of the contract, then those that only this installation has."""
    custom = [name for name in credited if name not in SENTENCES]
    return [
        ModelAbout(
            name=name,
            sentence=SENTENCES.get(name, CUSTOM),
            kind="learnt" if name in LEARNT else "rule" if name in SENTENCES else "custom",
            is_credited=name in credited,
            remedy="" if name in credited else remedy_of(name),
        )
        for name in [*SENTENCES, *custom]
    ]


def remedy_of(name: str) -> str:
    """What makes a model of the contract answerable."""
    if name in LEARNT:
        return "`headwater learn` makes its table, after which new conversions are credited by it."
    return (
        "Name it in the models of the policy and restart the workers: new conversions are then credited by it,"
        " and `headwater restate` credits those that are there."
    )


def check_model(name: str, credited: Collection[str], field: str = "model") -> None:
    """Raise ``Rejected`` unless ``name`` is one of ``credited``. A name that is not ours is not repeated."""
    choice = f"Choose from: {', '.join(credited)}."
    if name in credited:
        return
    if name in SENTENCES:
        raise Rejected(
            "not_available", f"The model {name} credits nothing here yet. {remedy_of(name)} {choice}", field
        )
    raise Rejected("unknown_model", f"There is no such model. {choice}", field)


def spread_models(credited: Collection[str]) -> tuple[str, ...]:
    """The models whose answers make the spread: all that credit by a rule."""
    return tuple(name for name in credited if name not in LEARNT)
