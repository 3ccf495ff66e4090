"""Marks: what of a hit a timeline remembers."""

from __future__ import annotations

import msgspec

from attribution.acquisition import Acquisition
from attribution.conversions import conversion_id_of
from attribution.enrich import Enriched
from attribution.hit import NO_PROPS, Hit
from attribution.identity import ALIAS, Claim, claim_of
from attribution.ids import event_hash, seal_click_id
from attribution.policy import AttributionPolicy


class Mark(msgspec.Struct, gc=False):
    """What one hit contributes to its visitor's timeline."""

    occurred_at: int
    """Epoch milliseconds, UTC."""
    event_hash: int
    in_session: bool
    is_page_view: bool
    path: str
    acquisition: Acquisition | None = None
    """With its click id sealed."""
    conversion: tuple[str, str] | None = None
    """(conversion_id, type) when the policy calls the event a conversion."""
    claim: Claim | None = None
    """What the hit says of who the visitor is."""
    is_view: bool = False
    """A touchpoint outside sessions; it has an acquisition."""
    scene: int = 0
    """Device and country (``attribution.scenes``)."""


def mark_of(hit: Hit, enriched: Enriched, policy: AttributionPolicy) -> Mark:
    """The mark that ``hit`` leaves on its visitor's timeline."""
    acquisition = enriched.acquisition
    if acquisition is not None and acquisition.click_id:
        acquisition = seal_click_id(acquisition)
    return Mark(
        hit.occurred_at,
        event_hash(hit.event_id),
        enriched.in_session,
        enriched.is_page_view,
        enriched.path,
        acquisition,
        (conversion_id_of(hit), hit.event) if hit.event in policy.conversion_lookbacks_ms else None,
        # Most hits name nobody, and this is asked of every hit.
        claim_of(hit)
        if hit.user_id or hit.email_sha256 or hit.props is not NO_PROPS or hit.event == ALIAS
        else None,
        enriched.is_view,
        enriched.scene,
    )
