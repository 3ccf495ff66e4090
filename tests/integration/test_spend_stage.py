"""Cost reports through the worker on real servers: twice, then corrected, in any order; labels of late touches."""

from __future__ import annotations

import base64
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
from test_worker import PARTITIONS, T0, House

from attribution.hit import Hit, encode_envelope
from attribution.policy import AttributionPolicy
from attribution.spend.fact import MICROS, Level, SpendFact
from attribution.spend.merging import counted, newest
from attribution.spend.report import SpendReport, encode_report, encode_reports
from sinks.checks import run_checks
from sinks.writer import RowWriter
from streams.refusals import REFUSED
from streams.replay import replay
from streams.topics import HITS, SPEND, partition_of
from streams.worker import Worker, WorkerConfig

EMBEDDED = pytest.mark.parametrize("broker_kind", ["embedded"], indirect=True)
READ_AT = datetime(2026, 10, 3, 6, tzinfo=UTC)
NETWORKS = ("google_ads", "microsoft_ads", "meta_ads", "linkedin_ads", "tiktok_ads", "x_ads")


class SpendHouse(House):
    """Workers that look for touches all the time."""

    def worker(self) -> Worker:
        return Worker(
            WorkerConfig(
                kafka=self.kafka,
                kafka_idempotent=self.idempotent,
                redis=self.redis,
                partitions=PARTITIONS,
                policy=AttributionPolicy(),
                default_currency="USD",
                batch_max_hits=1_000,
                batch_wait_ms=20,
                metrics_port=0,
                writer_factory=lambda: RowWriter(self.client, self.database),
                touches_every_seconds=0.0,
            )
        )

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self.client.query(sql.replace("{db}", self.database)).result_rows]

    def failed(self) -> list[str]:
        return [check.name for check in run_checks(self.client, self.database) if not check.passed]

    def balance(self, table: str) -> dict[tuple[str, str], Decimal]:
        """Money by currency and day."""
        day, amount = ("day", "amount") if table == "spend" else ("toDate(hour, 'UTC')", "spend")
        rows = self.ask(f"SELECT currency, toString({day}), sum({amount}) FROM {{db}}.{table} GROUP BY ALL")
        return {(currency, at): money for currency, at, money in rows if money}


@pytest.fixture
def house(
    fresh_broker: str, takes_idempotent: bool, empty_valkey: str, engine: str, fresh_database: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> SpendHouse:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    return SpendHouse(fresh_broker, takes_idempotent, empty_valkey, engine, fresh_database)


def fact(cost: int, hour: int = 0, **given: Any) -> SpendFact:
    """``cost`` in micros, read ``hour`` hours after the first."""
    told = {"day": date(2026, 10, 1), "ad_network": "google_ads", "level": Level.campaign, "currency": "EUR"}
    read_at = READ_AT + timedelta(hours=hour)
    return SpendFact(**told | given, cost=cost, as_of=read_at, imported_at=read_at)


def report(one: SpendFact) -> SpendReport:
    return SpendReport(site="s", fact=one, received_at=T0)


def expected(facts: Iterable[SpendFact]) -> dict[tuple[str, str], Decimal]:
    """The newest figures that count, by currency and day."""
    sums: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for one in counted(newest({}, facts)).values():
        sums[one.currency, one.day.isoformat()] += Decimal(one.cost) / MICROS
    return {place: amount for place, amount in sums.items() if amount}


def touch(visitor: str, query: str) -> Hit:
    url = f"https://shop.example/?{query}"
    return Hit(event_id=visitor, site="s", visitor_id=visitor, occurred_at=T0, received_at=T0, url=url)


async def deliver(send: Any, facts: Sequence[SpendFact], random: Random) -> None:
    """In records of random sizes."""
    left = list(facts)
    random.shuffle(left)
    while left:
        size = random.randint(1, 4)
        part, left = left[:size], left[size:]
        by_key: defaultdict[str, list[SpendReport]] = defaultdict(list)
        for one in map(report, part):
            by_key[one.partition_key].append(one)
        for key, reports in by_key.items():
            await send(SPEND, key, encode_reports(reports))


async def test_reports_of_six_networks_twice_then_corrected_sum_up_to_the_newest_figures(
    house: SpendHouse,
) -> None:
    """By campaign, ad and account, in two currencies; touches by id and by name come before, between and after."""
    random = Random(5)
    first = [
        fact(
            random.randrange(1, 90_000_000),
            ad_network=network,
            campaign_id=f"{place}{number}",
            campaign=f"{network} {number}",
            day=date(2026, 10, day),
            currency="USD" if place % 2 else "EUR",
            clicks=random.randrange(9),
        )
        for place, network in enumerate(NETWORKS)
        for number in range(3)
        for day in (1, 2)
    ]
    account = fact(
        999_000_001, ad_network="x_ads", level=Level.account, account_id="only", day=date(2026, 10, 4)
    )
    crowded_out = fact(888_000_000, ad_network="x_ads", level=Level.account, currency="USD")
    restated = [
        msgspec.structs.replace(one, cost=one.cost + 1, as_of=one.as_of + timedelta(days=1))
        for one in first[::3]
    ]
    by_ad = [
        fact(
            random.randrange(1, 9_000_000), 48, campaign_id="00", campaign="google_ads 0", level=Level.ad,
            ad_group_id="1", ad_id=ad,
        )
        for ad in "pqr"
    ]  # fmt: skip
    everything = [*first, account, crowded_out, *restated, *by_ad]
    async with house.working(), house.producing() as send:
        await send(HITS, "v0", encode_envelope([touch("v0", "gclid=x&utm_campaign=00")]))
        await deliver(send, [*first, account, crowded_out], random)
        await send(
            HITS,
            "v1",
            encode_envelope([touch("v1", "utm_source=ig&utm_medium=cpc&utm_campaign=META_ads++1")]),
        )
        await deliver(send, first, random)
        await deliver(send, [*restated, *by_ad, *first], random)
        await house.until(lambda: house.balance("spend") == expected(everything), "the newest figures")
        await send(
            HITS,
            "v2",
            encode_envelope([touch("v2", "utm_source=linkedin&utm_medium=paid-social&utm_campaign=30")]),
        )
        labels = (
            "SELECT DISTINCT channel, source, medium, campaign_label FROM {db}.spend WHERE campaign_id = '%s'"
        )
        labels += " GROUP BY ALL HAVING sum(sign) > 0"
        await house.until(
            lambda: house.ask(labels % "30") == [("Paid Social", "linkedin", "paid-social", "30")],
            "a late touch, by id",
        )
        await house.until(
            lambda: house.ask(labels % "21") == [("Paid Social", "ig", "cpc", "META_ads  1")],
            "a touch, by name",
        )
        await house.until(
            lambda: house.ask(labels % "00") == [("Paid Search", "google", "cpc", "00")], "a touch, by id"
        )
    assert house.ask(labels % "42") == [("Paid Social", "tiktok", "cpc", "tiktok_ads 2")]
    assert house.balance("spend") == expected(everything)
    assert house.balance("spend_metrics") == house.balance("all_metrics") == expected(everything)
    causes = {cause for (cause,) in house.ask("SELECT DISTINCT cause FROM {db}.spend")}
    assert {"report", "level", "match"} >= causes >= {"report", "match"}
    assert house.failed() == []
    assert house.count("dead_letters") == 0


def costs(house: SpendHouse, cost: Decimal) -> bool:
    """Whether that is all that stands."""
    return bool(house.balance("spend") == {("EUR", "2026-10-01"): cost})


@EMBEDDED
async def test_a_worker_that_comes_after_goes_on_where_the_last_one_stood(house: SpendHouse) -> None:
    async with house.producing() as send:
        for hour, cost in enumerate((5, 7, 6)):
            one = fact(cost * MICROS, hour, campaign_id="1")
            async with house.working():
                await send(SPEND, report(one).partition_key, encode_report(report(one)))
                await house.until(partial(costs, house, Decimal(cost)), "it")
    assert house.count("spend") == 5
    assert house.failed() == []


@EMBEDDED
async def test_what_cannot_be_processed_is_a_dead_letter_by_name_and_can_be_replayed(
    house: SpendHouse,
) -> None:
    good = report(fact(3_000_000, campaign_id="1"))
    nameless = report(fact(1, campaign_id=""))
    other = next(
        one for number in range(99)
        for one in [msgspec.structs.replace(good, site=str(number))]
        if place_of(one) != place_of(good)
    )  # fmt: skip
    async with house.working(), house.producing() as send:
        await send(SPEND, good.partition_key, b"[{},%s,%s]" % (encode_report(nameless), encode_report(other)))
        await send(SPEND, good.partition_key, encode_report(good))
        await house.until(lambda: house.count("dead_letters") == 3, "dead letters")
        await house.until(lambda: house.count("spend") == 1, "the good one")
        found = house.ask("SELECT reason, payload_base64 FROM {db}.dead_letters ORDER BY reason")
        assert [(reason, base64.b64decode(payload)) for reason, payload in found] == [
            ("campaign_unknown", encode_report(nameless)),
            ("malformed", b"{}"),
            ("wrong_partition", encode_report(other)),
        ]
        counts = await replay(
            house.client, RowWriter(house.client, house.database), house.kafka, idempotent=house.idempotent,
            partitions=PARTITIONS, database=house.database, reason="wrong_partition",
        )  # fmt: skip
        assert counts == {"wrong_partition": 1}
        await house.until(lambda: house.count("spend") == 2, "the misplaced one, now in its place")
    assert house.failed() == []


def place_of(one: SpendReport) -> int:
    return partition_of(one.partition_key, PARTITIONS)


@EMBEDDED
async def test_rows_that_clickhouse_refuses_cost_their_day_only(house: SpendHouse) -> None:
    """What was kept of that day is as before, so the replayed report makes the difference to what stands."""
    change = "ALTER TABLE {db}.spend"
    days = [date(2026, 10, number) for number in (1, 2, 3)]
    async with house.working(), house.producing() as send:
        await deliver(send, [fact(MICROS, campaign_id="1", day=day) for day in days], Random(1))
        await house.until(lambda: house.count("spend") == 3, "what stands")
        house.client.command(
            f"{change} ADD CONSTRAINT cheap CHECK abs(amount) < 5".replace("{db}", house.database)
        )
        dear = [
            fact(4 * MICROS, 1, campaign_id="1", day=days[0]),
            fact(9 * MICROS, 1, campaign_id="1", day=days[1]),
        ]
        await send(SPEND, report(dear[0]).partition_key, encode_reports(map(report, dear)))
        await house.until(lambda: house.count("dead_letters") == 1, "the dead letter")
        wanted = {("EUR", day.isoformat()): Decimal(cost) for day, cost in zip(days, (4, 1, 1), strict=True)}
        await house.until(lambda: house.balance("spend") == wanted, "the other days")
        ((reason, topic),) = house.ask("SELECT reason, topic FROM {db}.dead_letters")
        assert (reason, topic) == (REFUSED, SPEND)
        house.client.command(f"{change} DROP CONSTRAINT cheap".replace("{db}", house.database))
        await replay(
            house.client, RowWriter(house.client, house.database), house.kafka, idempotent=house.idempotent,
            partitions=PARTITIONS, database=house.database,
        )  # fmt: skip
        wanted["EUR", days[1].isoformat()] = Decimal(9)
        await house.until(lambda: house.balance("spend") == wanted, "all days")
    assert house.failed() == []


@EMBEDDED
async def test_what_clicks_cost_stands_until_their_campaign_is_reported(house: SpendHouse) -> None:
    """A reload, a robot and an unfilled macro cost nothing; a report replaces, at any level, whenever it was read."""
    paid = "utm_source=taboola&utm_medium=cpc&utm_campaign"
    clicks = [
        touch("v1", f"{paid}=Autumn&tblci=A&hw_cost=0.35"),
        touch("v2", f"{paid}=Autumn&tblci=A&hw_cost=0.35"),
        touch("v3", f"{paid}=Autumn&tblci=B&hw_cost=0.25"),
        touch("v4", f"{paid}=Winter&tblci=C&hw_cost=0.0625&hw_currency=EUR"),
        touch("v5", f"{paid}=Winter&tblci=D&hw_cost=%7Bcpc%7D"),
        msgspec.structs.replace(touch("v6", f"{paid}=Autumn&tblci=E&hw_cost=9"), user_agent="Googlebot/2.1"),
    ]
    day = datetime.fromtimestamp(T0 / 1000, UTC).date()
    on = {"day": day, "ad_network": "taboola", "currency": "USD"}
    autumn = fact(1_000_000, -999, campaign="autumn", campaign_id="7", account_id="1", **on)

    async def comes_to(usd: str, eur: str) -> None:
        sums = {("USD", day.isoformat()): Decimal(usd), ("EUR", day.isoformat()): Decimal(eur)}
        stands = {place: amount for place, amount in sums.items() if amount}
        await house.until(
            lambda: house.balance("spend") == house.balance("spend_metrics") == stands, f"{sums}"
        )

    async with house.working(), house.producing() as send:
        for hit in clicks:
            await send(HITS, hit.visitor_id, encode_envelope([hit]))
        await comes_to("0.6", "0.0625")
        by_label = "SELECT channel, source, campaign_label, sum(clicks) FROM {db}.spend GROUP BY ALL HAVING sum(sign)"
        await house.until(
            lambda: (
                sorted(house.ask(by_label))
                == [("Paid Other", "taboola", "Autumn", 2), ("Paid Other", "taboola", "Winter", 1)]
            ),
            "labels of their touches",
        )
        await send(SPEND, "s|taboola", encode_report(report(autumn)))
        await comes_to("1", "0.0625")
        late = touch("v7", f"{paid}=Autumn&tblci=F&hw_cost=5")
        await send(HITS, "v7", encode_envelope([late]))
        await house.until(lambda: house.count("click_costs") == 7, "one more click")
        account = fact(4_000_000, level=Level.account, account_id="2", **on)
        await send(SPEND, "s|taboola", encode_report(report(account)))
        await comes_to("5", "0")
        assert house.failed() == []
    reasons = house.ask(
        "SELECT reason, toInt64(count()) FROM {db}.click_costs GROUP BY reason ORDER BY reason"
    )
    assert reasons == [("", 5), ("bot", 1), ("unfilled_macro", 1)]
    told = house.ask("SELECT cause, level FROM {db}.spend WHERE sign = 1 GROUP BY ALL ORDER BY ALL")
    assert ("live", "live") in told
    assert ("report", "campaign") in told
    early = """SELECT count() FROM (
        SELECT sum(sum(sign)) OVER (PARTITION BY level, campaign, currency ORDER BY recorded_at) AS stands
        FROM {db}.spend GROUP BY level, campaign, currency, recorded_at) WHERE stands < 0"""
    assert house.ask(early) == [(0,)]
