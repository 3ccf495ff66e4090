"""When a hit happened."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.errors import Rejected
from collector.instants import EARLIEST_MS, MAX_DELAY_MS, parse_instant, place_in_time

NOW = 1_790_000_000_000


def ms(instant: int) -> str:
    return str(instant)


def test_digits_are_epoch_milliseconds_and_iso_without_zone_is_utc() -> None:
    assert parse_instant("1790000000123", "occurred_at") == 1790000000123
    assert parse_instant("2026-09-21T14:13:20.123", "occurred_at") == 1790000000123
    assert parse_instant("2026-09-21T16:13:20.123+02:00", "occurred_at") == 1790000000123
    assert parse_instant("2026-09-21T14:13:20.123Z", "occurred_at") == 1790000000123


@pytest.mark.parametrize("zone", ["02:00", "0200"])
def test_a_plus_that_an_address_has_made_a_blank_is_a_plus(zone: str) -> None:
    assert parse_instant(f"2026-09-21T16:13:20.123 {zone}", "occurred_at") == 1790000000123
    for text in (f"2026-09-21T16:13:20  {zone}", f"T {zone}", f"2026-09-21T {zone}", f"16:13:20 {zone}"):
        with pytest.raises(Rejected, match="ISO 8601"):
            parse_instant(text, "occurred_at")


@pytest.mark.parametrize(
    "text",
    [
        "yesterday",
        "1999-12-31T23:59:59Z",
        "1790000000",  # seconds, not milliseconds
        "-5",
        "9" * 60,
        "2026-13-01",
        "2100-01-01",
        "9999-12-31T23:59:59-14:00",
        "0001-01-01T00:00:00+14:00",
        "<script>",
        "NaN",
        "٣٣٣٣٣٣٣٣٣٣٣٣٣",
    ],
)
def test_absurd_dates_are_refused_by_name(text: str) -> None:
    with pytest.raises(Rejected) as refused:
        place_in_time(NOW, text, "")
    assert (refused.value.reason, refused.value.field) == ("bad_time", "occurred_at")
    with pytest.raises(Rejected) as refused:
        place_in_time(NOW, ms(NOW), text)
    assert (refused.value.reason, refused.value.field) == ("bad_time", "sent_at")


@given(st.text(max_size=40))
def test_any_text_is_an_instant_or_refused(text: str) -> None:
    with contextlib.suppress(Rejected):
        assert parse_instant(text, "occurred_at") >= EARLIEST_MS


def test_without_a_client_time_the_hit_happened_when_heard() -> None:
    assert place_in_time(NOW, "", "") == (NOW, 0, "received")
    assert place_in_time(NOW, "", ms(NOW - 5)) == (NOW, 0, "received")


def test_a_wrong_client_clock_is_corrected_by_what_it_says_at_sending() -> None:
    hour = 3_600_000
    assert place_in_time(NOW, ms(NOW - hour - 7_000), ms(NOW - hour)) == (NOW - 7_000, hour, "")
    assert place_in_time(NOW, ms(NOW + hour - 7_000), ms(NOW + hour)) == (NOW - 7_000, -hour, "")


def test_retries_of_an_event_land_on_the_same_instant() -> None:
    """Network jitter below five seconds moves nothing."""
    happened, sent = ms(NOW - 60_000), ms(NOW - 200)
    places = {place_in_time(NOW + late, happened, sent) for late in (0, 900, 4_799)}
    assert places == {(NOW - 60_000, 0, "")}


def test_old_events_without_sent_at_keep_their_date() -> None:
    assert place_in_time(NOW, "2019-01-01", "") == (1_546_300_800_000, 0, "")


def test_a_claimed_future_is_clamped_beyond_five_minutes() -> None:
    assert place_in_time(NOW, ms(NOW + 300_000), "") == (NOW + 300_000, 0, "")
    assert place_in_time(NOW, ms(NOW + 300_001), "") == (NOW, 0, "clamped")


def test_sending_before_it_happened_or_after_a_week_says_nothing() -> None:
    assert place_in_time(NOW, ms(NOW), ms(NOW - 1)) == (NOW, 0, "received")
    edge = NOW - MAX_DELAY_MS
    assert place_in_time(NOW, ms(edge), ms(NOW)) == (edge, 0, "")
    assert place_in_time(NOW, ms(edge - 1), ms(NOW)) == (NOW, 0, "received")
