"""``headwater funnel``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attribution.errors import Rejected
from runtime.answers import console, query_service
from runtime.settings import Settings

_OPTIONS = {"from": "--from", "to": "--to", "from, to": "--from, --to", "by": "--by", "order": "--order"}
_OPTIONS |= {"channel": "--channel", "site": "--site", "currency": "--currency"}


def print_funnel(settings: Settings, asked: Mapping[str, Any], format_: str) -> None:
    """Print the funnel that ``asked``, the parameters of ``GET /v1/funnel``, describes. Raises ``Rejected`` naming the
    wrong option.
    """
    from pydantic import ValidationError

    from api.funnel import FunnelRequest
    from api.funnel_table import funnel_to_csv, funnel_to_table
    from api.report import to_json
    from api.requests import rejected_of

    try:
        answer = query_service(settings).funnel(FunnelRequest.model_validate(asked))
    except (ValidationError, Rejected) as error:
        wrong = rejected_of(error) if isinstance(error, ValidationError) else error
        field = _OPTIONS.get(wrong.field.partition(".")[0], wrong.field)
        raise Rejected(wrong.reason, wrong.message, field) from error
    if format_ == "json":
        print(to_json(answer))
    elif format_ == "csv":
        print(funnel_to_csv(answer), end="")
    else:
        console().print(funnel_to_table(answer))
