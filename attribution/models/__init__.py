"""Attribution models: how the credit for one conversion is divided among the touchpoints of its path.

Definitions and sources: docs/architecture.md, "Models".
"""

from attribution.models import decay, ends, positions
from attribution.models.lookup import check_models, division_of, model_named
from attribution.models.registry import (
    DIVISIONS,
    MODELS,
    AttributionModel,
    Division,
    Parts,
    Weights,
    model,
    weights_of,
)

__all__ = [
    "DIVISIONS",
    "MODELS",
    "AttributionModel",
    "Division",
    "Parts",
    "Weights",
    "check_models",
    "decay",
    "division_of",
    "ends",
    "model",
    "model_named",
    "positions",
    "weights_of",
]
