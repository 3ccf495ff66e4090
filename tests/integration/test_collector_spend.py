"""Spend over HTTP: durable before the answer, counted against what is known, each bad fact by itself."""

from __future__ import annotations

import base64
import gzip
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from collector_kit import PARTITIONS, SITE, Answer, Client, config_of, running

from attribution.errors import Transient
from attribution.spend.kept import KeptSpend, encode_kept
from attribution.spend.merging import newest
from attribution.spend.report import SpendReport, decode_reports
from collector import kept_spend
from collector.metrics import Counted
from collector.segments import find_segments, read_frames
from collector.spend import MAX_FACTS
from streams.topics import partition_of, spend_key


def fact(**fields: Any) -> dict[str, Any]:
    return {
        "day": "2026-10-01",
        "ad_network": "google_ads",
        "cost": "12.5",
        "currency": "EUR",
        "campaign_id": "1",
        "as_of": "2026-10-02T06:00:00Z",
    } | fields


def taken(directory: Path) -> list[tuple[int, SpendReport]]:
    """Partition and report of everything in the spool of spend."""
    found: list[tuple[int, SpendReport]] = []
    for segment in find_segments(directory / "spend")[0]:
        at = 0
        while at < segment.durable and segment.durable - at > 8:
            frames, at = read_frames(segment.path, at, segment.durable, 1 << 20)
            found += [
                (frame.partition, report)
                for frame in frames
                for report in decode_reports(b"[" + frame.payload + b"]")
            ]
    return found


async def post(client: Client, *facts: Any, **headers: str) -> Answer:
    return await client.post("/v1/spend", {"site": SITE, "facts": list(facts)}, **headers)


def counts(answer: Answer) -> tuple[int, int, int]:
    assert answer.status == 200, answer.json
    return answer.json["new"], answer.json["replaced"], answer.json["unchanged"]


async def test_facts_are_durable_and_on_the_partition_of_site_and_network(
    tmp_path: Path, valkey: str
) -> None:
    before = datetime.now(UTC)
    async with running(config_of(tmp_path, redis=valkey)) as (app, client):
        answer = await post(client, fact(), fact(ad_network="x_ads", currency="USD", cost=1.371662))
        assert answer.json == {"new": 2, "replaced": 0, "unchanged": 0, "refused": []}
        reports = {report.fact.ad_network: (at, report) for at, report in taken(tmp_path)}
        for network, (at, report) in reports.items():
            assert at == partition_of(f"{SITE}|{network}", PARTITIONS)
            assert report.site == SITE
            assert before - timedelta(seconds=1) < report.fact.imported_at
            assert report.received_at == round(report.fact.imported_at.timestamp() * 1000)
        assert reports["google_ads"][1].fact.cost == 12_500_000
        assert reports["x_ads"][1].fact.cost == 1_371_662
        assert app.metrics.value(Counted.accepted, "spend") == 2


async def test_what_came_before_is_known_at_once_and_the_newest_figure_wins(
    tmp_path: Path, valkey: str
) -> None:
    async with running(config_of(tmp_path, redis=valkey)) as (_, client):
        assert counts(await post(client, fact(campaign_id="7"))) == (1, 0, 0)
        assert counts(await post(client, fact(campaign_id="7"))) == (0, 0, 1)
        newer = {"as_of": "2026-10-03T06:00:00Z", "campaign_id": "7"}
        assert counts(await post(client, fact(cost="13", **newer))) == (0, 1, 0)
        assert counts(await post(client, fact(campaign_id="7"))) == (0, 0, 1), "an old figure changes nothing"
        assert counts(await post(client, fact(cost="13", **newer))) == (0, 0, 1)
        assert counts(await post(client, fact(cost="13", **newer | {"currency": "USD"}))) == (0, 1, 0)
        assert len(taken(tmp_path)) == 6, "every reading is told: what is newest is the stage's to say"
        facts = [report.fact for _, report in taken(tmp_path)]
        (last,) = newest({}, facts).values()
        assert (last.cost, last.currency) == (13_000_000, "USD")


async def test_facts_of_one_body_count_one_after_the_other(tmp_path: Path, valkey: str) -> None:
    newer = fact(campaign_id="30", cost="14", as_of="2026-10-04T06:00:00Z")
    async with running(config_of(tmp_path, redis=valkey)) as (_, client):
        answer = await post(
            client, fact(campaign_id="30"), fact(campaign_id="30"), newer, fact(campaign_id="30")
        )
        assert counts(answer) == (1, 1, 2)


async def test_what_the_stage_keeps_counts(tmp_path: Path, empty_valkey: str) -> None:
    async with running(config_of(tmp_path / "first", redis=empty_valkey)) as (_, client):
        assert counts(await post(client, fact(), fact(day="2026-10-02"), fact(campaign_id="2"))) == (3, 0, 0)
    with redis.Redis.from_url(empty_valkey) as store:
        for partition, report in taken(tmp_path / "first"):
            key = spend_key(partition, SITE, "google_ads", report.fact.day)
            store.hset(key, report.fact.key, encode_kept(KeptSpend(report.fact)))
            store.hset(key, "google_ads|2026-10-01|campaign|3", b"\xc1 of another version")
    async with running(config_of(tmp_path / "second", redis=empty_valkey)) as (_, client):
        answer = await post(
            client,
            fact(),
            fact(day="2026-10-02", cost="13", as_of="2026-10-05"),
            fact(campaign_id="3"),
            fact(ad_network="meta_ads"),
        )
        assert counts(answer) == (2, 1, 1)


async def test_a_bad_fact_costs_itself_only(tmp_path: Path, valkey: str) -> None:
    async with running(config_of(tmp_path, redis=valkey)) as (app, client):
        answer = await post(
            client,
            fact(campaign_id="11"),
            fact(cost="12,50"),
            "no fact",
            fact(site="another"),
            fact(campaign_id="11", cost="99"),
            fact(campaign_id="12"),
            fact(as_of=(datetime.now(UTC) + timedelta(days=3)).isoformat()),
        )
        assert counts(answer) == (2, 0, 0)
        assert [(it["index"], it["code"], it["field"]) for it in answer.json["refused"]] == [
            (1, "bad_number", "cost"),
            (2, "wrong_type", ""),
            (3, "unknown_site", "site"),
            (4, "repeated_key", "cost"),
            (6, "bad_instant", "as_of"),
        ]
        assert all(it["message"] for it in answer.json["refused"])
        assert len(taken(tmp_path)) == 2
        assert app.metrics.value(Counted.rejected, "spend", "bad_number") == 1
        assert app.metrics.value(Counted.rejected, "spend", "unknown_site") == 1


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "malformed"),
        (b"[", 400, "malformed"),
        (b"3", 400, "malformed"),
        (b"[]", 400, "missing_field"),
        (b'{"facts": {}}', 400, "malformed"),
        (b'{"facts": [], "site": "shop"}', 400, "missing_field"),
        (b'{"facts": [{}], "site": 3}', 400, "wrong_type"),
        (b'{"site": "shop"}', 400, "missing_field"),
        (b"[" * 5000, 400, "too_deep"),
        (json.dumps([fact(site="other")] * 2).encode(), 401, "unknown_site"),
        (json.dumps([fact(site=SITE, cost="x")] * 2).encode(), 422, "bad_number"),
        (json.dumps([fact(site=SITE, cost="x"), fact(site="o")]).encode(), 400, "bad_number"),
        (json.dumps([fact(site=SITE)] * (MAX_FACTS + 1)).encode(), 413, "batch_too_large"),
        (b'"' + b"x" * 1_000_001 + b'"', 413, "body_too_large"),
    ],
)
async def test_bodies_of_which_nothing_can_be_taken(
    tmp_path: Path, valkey: str, body: bytes, status: int, code: str
) -> None:
    async with running(config_of(tmp_path, redis=valkey)) as (_, client):
        answer = await client.post("/v1/spend", body)
        assert (answer.status, answer.json["code"]) == (status, code)
        assert answer.json["message"]
        assert not (tmp_path / "spend").exists()


async def test_a_body_may_be_one_fact_an_array_or_gzip_and_the_site_basic(
    tmp_path: Path, valkey: str
) -> None:
    basic = "Basic " + base64.b64encode(f"{SITE}:".encode()).decode()
    async with running(config_of(tmp_path, redis=valkey)) as (_, client):
        for number, body in enumerate(
            [
                json.dumps(fact(day="2026-09-01")).encode(),
                json.dumps([fact(day="2026-09-02")]).encode(),
                gzip.compress(json.dumps({"facts": [fact(day="2026-09-03")]}).encode()),
            ]
        ):
            headers = {"content_encoding": "gzip"} if number == 2 else {}
            answer = await client.post("/v1/spend", body, authorization=basic, **headers)
            assert counts(answer) == (1, 0, 0)
        assert (await client.post("/v1/spend", b"x", content_type="text/csv")).status == 415
        assert (await client.get("/v1/spend")).status == 405


async def test_the_spend_key_is_demanded_where_it_is_set(tmp_path: Path, valkey: str) -> None:
    config = config_of(tmp_path, redis=valkey, spend_key="a long secret")
    async with running(config) as (app, client):
        for headers in (
            {},
            {"authorization": "Bearer a long secre"},
            {"authorization": "Basic a long secret"},
        ):
            answer = await post(client, fact(), **headers)
            assert (answer.status, answer.json["code"], answer.json["field"]) == (
                401,
                "unauthorized",
                "authorization",
            )
            assert "a long secret" not in answer.body.decode()
        assert counts(await post(client, fact(day="2026-08-01"), authorization="Bearer a long secret")) == (
            1,
            0,
            0,
        )
        assert app.metrics.value(Counted.rejected, "spend", "unauthorized") == 3
    assert "a long secret" not in repr(config)


async def test_without_redis_nothing_is_said_and_nothing_is_taken(tmp_path: Path) -> None:
    async with running(config_of(tmp_path)) as (_, client):
        answer = await post(client, fact())
        assert (answer.status, answer.json["code"]) == (503, "state_away")
        assert answer.header("retry-after")
        assert not (tmp_path / "spend").exists()


async def test_what_could_not_be_kept_is_still_new(
    tmp_path: Path, valkey: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(config_of(tmp_path, redis=valkey)) as (app, client):
        assert counts(await post(client, fact(campaign_id="20"))) == (1, 0, 0)

        def full(records: Any) -> None:
            raise Transient("the spool is full")

        with monkeypatch.context() as patch:
            spool = await app.outlets.spool_of("headwater.spend.v1")
            patch.setattr(spool, "append_all", full)
            answer = await post(client, fact(campaign_id="21"))
            assert (answer.status, answer.json["code"]) == (503, "not_durable")
        assert counts(await post(client, fact(campaign_id="21"))) == (1, 0, 0)


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_spend, "MAX_RECENT", 3)
    recent = kept_spend.RecentSpend()
    reader_facts = [
        report.fact
        for number in range(5)
        for report in decode_reports(
            json.dumps(
                {
                    "site": SITE,
                    "received_at": 1,
                    "fact": {
                        "day": f"2026-10-0{number + 1}",
                        "ad_network": "acme",
                        "level": "account",
                        "currency": "EUR",
                        "cost": 1,
                        "as_of": "2026-10-09T00:00:00Z",
                        "imported_at": "2026-10-09T00:00:00Z",
                    },
                }
            ).encode()
        )
    ]
    recent.add(SITE, reader_facts, 100.0)
    keys = [each.key for each in reader_facts]
    assert set(recent.over(SITE, {}, keys, 100.0)) == set(keys[2:])
    assert recent.over("other", {}, keys, 100.0) == {}
    assert recent.over(SITE, {}, keys, 100.0 + kept_spend.RECENT_SECONDS + 1) == {}
    recent.add(SITE, reader_facts[:1], 101.0 + kept_spend.RECENT_SECONDS)
    assert len(recent._facts) == 1
