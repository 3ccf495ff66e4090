"""The columns that a writer fills, in table order (see ``migrations/``).

Values as the writer wants them: instants are integers, epoch milliseconds for ``DateTime64(3)`` and epoch
seconds for ``DateTime``; money, weights and values are decimal strings (or ``Decimal``); days ISO 8601
strings; arrays lists. The ``(unattributed)`` entry of a ledger change has ``touched_at = converted_at``, so
that both bases hold all revenue.
"""

from __future__ import annotations

_SOURCE = ("src_broker", "src_partition", "src_offset")
ACQUISITION = ("channel", "source", "medium", "campaign", "term", "content", "ad_network")
"""What a row says of where a visit came from; fields of ``attribution.acquisition.Acquisition``."""
SCENE = ("device", "country")
"""What a row of a visit says of where it was made: ``attribution.scenes.scene_names``."""

HITS_COLUMNS: tuple[str, ...] = (
    *("site", "event_id", "visitor_id", "event", "occurred_at", "received_at", "clock_skew_ms", "time_flag"),
    *("in_session", "url", "path", "referrer", "referrer_host", "title"),
    *ACQUISITION,
    *("click_id_param", "click_id", "user_id", "email_sha256", "value", "currency", "order_id"),
    *("consent", "gpc", "dnt", "device", "browser", "os", "user_agent", "ip", "country", "props"),
    *_SOURCE,
)
SESSIONS_COLUMNS: tuple[str, ...] = (
    *("site", "session_id", "visitor_id", "started_at", "ended_at"),
    *ACQUISITION,
    *("landing_page", "referrer_host", *SCENE, "hits", "page_views", "hours", "hour_hits", "hour_page_views"),
    "sign",
    *_SOURCE,
)
TOUCHPOINTS_COLUMNS: tuple[str, ...] = (
    *("site", "touchpoint_id", "visitor_id", "touched_at"),
    *ACQUISITION,
    *("landing_page", "kind", *SCENE, "sign"),
    *_SOURCE,
)
DROPS_COLUMNS: tuple[str, ...] = ("hour", "site", "reason", "count", *_SOURCE)
DROPPED_CONVERSIONS_COLUMNS: tuple[str, ...] = (
    *("site", "conversion_id", "conversion_type", "event_id", "converted_at", "value", "currency", "reason"),
    "recorded_at",
    *_SOURCE,
)
CLICK_COSTS_COLUMNS: tuple[str, ...] = (
    *("site", "ad_network", "day", "click", "campaign_id", "campaign", "currency", "amount", "reason"),
    *("event_id", "occurred_at", "recorded_at"),
    *_SOURCE,
)
DEAD_LETTERS_COLUMNS: tuple[str, ...] = (
    *("dead_letter_id", "topic", *_SOURCE, "reason", "detail", "key_base64", "payload_base64"),
    *("attempts", "version", "recorded_at"),
)
DEAD_LETTER_REPLAYS_COLUMNS: tuple[str, ...] = ("dead_letter_id", "replayed_at")
CONVERSIONS_COLUMNS: tuple[str, ...] = (
    *(
        "site",
        "conversion_id",
        "type",
        "order_id",
        "visitor_id",
        "event_id",
        "converted_at",
        "value",
        "currency",
    ),
    *("sign", "cause", "recorded_at", "ids"),
)
CREDITS_COLUMNS: tuple[str, ...] = (
    *("site", "model", "conversion_id", "touchpoint_id", "conversion_type", "visitor_id"),
    *ACQUISITION,
    *("landing_page", "weight", "amount", "conversion_value", "currency", "cause", "policy_version"),
    *("touched_at", "converted_at", "recorded_at", "booked_at"),
)
PATHS_COLUMNS: tuple[str, ...] = (
    *("site", "conversion_id", "conversion_type", "converted_at", "currency", "value", "channels"),
    *("first_touch_at", "last_touch_at", "sign", "recorded_at"),
)
POLICIES_COLUMNS: tuple[str, ...] = ("version", "policy", "recorded_at")
LEARNT_MODELS_COLUMNS: tuple[str, ...] = (
    *("version", "model", "site", "channel", "effect", "share", "low", "high", "error"),
    *("markov_order", "worth", "conversion_types", "from_at", "to_at", "journeys", "conversions"),
    *("seed", "rounds", "learnt_at"),
)
LEARNT_PERSONS_COLUMNS: tuple[str, ...] = ("run", "visitor", "person", "noted_at")
SPEND_COLUMNS: tuple[str, ...] = (
    *(
        "site",
        "day",
        "ad_network",
        "level",
        "account_id",
        "campaign_id",
        "campaign",
        "ad_group_id",
        "ad_group",
    ),
    *(
        "ad_id",
        "ad",
        "channel",
        "source",
        "medium",
        "campaign_label",
        "impressions",
        "reach",
        "clicks",
        "views",
    ),
    *("installs", "amount", "currency", "platform_conversions", "platform_value", "bid_strategy", "bid"),
    *("time_zone", "sign", "cause", "as_of", "imported_at", "recorded_at"),
)
FX_RATES_COLUMNS: tuple[str, ...] = ("currency", "day", "rate", "source", "recorded_at")
DELIVERIES_COLUMNS: tuple[str, ...] = (
    *("site", "source", "scheme", "keys", "received_at", "outcome", "events", "facts", "adapter_version"),
    *("reasons", "problems", "ignored", "headers", "body_base64", *_SOURCE, "position"),
)
RESTATEMENTS_COLUMNS: tuple[str, ...] = (
    *("restatement_id", "policy_version", "site", "since", "until", "resends_hits", "phase", "cursor"),
    *("slices", "hits", "conversions", "recorded_at", "noted_at"),
)
CHANNEL_METRICS_COLUMNS: tuple[str, ...] = (
    *(
        "site",
        "hour",
        "channel",
        "source",
        "medium",
        "campaign",
        "model",
        "basis",
        "conversion_type",
        "currency",
    ),
    *("hits", "page_views", "impressions", "sessions", "conversions", "revenue"),
)

SPEND_METRICS_COLUMNS: tuple[str, ...] = (
    *("site", "hour", "channel", "source", "medium", "campaign", "currency"),
    *("impressions", "clicks", "views", "installs", "spend"),
)
ALL_METRICS = "all_metrics"
"""A view: ``channel_metrics`` and ``spend_metrics`` as one, with the columns of both."""

IDENTITY_LINKS_COLUMNS: tuple[str, ...] = (
    *("site", "visitor_id", "id", "event_id", "said_at", "sign", "recorded_at"),
    *_SOURCE,
)

WRITTEN: dict[str, tuple[str, ...]] = {
    "hits": HITS_COLUMNS,
    "sessions": SESSIONS_COLUMNS,
    "touchpoints": TOUCHPOINTS_COLUMNS,
    "drops": DROPS_COLUMNS,
    "dropped_conversions": DROPPED_CONVERSIONS_COLUMNS,
    "click_costs": CLICK_COSTS_COLUMNS,
    "dead_letters": DEAD_LETTERS_COLUMNS,
    "dead_letter_replays": DEAD_LETTER_REPLAYS_COLUMNS,
    "conversions": CONVERSIONS_COLUMNS,
    "paths": PATHS_COLUMNS,
    "credits": CREDITS_COLUMNS,
    "policies": POLICIES_COLUMNS,
    "learnt_models": LEARNT_MODELS_COLUMNS,
    "learnt_persons": LEARNT_PERSONS_COLUMNS,
    "identity_links": IDENTITY_LINKS_COLUMNS,
    "spend": SPEND_COLUMNS,
    "fx_rates": FX_RATES_COLUMNS,
    "restatements": RESTATEMENTS_COLUMNS,
    "deliveries": DELIVERIES_COLUMNS,
}
"""Tables that programs insert into, with their columns."""

TABLES: tuple[str, ...] = (*WRITTEN, "channel_metrics", "path_metrics", "spend_metrics")
"""Every table of Headwater that holds facts; the roll-ups are filled by materialized views only."""

HAS_SOURCE: frozenset[str] = frozenset(name for name, columns in WRITTEN.items() if "src_offset" in columns)
"""Tables whose rows name the Kafka batch that wrote them."""
