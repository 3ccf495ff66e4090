"""The reduced job that the rivals do, and the judge that holds them to it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from bench.headwater import BenchFailed
from bench.rivals.job import DIRECT, GAP_MS, Sums, channel_of, expected_sums
from bench.rivals.race import until_counted

PAGE = "https://shop.example/lamps"


def hit(visitor: str, at: int, url: str = PAGE, referrer: str = "", **more: str) -> dict[str, object]:
    """A hit as the rivals read it."""
    return {"visitor_id": visitor, "occurred_at": at, "url": url, "referrer": referrer, **more}


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """Some process that lives for as long as the test."""
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield sleeper
    sleeper.kill()
    sleeper.wait()


def test_tags_speak_before_a_click_id_and_that_before_the_referrer() -> None:
    """The evidence in its order; the site's own pages are none."""
    foreign = "https://news.example/a"
    assert channel_of(f"{PAGE}?utm_source=x&utm_medium=cpc&gclid=1", foreign) == "x / cpc"
    assert channel_of(f"{PAGE}?gclid=1", foreign) == "google / cpc"
    assert channel_of(PAGE, foreign) == "news.example / referral"
    assert channel_of(PAGE, f"{PAGE}?page=2") is None


def test_a_hit_exactly_at_the_gap_extends_the_session() -> None:
    """One millisecond more starts another."""
    assert expected_sums([hit("a", 0), hit("a", GAP_MS)])[DIRECT]["sessions"] == 1
    assert expected_sums([hit("a", 0), hit("a", GAP_MS + 1)])[DIRECT]["sessions"] == 2


def test_a_purchase_counts_for_the_last_touch_of_its_own_visitor() -> None:
    """Another visitor's touch in between changes nothing; a late hit does not move the session back."""
    found = expected_sums(
        [
            hit("a", 5_000, f"{PAGE}?gclid=1"),
            hit("b", 6_000, PAGE, "https://news.example/"),
            hit("a", 1_000),
            hit("a", 7_000, event="purchase", value="12.50"),
        ]
    )
    assert found == {
        "google / cpc": Sums(channel="google / cpc", sessions=1, conversions=1, revenue=1250),
        "news.example / referral": Sums(
            channel="news.example / referral", sessions=1, conversions=0, revenue=0
        ),
    }


async def test_a_rival_that_counts_twice_is_refused(process: subprocess.Popen[bytes]) -> None:
    """More than there is can never become right again: no waiting."""
    right = Sums(channel=DIRECT, sessions=2, conversions=1, revenue=500)
    wrong = Sums(channel=DIRECT, sessions=3, conversions=1, revenue=500)
    await until_counted("rival", process, {b"k": right}, {DIRECT: right})
    with pytest.raises(BenchFailed, match="4 sessions and conversions counted, there are 3"):
        await until_counted("rival", process, {b"k": wrong}, {DIRECT: right})


async def test_a_rival_that_ends_early_is_noticed(process: subprocess.Popen[bytes]) -> None:
    """Its exit code is told."""
    process.kill()
    process.wait()
    goal = Sums(channel=DIRECT, sessions=1, conversions=0, revenue=0)
    with pytest.raises(BenchFailed, match="ended with exit code -9"):
        await until_counted("rival", process, {}, {DIRECT: goal})
