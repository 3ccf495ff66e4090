"""Links as the columns that ClickHouse tells them in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from attribution.bulk.persons import KINDS, LinkColumns
from attribution.identity import own_name
from attribution.oracle_persons import Link
from attribution.persons import IdentityRules, is_blocked


class Number(Protocol):
    """The number that stands for a name, the same each time."""

    def __call__(self, *name: str) -> int: ...


def link_columns(links: Mapping[Link, bool], rules: IdentityRules, number: Number) -> LinkColumns:
    """Those that join: companies do not."""
    rows = [
        (
            number("visitor", site, visitor),
            number("id", site, id_),
            KINDS[id_[: id_.index(":") + 1]],
            id_ == own_name(visitor),
            is_blocked(id_, rules),
            is_held,
        )
        for (site, visitor, id_), is_held in links.items()
        if not id_.startswith("account:")
    ]
    columns = list(zip(*rows, strict=True)) or [()] * 6
    types = (np.uint64, np.uint64, np.uint8, np.bool_, np.bool_, np.bool_)
    return LinkColumns(*(np.array(column, dtype=kind) for column, kind in zip(columns, types, strict=True)))
