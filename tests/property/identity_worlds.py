"""Worlds of people with several devices: who they are is said before and after their visits, and taken back."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import strategies as st
from stream_worlds import T0, URLS

from attribution.hit import Hit
from attribution.models import MODELS
from attribution.persons import IdentityRules
from attribution.policy import DAY_MS, AttributionPolicy

EMAILS = ("a" * 64, "a" * 64, "b" * 64)
USERS = ("ann", "ann", "ann", "bob", "null")
VISITORS = ("v0", "v1", "v2", "user:ann")
_MOMENTS = (0, 1, 60_000, DAY_MS, 2 * DAY_MS, 2 * DAY_MS + 1, 40 * DAY_MS, 93 * DAY_MS)


@st.composite
def identity_rules(draw: st.DrawFn) -> IdentityRules:
    """Guards so low that a few devices trip over them, or so high that none does."""
    return IdentityRules(
        max_users_per_visitor=draw(st.sampled_from([9, 1, 2])),
        max_emails_per_visitor=draw(st.sampled_from([9, 9, 1])),
        max_visitors_per_id=draw(st.sampled_from([9, 9, 2, 3])),
        max_visitors_per_person=draw(st.sampled_from([9, 9, 9, 3, 2, 1])),
        blocked_ids=draw(st.sampled_from([(), (), ("bob",), ("acme",)])),
        account_view=draw(st.booleans()),
        max_visitors_per_account=draw(st.sampled_from([9, 9, 9, 3, 2, 1])),
    )


_KINDS = st.sampled_from(
    [
        *["page_view"] * 4,
        *["purchase"] * 4,
        *["identify"] * 4,
        *["group"] * 3,
        "alias",
        "unlink",
        "unlink",
        "lead",
    ]
)


@st.composite
def people_hit(draw: st.DrawFn) -> Hit:
    """One hit, without ``event_id``: a visit, a purchase, or a word on who is there, or that he is not."""
    event = draw(_KINDS)
    at = T0 + draw(st.sampled_from(_MOMENTS)) + draw(st.integers(0, 2)) * 3_600_000
    is_naming = event in ("identify", "unlink") or draw(st.integers(0, 7)) == 0
    names = draw(st.sampled_from([1, 1, 1, 2, 2, 3, 4, 7])) if is_naming else 0
    fields: dict[str, Any] = {}
    if names & 1 or event == "alias":
        fields["user_id"] = draw(st.sampled_from(USERS))
    if names & 2:
        fields["email_sha256"] = draw(st.sampled_from(EMAILS))
    named: dict[str, str] = {}
    if names & 4:
        named["crm_contact_id"] = draw(st.sampled_from(["c1", "c2"]))
    if event == "group" or (event == "unlink" and draw(st.booleans())):
        named["group_id"] = draw(st.sampled_from(["acme", "acme", "globex"]))
    if named:
        fields["props"] = msgspec.Raw(msgspec.json.encode(named))
    if event == "page_view":
        fields["url"] = draw(st.sampled_from(URLS))
    if event == "purchase":
        fields |= {"value": draw(st.sampled_from(["10.00", "0.01", None])), "currency": "USD"}
        fields["order_id"] = draw(st.sampled_from(["", "", "o1"]))
    return Hit(
        event_id="",
        site=draw(st.sampled_from(["s"] * 9 + ["other"])),
        visitor_id=draw(st.sampled_from(VISITORS)),
        occurred_at=at,
        received_at=at + 5,
        event=event,
        **fields,
    )


@st.composite
def people_worlds(draw: st.DrawFn) -> tuple[list[Hit], AttributionPolicy]:
    """Hits, and the policy that judges them."""
    most = draw(st.sampled_from([16, 12, 8, 4]))
    hits = draw(st.lists(people_hit(), min_size=most // 2, max_size=most))
    for number, hit in enumerate(hits):
        hit.event_id = f"e{number}"
    return hits, AttributionPolicy(identity=draw(identity_rules()), models=tuple(MODELS))
