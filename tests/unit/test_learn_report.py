"""The doctor's line about learning."""

from __future__ import annotations

import pytest

from runtime.learn_report import learning_line
from streams.learning import LearnState

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("active", "state", "hours", "is_well", "said"),
    [
        ({}, None, 24.0, True, "no learnt model is active yet"),
        ({}, LearnState(NOW + 1), 24.0, True, "no learnt model is active yet"),
        ({}, LearnState(NOW + 1, NOW - 7200, 1), 24.0, True, "2.0 h ago it came to nothing"),
        ({"shapley": "b", "markov": "a"}, None, 0.0, True, "active: markov a, shapley b; no schedule"),
        (
            {"markov": "a"},
            LearnState(NOW, NOW - 3600, 0),
            24.0,
            True,
            "active: markov a; 1.0 h ago it learnt",
        ),
        ({"markov": "a"}, LearnState(NOW, NOW - 3600, 2), 24.0, False, "failed with exit code 2"),
        ({"markov": "a"}, LearnState(NOW, NOW - 3600, -9), 24.0, False, "failed with exit code -9"),
    ],
)
def test_the_line_says_what_is_active_and_how_it_went(
    active: dict[str, str], state: LearnState | None, hours: float, is_well: bool, said: str
) -> None:
    """Too few journeys are no fault of the installation."""
    found, name, detail = learning_line(active, state, NOW, hours)
    assert (found, name) == (is_well, "learning")
    assert said in detail
