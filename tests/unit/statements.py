"""Strategies of conversions with their paths, for the tests of statements."""

from __future__ import annotations

from conversion_facts import NOON
from conversion_facts import fact as a_fact
from hypothesis import strategies as st

from attribution.acquisition import Acquisition
from attribution.models import MODELS
from attribution.paths import Path
from attribution.policy import DAY_MS, AttributionPolicy
from attribution.touchpoints import Touchpoint

CHANNELS = ("Direct", "Paid Search", "Email", "Organic Search", "Display")
_channels = st.sampled_from(CHANNELS)
policies = st.builds(
    AttributionPolicy,
    models=st.lists(st.sampled_from(sorted(MODELS)), min_size=1, unique=True).map(tuple),
    time_decay_half_life_ms=st.sampled_from([DAY_MS, 7 * DAY_MS]),
)


@st.composite
def paths(draw: st.DrawFn) -> Path:
    """Up to six touches before noon; some conversions are a lead's or a deal's."""
    ages = sorted(draw(st.lists(st.integers(0, 20 * DAY_MS), max_size=6)), reverse=True)
    words = st.sampled_from(["s", "summer", 'a "quoted" \\ one', "é\n"])
    touches = tuple(
        Touchpoint(
            f"{n + 1:032x}",
            "v",
            "site",
            NOON - age,
            Acquisition(draw(_channels), draw(words), "m", campaign=draw(words), click_id=draw(words)),
            draw(st.sampled_from(["/", '/"quoted"?a=ü'])),
        )
        for n, age in enumerate(ages)
    )
    moment = st.none() | st.integers(NOON - 20 * DAY_MS, NOON)
    is_known = bool(touches) or draw(st.booleans())
    return Path(
        touches,
        NOON,
        "purchase",
        lead_at=draw(moment),
        opportunity_at=draw(moment),
        is_known=is_known,
    )


facts = st.builds(
    lambda value, currency, has_consent, visitor: a_fact(
        value_minor=value, currency=currency, has_consent=has_consent, visitor_id=visitor
    ),
    st.none() | st.integers(0, 10**9),
    st.sampled_from(["USD", "JPY"]),
    st.booleans(),
    st.sampled_from(["v1", 'v"2"']),
)
