"""Cost reports made up for tests, in the shape of the real ones; one of each platform, and helpers to read them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from attribution.spend.fact import SpendFact
from attribution.spend.reading import Reading, read_reports
from attribution.spend.rows import Assumed
from attribution.spend.sheet import ReportFile

_REPORTS = Path(__file__).parent / "spend_reports"


def _report(name: str) -> str:
    return (_REPORTS / f"{name}.csv").read_text(encoding="utf-8")


AS_OF = datetime(2026, 10, 5, 8, tzinfo=UTC)
ASSUMED = {"": Assumed(currency="EUR"), "x_ads": Assumed(currency="USD", time_zone="America/Los_Angeles")}

GOOGLE = _report("google")
GOOGLE_ADS_LEVEL = _report("google_ads_level")
GOOGLE_ACCOUNT = _report("google_account")
GOOGLE_NAMES = _report("google_names")
MICROSOFT = _report("microsoft")
META = _report("meta")
META_ADS = _report("meta_ads")
META_AD_SETS = _report("meta_ad_sets")
META_CAMPAIGNS = _report("meta_campaigns")
META_ACTIONS = _report("meta_actions")
META_VALUES = _report("meta_values")
LINKEDIN = _report("linkedin")
TIKTOK = _report("tiktok")
X = _report("x")
PLAIN = _report("plain")
GOOGLE_EXPORT = _report("google_export")
META_EXPORT = _report("meta_export")
MICROSOFT_EXPORT = _report("microsoft_export")
LINKEDIN_EXPORT = _report("linkedin_export")
TIKTOK_EXPORT = _report("tiktok_export")
X_EXPORT = _report("x_export")


def files(*texts: str, as_of: datetime = AS_OF) -> list[ReportFile]:
    """Texts as files named by their place."""
    return [ReportFile(f"report-{place}.csv", text.encode(), as_of) for place, text in enumerate(texts, 1)]


def read(*texts: str, as_of: datetime = AS_OF, assumed: dict[str, Assumed] | None = None) -> Reading:
    """Texts read as files of one import."""
    return read_reports(files(*texts, as_of=as_of), ASSUMED if assumed is None else assumed)


def facts_of(*texts: str, as_of: datetime = AS_OF) -> list[SpendFact]:
    """Facts of texts without anything bad."""
    reading = read(*texts, as_of=as_of)
    assert reading.bad_cells == []
    assert all(file.balances for file in reading.files)
    return reading.facts
