"""A policy written out as a policy file, with what differs from the defaults marked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec

from attribution.policy import DAY_MS, MINUTE_MS, AttributionPolicy, CustomKind, CustomModel
from attribution.policy_tables import HOUR_MS
from attribution.touchpoints import TouchKind

Table = Mapping[str, Any]


def policy_toml(policy: AttributionPolicy) -> str:
    """``policy`` as a file that says the same again, each key that has not its default with a note of that."""
    default = _document(AttributionPolicy())
    lines = [f"# Policy {policy.version}; defaults are {AttributionPolicy().version}."]
    for table, keys in _document(policy).items():
        usual = default.get(table, {})
        lines += ["", f"[{table}]"]
        for key, value in keys.items():
            note = "" if usual.get(key) == value else f"  # default: {_value(usual.get(key))}"
            lines.append(f"{key} = {_value(value)}{note}")
        lines += [
            f"# not there, by default {key} = {_value(usual[key])}" for key in usual.keys() - keys.keys()
        ]
    lines += [
        f"# [{table}] of the defaults is not there" for table in default if table not in _document(policy)
    ]
    return "\n".join(lines) + "\n"


def _document(policy: AttributionPolicy) -> dict[str, dict[str, Any]]:
    learnt = policy.learnt
    document: dict[str, dict[str, Any]] = {
        "sessions": {
            "gap_minutes": _span(policy.session_gap_ms, MINUTE_MS),
            "cap_hours": _span(policy.session_cap_ms, HOUR_MS),
            "switch": policy.session_switch.value,
            "max_hits_per_visitor": policy.max_hits_per_visitor,
        },
        **{
            f"conversions.{_key(type_)}": {
                "lookback_days": _span(lookback, DAY_MS),
                **{
                    f"{kind.value}_days": _span(policy.kind_lookbacks_ms[type_][kind], DAY_MS)
                    for kind in TouchKind
                    if kind in policy.kind_lookbacks_ms.get(type_, {})
                },
                **(
                    {"brings_money": type_ not in policy.valueless}
                    if type_ in (*policy.valueless, *AttributionPolicy().valueless)
                    else {}
                ),
            }
            for type_, lookback in policy.conversion_lookbacks_ms.items()
        },
        "stages": {"lead": list(policy.lead_events), "opportunity": list(policy.opportunity_events)},
        "views": {
            "count": policy.views.value,
            "events": list(policy.view_events),
            "lookback_days": _span(policy.view_lookback_ms, DAY_MS),
        },
        "touches": {
            "direct": policy.direct.value,
            "excluded_channels": list(policy.excluded_channels),
            "since_last_conversion": policy.since_last_conversion.value,
        },
        "channels": {
            "paid": list(policy.paid_channels),
            "rules": [_rule(rule) for rule in policy.channel_rules],
        },
        "referrers": {"ignored": list(policy.ignored_referrers)},
        "brand": {"words": list(policy.brand_words), "handling": policy.brand.value},
        "identity": {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in msgspec.structs.asdict(policy.identity).items()
        },
        "credit": {
            "models": [name for name in policy.models if name not in learnt],
            "plugins": list(policy.plugins),
            "half_life_days": _span(policy.time_decay_half_life_ms, DAY_MS),
        },
    }
    for name, custom in policy.custom_models.items():
        document[f"models.{name}"] = _custom(custom)
    return document


def _rule(rule: Any) -> dict[str, Any]:
    tests: dict[str, Any] = {}
    for condition in rule.conditions:
        tests.setdefault(condition.field.value, {})[condition.comparison.value] = list(condition.texts)
    return {"channel": rule.channel, **tests}


def _custom(custom: CustomModel) -> dict[str, Any]:
    said: dict[str, Any] = {"kind": custom.kind.value}
    match custom.kind:
        case CustomKind.weights:
            said |= {"first": custom.first, "middle": custom.middle, "last": custom.last}
        case CustomKind.positions:
            counted_from = "last" if custom.from_end else "first"
            said |= {"positions": list(custom.positions), "rest": custom.rest, "counted_from": counted_from}
        case CustomKind.time_decay:
            said["half_life_days"] = _span(custom.half_life_ms, DAY_MS)
        case CustomKind.model:
            said["model"] = custom.model
    if custom.window_ms is not None:
        said["window_days"] = _span(custom.window_ms, DAY_MS)
    return said


def _span(span_ms: int, unit: int) -> Decimal:
    return round(Decimal(span_ms) / unit, 12).normalize()


def _value(value: Any) -> str:
    match value:
        case None:
            return "none"
        case bool() | str():
            return json.dumps(value)
        case Decimal():
            return f"{value:f}"
        case list():
            return f"[{', '.join(_value(each) for each in value)}]"
        case dict():
            return f"{{ {', '.join(f'{key} = {_value(each)}' for key, each in value.items())} }}"
        case _:
            return str(value)


def _key(name: str) -> str:
    return name if name.replace("_", "").replace("-", "").isalnum() and name.isascii() else json.dumps(name)
