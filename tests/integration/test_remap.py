"""``headwater replay deliveries`` with workers on real servers: a wrong mapping, the corrected one, and the books."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from deal_worlds import hubspot, of_hubspot, postback
from rich.console import Console
from test_worker import PARTITIONS, House

from attribution.deals.delivery import encode_deliveries
from attribution.deals.settings_file import parse_deals
from attribution.errors import Misconfigured
from runtime.remap import RemapOptions, run_remap
from runtime.settings import Settings
from sinks.checks import run_checks
from streams.topics import DEALS
from streams.worker import Worker

WRONG = """
[own_fields."hubspot/deal"]
amount = "owner"
"""
RIGHT = """
[stages."hubspot/deal"]
"9731" = "won"
[own_fields."hubspot/deal"]
betrag = "amount"
[postback_events]
install = "purchase"
"""
DELIVERIES = [
    of_hubspot(
        [
            hubspot(2, "deal", 7, "deal_currency_code", "EUR"),
            hubspot(3, "deal", 7, "amount", "1"),
            hubspot(4, "deal", 7, "betrag", "12000"),
            hubspot(9, "deal", 7, "dealstage", "9731"),
        ]
    ),
    postback(5, click_id="g1", transaction_id="t1", payout="12.50", currency="EUR", event="install"),
]


class Company(House):
    """Its workers read deliveries as a file says."""

    deals_file: Path

    def worker(self) -> Worker:
        deals = parse_deals(self.deals_file.read_text(), "USD")
        return Worker(replace(super().worker()._config, deals=deals))

    def remap(self, **options: Any) -> str:
        """What the command says."""
        settings = Settings(
            kafka=self.kafka,
            kafka_idempotent=self.idempotent,
            redis=self.redis,
            clickhouse=self.clickhouse,
            database=self.database,
            partitions=PARTITIONS,
            data_dir=self.deals_file.parent,
            deals_file=self.deals_file,
        )
        said = StringIO()
        assert run_remap(settings, replace(RemapOptions(), **options), Console(file=said, width=200)) == 0
        return said.getvalue()

    def revenue(self) -> dict[str, Decimal]:
        """By type what linear gives."""
        found = self.client.query(
            f"SELECT conversion_type, sum(amount) AS total FROM {self.database}.credits WHERE model = 'linear'"
            " GROUP BY conversion_type HAVING total != 0"
        )
        return dict(found.result_rows)

    def open_letters(self) -> int:
        found = self.client.query(
            f"SELECT count() FROM {self.database}.dead_letters WHERE dead_letter_id NOT IN"
            f" (SELECT dead_letter_id FROM {self.database}.dead_letter_replays)"
        )
        return int(found.result_rows[0][0])


@pytest.fixture
def company(
    fresh_broker: str,
    takes_idempotent: bool,
    empty_valkey: str,
    engine: str,
    fresh_database: str,
    tmp_path: Path,
) -> Company:
    made = Company(fresh_broker, takes_idempotent, empty_valkey, engine, fresh_database)
    made.deals_file = tmp_path / "deals.toml"
    return made


async def test_a_corrected_file_is_replayed_over_what_was_delivered(company: Company) -> None:
    """The stage in which deals are won was not known, its amount was another field, an event of a network was not."""
    company.deals_file.write_text(WRONG)
    async with company.producing() as produce, company.working():
        for one in DELIVERIES:
            await produce(DEALS, one.site, encode_deliveries([one]))
        await company.until(lambda: company.count("deliveries") == 2, "deliveries")
        await company.until(lambda: company.open_letters() == 1, "the dead letter")
        company.deals_file.write_text(RIGHT)
        with pytest.raises(Misconfigured):  # the worker still reads as the old file says
            await asyncio.to_thread(company.remap)
    assert company.revenue() == {}
    async with company.working():
        # Of the stage the new rules alone see to: what was told is told anew. The amount takes the payload.
        said = await _once_it_may(company, dry_run=True)
        assert "2 deliveries read again; 1 that could not be read can be now, 0 still cannot" in said
        assert company.open_letters() == 1
        await asyncio.to_thread(company.remap)
        pipeline = {"opportunity": Decimal(12_000)}
        assert company.revenue() == {"deal_won": Decimal(12_000), "purchase": Decimal("12.5"), **pipeline}
        assert company.open_letters() == 0
        entries = company.count("credits")
        assert "0 objects and 0 conversions change" in await asyncio.to_thread(company.remap)
        assert company.count("credits") == entries
    checks = run_checks(company.client, company.database)
    assert [check.name for check in checks if check.findings] == []


async def _once_it_may(company: Company, *, dry_run: bool) -> str:
    """As soon as the worker has said by which mapping it reads."""
    async with asyncio.timeout(40):
        while True:
            try:
                return await asyncio.to_thread(company.remap, dry_run=dry_run)
            except Misconfigured:
                await asyncio.sleep(0.1)
