"""Why revenue is credited to nobody: told by the ledger's unattributed entry, so that every report can say it."""

from __future__ import annotations

from enum import Enum

from attribution.acquisition import Acquisition

UNATTRIBUTED = "(unattributed)"
"""The channel of what is credited to nobody."""


class Missing(Enum):
    """What a conversion without credit lacks. The first that holds is told; the value stands in ``source``."""

    no_consent = "(no consent)"
    """The report that counts came with a refusal: GPC, DNT, or purposes without ``analytics``."""
    no_person = "(no person)"
    """Nobody had been seen: the person who converted has no touchpoint at or before the conversion. Such is a purchase
    that a server sends without an identity that any visit has."""
    no_touch_in_window = "(no touch in window)"
    """The person had been seen, but no touchpoint counts for this conversion."""
    no_touch_of_model = "(no touch of the model)"
    """Touchpoints count, but the model credits none of them: a paid model on a path without a paid touchpoint."""

    @property
    def source(self) -> str:
        """The ``source`` of the unattributed entry."""
        return self.value

    @property
    def acquisition(self) -> Acquisition:
        """Where the entry says that the credit comes from."""
        return _ACQUISITIONS[self]


_ACQUISITIONS = {missing: Acquisition(UNATTRIBUTED, missing.value, UNATTRIBUTED) for missing in Missing}


def missing_of(*, has_consent: bool, is_known: bool, has_path: bool) -> Missing:
    """Why nobody is credited: ``is_known`` = the person had been seen, ``has_path`` = a touchpoint counts."""
    if not has_consent:
        return Missing.no_consent
    if has_path:
        return Missing.no_touch_of_model
    return Missing.no_touch_in_window if is_known else Missing.no_person
