"""What the embedded engine does otherwise than ClickHouse's defaults, so that many small inserts are cheap.

The price of a small insert is that of its part: each file is created, synced and deleted again after the next merge.
On a server these defaults serve large inserts; here they are the tables' own settings, which still win. Parts written
with and without them lie side by side (docs/performance.md has the figures).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from xml.sax.saxutils import escape

MERGE_TREE: Mapping[str, str] = {
    # Ten small parts are merged at once instead of five: half the merges, a few parts more for a query to read.
    "merge_selector_base": "10",
    # Two files of a part less: no column is stored sparsely, none has streams with marks of their own.
    "ratio_of_defaults_for_sparse_serialization": "1",
    "serialization_info_version": "basic",
    "write_marks_for_substreams_in_compact_parts": "0",
    # One file of a merged part less: we ask no question that column statistics would help.
    "auto_statistics_types": "",
    # The engine deletes what was merged at once, not after eight minutes as a server does. What replaces synced parts
    # has to be on the disk by then.
    "min_rows_to_fsync_after_merge": "1",
}
"""Defaults of MergeTree tables."""

STATEMENT: Mapping[str, str] = {
    # Two files of a part less: skip indexes are built by merges; until then a small part is read as a whole.
    "materialize_skip_indexes_on_insert": "0",
}
"""Defaults of statements."""


def open_config() -> int:
    """A descriptor of ClickHouse's configuration file with ``MERGE_TREE``, in memory; the caller closes it.

    In memory because the engine takes its path as part of an URL, which not every path survives.
    """
    settings = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in MERGE_TREE.items())
    descriptor = os.memfd_create("headwater-engine-config", os.MFD_CLOEXEC)
    os.write(descriptor, f"<clickhouse><merge_tree>{settings}</merge_tree></clickhouse>".encode())
    return descriptor
