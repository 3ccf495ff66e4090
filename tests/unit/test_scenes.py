"""Scenes: numbers that name a device and a country, and timelines that were stored before there were any."""

from __future__ import annotations

import itertools

import msgspec
import pytest

from attribution.acquisition import Acquisition
from attribution.agents import parse_user_agent
from attribution.columns import Columns, check_turns, scene_at, scenes_from
from attribution.enrich import enrich
from attribution.hit import Hit
from attribution.marks import Mark, mark_of
from attribution.policy import AttributionPolicy
from attribution.scenes import COUNTRIES, DEVICES, country_of, scene_names, scene_of
from attribution.stored_past import StoredPast
from attribution.tables import read_rows
from attribution.timeline import Timeline
from sinks.tables import HITS_COLUMNS, SESSIONS_COLUMNS, TOUCHPOINTS_COLUMNS
from streams.rows import hit_row, session_row, touchpoint_row

POLICY = AttributionPolicy()
NOON = 1_700_049_600_000
GOOGLE = Acquisition("Paid Search", "google", "cpc", "brand", click_id="c1", is_tagged_or_paid=True)
PHONE, LAPTOP = scene_of("mobile", "DE"), scene_of("desktop", "FR")
FORMER = bytes.fromhex(
    "9d01c0cf0000018bd2da3e0092cdea60ce052571a0c41800000000000000010000000000000002000000000000000393010305930100"
    "0093a22f61a22f62a22f63919643084d19a56272616e64a26331c40800000000000000059193cf0000018bd2da3e06c410abababababab"
    "abababababababababab32909194cf0000018bd2da3e0504a22f789643084d19a56272616e64a26331"
)
"""What the version before scenes stored of: two hits of a session at noon, the first by an ad, one a day later, a view
5 ms and a purchase by a server 6 ms after noon."""


def test_each_pair_has_a_number_of_its_own() -> None:
    """Small ones, whose MessagePack has three bytes at most."""
    pairs = [*itertools.product(DEVICES, ("", *sorted(COUNTRIES)))]
    numbers = [scene_of(*pair) for pair in pairs]
    assert [scene_names(number) for number in numbers] == pairs
    assert len({*numbers}) == len(pairs)
    assert max(len(msgspec.msgpack.encode(number)) for number in numbers) == 3
    assert scene_of("", "") == 0


def test_numbers_are_part_of_the_stored_format() -> None:
    assert (scene_of("desktop", ""), scene_of("tablet", "AD"), scene_of("mobile", "ZW")) == (1, 35, 5386)


@pytest.mark.parametrize("scene", [-1, 4, 7, 8 * 677, 1 << 40])
def test_other_numbers_are_no_scenes(scene: int) -> None:
    with pytest.raises(ValueError, match="scene"):
        scene_names(scene)


def test_every_device_that_a_user_agent_may_name_has_a_number() -> None:
    """Else hits would name a device that their session does not."""
    assert {device for row in read_rows("devices.tsv") for device in row[1:]} <= {*DEVICES}


@pytest.mark.parametrize(
    ("text", "code"),
    [("de", "DE"), (" DE ", "DE"), ("United States", "US"), ("UNITED KINGDOM", "GB"), ("Türkiye", "TR")]
    + [(text, "") for text in ("", "XX", "T1", "EU", "D", "Nowhere", "DE-BY", "x" * 1000)],
)
def test_countries_are_told_by_code_or_by_name(text: str, code: str) -> None:
    """XX (unknown) and T1 (Tor) are what Cloudflare says of nowhere."""
    assert country_of(text) == code


def test_codes_are_two_capitals() -> None:
    assert len(COUNTRIES) == 250
    assert all(len(code) == 2 and code.isascii() and code.isalpha() and code.isupper() for code in COUNTRIES)


def test_a_hit_that_names_no_country_we_know_has_none() -> None:
    """From producers other than our collector."""
    hit = Hit(event_id="1", site="s", visitor_id="v", occurred_at=1, received_at=1, country="Zz")
    enriched = enrich(hit)
    assert dict(zip(HITS_COLUMNS, hit_row(hit, enriched, "b", 0, 0), strict=True))["country"] == ""
    assert mark_of(hit, enriched, POLICY).scene == 0


@pytest.mark.parametrize(
    "scenes", [[], [0], [5], [0, 5], [5, 0], [5, 5, 5], [5, 5, 6, 6, 5], [0, 0, 5, 0, 6]], ids=str
)
def test_turns_say_the_scene_of_every_hit(scenes: list[int]) -> None:
    """For every scene one entry at the first hit that has it."""
    columns = Columns()
    for number, scene in enumerate(scenes):
        columns.append([(number, number, "/", True, None, scene)])
    assert len(columns.turns) == 2 * sum(a != b for a, b in itertools.pairwise([0, *scenes]))
    assert [scene_at(columns.turns, index) for index in range(len(scenes))] == scenes
    for start in range(len(scenes)):
        assert list(scenes_from(columns.turns, start, len(scenes))) == scenes[start:]
        assert [hit[5] for hit in columns.hits(start)] == scenes[start:]


@pytest.mark.parametrize("turns", [[0], [0, 0], [3, 1], [-1, 1], [1, 1, 1, 2], [0, 1, 1, 1], [0, 4]], ids=str)
def test_turns_that_cannot_be_are_refused(turns: list[int]) -> None:
    with pytest.raises(ValueError, match=r"turn|scene"):
        check_turns(turns, 3)


def test_most_visitors_have_one_scene_of_six_bytes() -> None:
    """The lists with index and number, and the list of no views' scenes, which is left out."""
    bytes_of = []
    for scene in (0, PHONE):
        marks = [Mark(NOON + n, n, True, True, "/", None, ("cd" * 16, "lead"), scene=scene) for n in range(8)]
        timeline = Timeline.empty("s", "v")
        timeline.apply(marks, POLICY)
        bytes_of.append(len(timeline.to_bytes()))
    # The three empty lists of links and views before it, and the turns: [0, scene].
    assert bytes_of[1] - bytes_of[0] == 2 + 5


def test_what_a_former_version_stored_is_read_with_unknown_scenes() -> None:
    timeline = Timeline.from_bytes(FORMER, "site", "visitor")
    assert timeline.hit_count == 5
    assert [session.scene for session in timeline.sessions()] == [0, 0]
    assert [touch.scene for touch in timeline.touchpoints()] == [0, 0, 0]
    past = StoredPast.from_bytes(FORMER, "site", "visitor")
    assert sorted(past.touchpoints, key=repr) == sorted(timeline.touchpoints(), key=repr)
    assert timeline.to_bytes() == FORMER


def test_what_is_taken_back_says_what_a_former_version_wrote() -> None:
    """Its rows have '' in the columns that are new; a session that a known hit joins keeps the scene of its first."""
    timeline = Timeline.from_bytes(FORMER, "site", "visitor")
    change = timeline.apply(
        [
            Mark(NOON + 120_000, 10, True, True, "/d", scene=PHONE),
            Mark(NOON + 86_400_000 - 1, 11, True, True, "/e", GOOGLE, scene=LAPTOP),
        ],
        POLICY,
    )
    signed = [(-1, one) for one in change.sessions_minus] + [(1, one) for one in change.sessions_plus]
    rows = [dict(zip(SESSIONS_COLUMNS, session_row(s, sign, "b", 0, 0), strict=True)) for sign, s in signed]
    assert sorted((row["sign"], row["hits"], row["device"], row["country"]) for row in rows) == [
        *[(-1, 1, "", ""), (-1, 2, "", "")],
        *[(1, 2, "desktop", "FR"), (1, 3, "", "")],
    ]
    touches = [(-1, one) for one in change.touchpoints_minus] + [(1, one) for one in change.touchpoints_plus]
    told = [dict(zip(TOUCHPOINTS_COLUMNS, touchpoint_row(t, s, "b", 0, 0), strict=True)) for s, t in touches]
    assert sorted((row["sign"], row["device"], row["country"]) for row in told) == [
        *[(-1, "", ""), (1, "desktop", "FR")]
    ]
    again = Timeline.from_bytes(timeline.to_bytes(), "site", "visitor")
    assert [session.scene for session in again.sessions()] == [0, LAPTOP]


def test_a_view_has_a_scene_of_its_own() -> None:
    timeline = Timeline.from_bytes(FORMER, "site", "visitor")
    timeline.apply([Mark(NOON + 7, 12, False, False, "/x", GOOGLE, is_view=True, scene=PHONE)], POLICY)
    again = Timeline.from_bytes(timeline.to_bytes(), "site", "visitor")
    assert [touch.scene for touch in again.touchpoints() if touch.is_view] == [0, PHONE]


def test_restated_hits_tell_their_scene() -> None:
    """So a restatement that sends hits again fills in what a former version did not know."""
    timeline = Timeline.from_bytes(FORMER, "site", "visitor")
    change = timeline.restate([Mark(NOON, 1, True, True, "/a", GOOGLE, scene=PHONE)], POLICY)
    assert [one.scene for one in change.sessions_minus + change.sessions_plus] == [0, PHONE]
    assert [one.scene for one in change.touchpoints_minus + change.touchpoints_plus] == [0, PHONE]


def test_robots_and_servers_have_no_device() -> None:
    assert {parse_user_agent(text).device for text in ("curl/8.0", "python-requests/2.32")} == {""}
