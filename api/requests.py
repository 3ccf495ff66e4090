"""The body of ``POST /v1/query``, checked for shape here and for sense in ``plan``."""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from attribution.errors import Rejected

R = TypeVar("R", bound=BaseModel)
MAX_LIMIT = 10_000
MAX_OFFSET = 10_000_000

Name = Annotated[str, Field(max_length=100)]
Value = Annotated[str, Field(max_length=1000)]
Filter = tuple[Name, Name, Annotated[list[Value], Field(min_length=1, max_length=200)]]


class QueryRequest(BaseModel):
    """One question. ``docs/query.md`` explains each field with examples."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)

    metrics: Annotated[list[Name], Field(min_length=1, max_length=50)]
    dimensions: Annotated[list[Name], Field(max_length=8)] = []
    """None: one row of totals."""
    filters: Annotated[list[Filter], Field(max_length=20)] = []
    """``[dimension, operator, values]``; all of them must hold."""
    date_range: tuple[Name | None, Name | None] | None = None
    """First and last day, both included, UTC, ``YYYY-MM-DD``; ``None`` = open."""
    model: Name = "linear"
    basis: Literal["conversion", "touch"] = "conversion"
    """Whether credit counts on the day of the conversion or of the touchpoint that earned it."""
    currency: Name | None = None
    """ISO 4217; ``None`` = the installation's."""
    convert: bool = True
    """Money in other currencies is converted at the rate of its own day; ``false``: it is left out and listed."""
    order_by: Annotated[list[tuple[Name, Literal["asc", "desc"]]], Field(max_length=8)] = []
    """Columns asked for; none: by time, else the first metric descending."""
    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT)] = 100
    offset: Annotated[int, Field(ge=0, le=MAX_OFFSET)] = 0
    as_of: Name | None = None
    """The answer as it stood: at the end of a day (``YYYY-MM-DD``, UTC) or at an instant with its time zone."""
    spread: bool = False
    """Beside each row what the rule models say of its conversions and revenue: the lowest and the highest."""


def parse_query(body: bytes) -> QueryRequest:
    """The request in ``body`` (JSON). Raises ``Rejected``: ``malformed_json`` or ``invalid_request``."""
    return parse_body(QueryRequest, body)


def parse_body(kind: type[R], body: bytes) -> R:
    """A request of ``kind`` in ``body`` (JSON). Raises ``Rejected``: ``malformed_json`` or ``invalid_request``."""
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        raise rejected_of(error) from error


def rejected_of(error: ValidationError) -> Rejected:
    """The first complaint of pydantic in our words."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        return Rejected("malformed_json", f"The body is no JSON: {first['msg']}.")
    field = ".".join(str(part) for part in first["loc"])[:200]
    return Rejected("invalid_request", f"{first['msg']}.", field)
