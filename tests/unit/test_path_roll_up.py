"""Which paths the buckets with the most conversions decide, against a ranking of all paths."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api import path_roll_up
from api.path_roll_up import Path, as_frequent, most_frequent

BUCKETS = 1 << 16


@given(
    counts=st.dictionaries(
        st.builds(lambda bucket, rest: bucket + rest * BUCKETS, st.integers(0, 7), st.integers(0, 4)),
        st.integers(1, 5),
    ),
    likely=st.integers(1, 9),
    limit=st.integers(1, 12),
    most=st.integers(12, 20),
)
def test_what_the_largest_buckets_decide_is_what_all_paths_say(
    counts: dict[int, int], likely: int, limit: int, most: int
) -> None:
    """Few buckets, each with a few paths, many of them as frequent as others."""
    paths = [Path(path_hash, count, "0") for path_hash, count in counts.items()]
    buckets: Counter[int] = Counter()
    for path in paths:
        buckets[path.hash % BUCKETS] += path.conversions
    read = {bucket for bucket, _ in buckets.most_common(likely)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(path_roll_up, "LIKELY_BUCKETS", likely)
        patch.setattr(path_roll_up, "MAX_PATHS", most)
        decided = most_frequent([path for path in paths if path.hash % BUCKETS in read], limit)
        expected = as_frequent(paths, limit)
    assert decided in (None, expected)
    if len(buckets) < likely:
        assert decided == expected


def test_a_bucket_outside_that_may_be_as_full_leaves_it_undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(path_roll_up, "LIKELY_BUCKETS", 2)
    first, second = Path(1, 9, "0"), Path(2, 5, "0")
    assert most_frequent([first, second], 1) == [first]
    # Another path of 5 conversions could have a bucket of its own.
    assert most_frequent([first, second], 2) is None
    assert most_frequent([first, second], 3) is None
    # There are no others.
    assert most_frequent([first], 2) == [first]


def test_as_frequent_are_all_that_tie_with_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more than are ever listed the lowest hashes, as ``paths.sql`` has it."""
    paths = [Path(5, 1, "0"), Path(3, 1, "0"), Path(4, 2, "0"), Path(1, 1, "0")]
    assert [path.hash for path in as_frequent(paths, 1)] == [4]
    assert [path.hash for path in as_frequent(paths, 2)] == [4, 1, 3, 5]
    assert [path.hash for path in as_frequent(paths, 9)] == [4, 1, 3, 5]
    monkeypatch.setattr(path_roll_up, "MAX_PATHS", 3)
    assert [path.hash for path in as_frequent(paths, 2)] == [4, 1, 3]
