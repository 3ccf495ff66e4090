"""Cost reports: recognised by their header, read to exact facts, every bad cell with its place and remedy."""

from collections import Counter, defaultdict
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from pathlib import Path

import msgspec
import pytest

from attribution.errors import Rejected
from attribution.spend.fact import MICROS, Level, SpendFact
from attribution.spend.formats import FORMATS
from attribution.spend.merging import balance, counted, newest, replace
from attribution.spend.reading import read_reports
from attribution.spend.reconciling import agrees, reconcile, to_text, uncounted
from attribution.spend.rows import READINGS, Assumed
from attribution.spend.sheet import ReportFile
from tests.unit import spend_samples as samples
from tests.unit.spend_samples import AS_OF, facts_of, read

REPORTS = Path(__file__).parents[2] / "../shared/data/ad_cost_reports"
FIRST, SECOND = date(2026, 10, 1), date(2026, 10, 2)


def test_devices_of_a_campaign_are_summed_to_its_day_exactly() -> None:
    first, second = facts_of(samples.GOOGLE, samples.GOOGLE_ACCOUNT, samples.GOOGLE_NAMES)
    assert first == SpendFact(
        day=FIRST, ad_network="google_ads", level=Level.campaign, account_id="77", campaign_id="1",
        campaign="Spring", currency="USD", cost=2_234_568, impressions=150, clicks=15,
        platform_conversions=1_833_333, platform_value=20_250_000, time_zone="America/New_York",
        as_of=datetime(2026, 10, 2, 3, tzinfo=UTC), imported_at=AS_OF,
    )  # fmt: skip
    assert (second.day, second.cost) == (SECOND, 2_000_000)


def test_the_name_is_the_one_valid_on_the_day_and_before_all_versions_the_first() -> None:
    names = {fact.day: fact.campaign for fact in facts_of(samples.GOOGLE, samples.GOOGLE_NAMES)}
    assert names == {FIRST: "Spring", SECOND: "Autumn"}
    only_later = samples.GOOGLE_NAMES.replace("2026-03-01", "2026-12-01")
    assert {fact.campaign for fact in facts_of(samples.GOOGLE, only_later)} == {"Autumn"}


def test_an_ad_takes_campaign_and_ad_set_and_its_conversions_from_the_files_beside() -> None:
    beside = (samples.META_ADS, samples.META_AD_SETS, samples.META_CAMPAIGNS)
    reading = read(samples.META_ACTIONS, samples.META, *beside, samples.META_VALUES)
    red, blue = reading.facts
    assert (red.ad, red.ad_group, red.campaign) == ("Red shoe", "Lookalike", "Prospecting")
    assert (red.cost, red.clicks, red.reach) == (144_000_000, 20, 800)
    assert (red.platform_conversions, red.platform_value) == (2_000_000, 46_820_000)
    assert red.as_of == datetime(2026, 10, 6, 1, 0, 0, 500_000, tzinfo=UTC), "conversions came later"
    assert (blue.platform_conversions, blue.clicks, blue.as_of) == (None, 0, AS_OF)
    actions, values = reading.files[0], reading.files[5]
    assert (actions.used, actions.dropped) == (1, Counter(other_action=1, action_without_spend=1))
    assert (values.used, values.dropped) == (1, Counter(other_action=1))
    assert reading.files[1].empty == Counter(clicks=1, reach=1)


def test_ads_of_an_unknown_campaign_are_listed_and_not_counted() -> None:
    reading = read(samples.META)
    assert reading.facts == []
    assert [(cell.line, cell.column, cell.value, cell.reason) for cell in reading.bad_cells] == [
        (2, "ad_id", "900", "campaign_unknown"),
        (3, "ad_id", "901", "campaign_unknown"),
    ]


def test_hours_are_summed_to_days_and_reach_is_not_summed() -> None:
    first, second = facts_of(samples.TIKTOK)
    assert (first.day, first.cost, first.impressions, first.views) == (FIRST, 332_000, 30, 24)
    assert (first.reach, second.reach) == (None, 1)
    assert first.platform_conversions == 1_000_000


def test_microsoft_prefers_qualified_conversions_and_has_its_own_currency() -> None:
    (fact,) = facts_of(samples.MICROSOFT)
    assert (fact.cost, fact.currency) == (1_550_000, "USD")
    assert (fact.platform_conversions, fact.platform_value) == (1_000_000, 9_900_000)


def test_a_binary_fraction_is_rounded_to_a_micro_and_counted() -> None:
    reading = read(samples.LINKEDIN)
    (fact,) = reading.facts
    assert (fact.cost, fact.currency, fact.reach, fact.time_zone) == (32_380_000, "EUR", 90, "UTC")
    assert reading.files[0].rounded == 1
    lines = reconcile(reading.files, reading.facts)
    assert agrees(lines, rounded=1)
    assert not agrees(lines)


def test_the_day_of_x_begins_at_midnight_of_the_account() -> None:
    (fact,) = facts_of(samples.X)
    assert (fact.day, fact.cost, fact.clicks, fact.installs) == (FIRST, 1_371_670, 1, 3)
    eastern = samples.X.replace("2026-10-01 07:00:00", "2026-09-30 22:00:00")
    (fact,) = read(eastern, assumed={"": Assumed(currency="EUR")}).facts
    assert fact.day == FIRST
    wrong = read(samples.X, assumed={"": Assumed(currency="EUR", time_zone="Europe/Berlin")})
    assert {cell.reason for cell in wrong.bad_cells} == {"bad_day"}


def test_plain_columns_and_a_network_of_ones_own() -> None:
    (fact,) = facts_of(samples.PLAIN)
    assert (fact.ad_network, fact.level, fact.currency) == ("acme_affiliates", Level.campaign, "JPY")
    assert (fact.cost, fact.clicks, fact.time_zone) == (1_500_500_000, 20, "Asia/Tokyo")
    assert fact.as_of == datetime(2026, 10, 1, 15, tzinfo=UTC)
    other_account = samples.PLAIN.replace(",1,7,", ",2,7,")
    assert len({fact.key for fact in facts_of(samples.PLAIN, other_account)}) == 2


@pytest.mark.parametrize(
    ("text", "network", "currency", "costs", "dropped"),
    [
        (samples.GOOGLE_EXPORT, "google_ads", "USD", [1_234_500_000, 10_000_000], {"total": 1}),
        (samples.META_EXPORT, "meta_ads", "GBP", [20_250_000, 10_250_000], {"total": 1}),
        (samples.MICROSOFT_EXPORT, "microsoft_ads", "EUR", [1_001_250_000], {"footer": 1}),
        (samples.LINKEDIN_EXPORT, "linkedin_ads", "USD", [33_330_000], {}),
        (samples.TIKTOK_EXPORT, "tiktok_ads", "USD", [8_000_000], {"total": 1}),
        (samples.X_EXPORT, "x_ads", "USD", [12_340_000], {}),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_downloads_skip_preamble_totals_and_copyright(
    text: str, network: str, currency: str, costs: list[int], dropped: dict[str, int], encoding: str
) -> None:
    reading = read_reports([ReportFile("download.csv", text.encode(encoding), AS_OF)])
    assert reading.bad_cells == []
    assert [(fact.ad_network, fact.currency, fact.cost) for fact in reading.facts] == [
        (network, currency, cost) for cost in costs
    ]
    assert reading.files[0].dropped == dropped
    assert reading.files[0].balances
    assert agrees(reconcile(reading.files, reading.facts))


@pytest.mark.parametrize("delimiter", ["\t", ";"])
def test_other_delimiters_are_found(delimiter: str) -> None:
    text = samples.X_EXPORT.replace(",", delimiter)
    assert [fact.cost for fact in facts_of(text)] == [12_340_000]


def test_a_download_of_several_days_in_one_row_is_refused() -> None:
    text = samples.META_EXPORT.replace("2026-10-01,2026-10-01\n", "2026-10-01,2026-10-31\n", 1)
    reading = read(text)
    (cell,) = reading.bad_cells
    assert (cell.file, cell.line, cell.column) == ("report-1.csv", 3, "Reporting ends")
    assert (cell.reason, "breakdown by day" in cell.remedy) == ("not_one_day", True)
    assert [fact.campaign for fact in reading.facts] == ["Retargeting"]


def test_a_column_that_stands_there_twice_is_refused_where_it_is_read() -> None:
    """Which of two costs is it? Of columns that nobody reads there may be as many as there like."""
    head, row = "day,ad_network,campaign,currency,cost", "2026-10-01,google_ads,A,USD,1.50"
    (cell,) = read(f"{head},Cost\n{row},2.50\n").bad_cells
    assert (cell.file, cell.reason) == ("report-1.csv", "repeated_column")
    assert "'cost' stands 2 times" in cell.remedy
    (fact,) = read(f"{head},note,note\n{row},x,y\n").facts
    assert fact.cost == 1_500_000


def test_an_unknown_file_names_the_nearest_format_and_what_is_missing() -> None:
    text = "Campaign,Currency code,Cost,Impr.\nA,USD,1.00,5\n"
    reading = read(text, samples.GOOGLE)
    (cell,) = reading.bad_cells
    assert (cell.file, cell.reason) == ("report-1.csv", "unknown_report")
    assert "google_ads_export" in cell.remedy
    assert "'day'" in cell.remedy
    assert len(reading.facts) == 2, "the other file is read all the same"
    for other in ("", "a,b\n1,2\n", "\0\1\2"):
        assert {cell.reason for cell in read(other).bad_cells} == {"unknown_report"}
    xlsx = read_reports([ReportFile("r.xlsx", b"PK\x03\x04\x80\xff", AS_OF)])
    assert [cell.reason for cell in xlsx.bad_cells] == ["not_text"]


@pytest.mark.parametrize(
    ("was", "now", "column", "reason"),
    [
        (",1.25,", ",1.25 USD,", "spend", "bad_number"),
        (",1.25,", ',"1,25",', "spend", "bad_number"),
        (",1.25,", ",,", "spend", "empty_cell"),
        (",2,30,", ",2,30.5,", "impressions", "bad_count"),
        (",2,30,", ",-2,30,", "clicks", "bad_count"),
        ("2026-10-01,5,50,USD,Windows", "01.10.2026,5,50,USD,Windows", "date", "bad_day"),
        ("2026-10-01,5,50,USD,Windows", "2026-02-30,5,50,USD,Windows", "date", "bad_day"),
        ("USD,Windows", "US$,Windows", "currency_code", "unknown_currency"),
        (",5,50,USD,Windows", ",5,3.6E+14,USD,Windows", "campaign_id", "damaged_id"),
        (",5,50,USD,Windows", ",5,50,USD,Windows,more", "", "malformed_line"),
    ],
)
def test_a_bad_cell_costs_its_row_only(was: str, now: str, column: str, reason: str) -> None:
    text = samples.MICROSOFT.replace(was, now, 1)
    assert text != samples.MICROSOFT
    reading = read(text)
    (cell,) = reading.bad_cells
    assert (cell.file, cell.line, cell.column, cell.reason) == ("report-1.csv", 2, column, reason)
    assert cell.remedy
    assert [fact.cost for fact in reading.facts] == [300_000]
    assert (reading.files[0].bad, reading.files[0].balances) == (1, True)


def test_lines_are_those_of_the_file_also_behind_a_quoted_line_break() -> None:
    text = samples.GOOGLE_EXPORT.replace("Shoes, red", "Shoes,\nred").replace(",10.00,", ",ten,")
    assert [cell.line for cell in read(text).bad_cells] == [6]


def test_without_a_currency_nothing_is_guessed() -> None:
    reading = read(samples.LINKEDIN, assumed={})
    assert [cell.reason for cell in reading.bad_cells] == ["currency_unknown"]
    with pytest.raises(Rejected, match="ISO 4217"):
        read(samples.LINKEDIN, assumed={"": Assumed(currency="euros")})


def test_a_row_repeated_in_a_file_counts_once_and_an_older_one_not_at_all() -> None:
    lines = samples.GOOGLE.splitlines(keepends=True)
    older = lines[1].replace("2026-10-02 3:", "2026-10-02 1:").replace("1234567", "9")
    for text in (samples.GOOGLE + lines[1] + older, lines[0] + older + "".join(lines[1:]) + lines[1]):
        reading = read(text)
        assert [fact.cost for fact in reading.facts] == [2_234_568, 2_000_000]
        assert reading.files[0].dropped == {"repeated": 1, "superseded": 1}
        assert reading.files[0].balances


def test_two_figures_for_one_thing_and_no_newer_one_are_refused() -> None:
    reading = read(samples.PLAIN + samples.PLAIN.splitlines()[1].replace("1500.5", "7"))
    (cell,) = reading.bad_cells
    assert (cell.line, cell.reason) == (3, "repeated_key")
    assert "Line 2" in cell.remedy


def test_the_same_campaign_by_campaign_and_by_ad_counts_once() -> None:
    by_campaign = facts_of(samples.GOOGLE)
    by_ad = facts_of(samples.GOOGLE_ADS_LEVEL)
    facts = newest({}, [*by_campaign, *by_ad])
    # The ads were read later; the second day is known by campaign only.
    assert sum(fact.cost for fact in counted(facts).values()) == 2_200_000 + 2_000_000
    assert [fact.level for fact in uncounted(facts)] == [Level.campaign]


def test_no_two_formats_are_told_by_the_same_header() -> None:
    required = {
        name: frozenset(column.alternatives for column in format_.columns if column.is_required)
        for name, format_ in FORMATS.items()
    }
    assert all(required.values())
    assert len(set(required.values())) == len(required)


def test_the_printout_says_both_sides() -> None:
    reading = read(samples.X, samples.PLAIN)
    text = to_text(reconcile(reading.files, reading.facts))
    assert text.splitlines()[1:] == [
        "acme_affiliates  JPY       2026-10-01  1500.50  1500.50        0.00",
        "x_ads            USD       2026-10-01  1.37167  1.37167        0.00",
    ]
    line = reconcile(reading.files, reading.facts[:-1])
    assert not agrees(line)


def test_actions_with_the_columns_of_their_values_are_told_by_the_name() -> None:
    given = samples.files(samples.META, samples.META_ADS)
    given.append(ReportFile("basic_ad_action_values.csv", samples.META_ACTIONS.encode(), AS_OF))
    red = read_reports(given, samples.ASSUMED).facts[0]
    assert (red.platform_conversions, red.platform_value) == (None, 2_000_000)


def test_every_column_has_a_reading_and_a_field() -> None:
    beside = {"segment", "mark", "stands", "changed_at", "period_end", "action_type", "index"}
    for format_ in FORMATS.values():
        for column in format_.columns:
            assert column.field in {*SpendFact.__struct_fields__, *beside}, format_.name
            assert column.reading in READINGS, format_.name


def test_a_fact_is_stored_and_read_back_also_without_what_came_later() -> None:
    for fact in facts_of(samples.GOOGLE, samples.X):
        assert msgspec.json.decode(msgspec.json.encode(fact), type=SpendFact) == fact
    least = b'{"day":"2026-10-01","ad_network":"x_ads","level":"ad","currency":"USD","cost":1,'
    least += b'"as_of":"2026-10-02T00:00:00Z","imported_at":"2026-10-02T00:00:00Z"}'
    assert msgspec.json.decode(least, type=SpendFact).reach is None


REPORTS_OF_ALL = (
    *(samples.GOOGLE, samples.GOOGLE_ACCOUNT, samples.GOOGLE_NAMES, samples.MICROSOFT),
    *(samples.META, samples.META_ADS, samples.META_AD_SETS, samples.META_CAMPAIGNS, samples.META_ACTIONS),
    *(samples.LINKEDIN, samples.TIKTOK, samples.X, samples.PLAIN),
)


def test_the_order_of_the_files_does_not_matter() -> None:
    forwards = {fact.key: fact for fact in read(*REPORTS_OF_ALL).facts}
    backwards = {fact.key: fact for fact in read(*reversed(REPORTS_OF_ALL)).facts}
    assert forwards == backwards
    assert len(forwards) == 10


def test_imported_twice_and_then_corrected_the_ledger_says_the_newest_figures() -> None:
    facts, ledger = replace({}, read(*REPORTS_OF_ALL).facts)
    assert len(ledger) == len(facts) == 10
    facts, entries = replace(facts, read(*REPORTS_OF_ALL, as_of=AS_OF + timedelta(days=1)).facts)
    assert entries == []
    corrected = samples.MICROSOFT.replace(",1.25,", ",2.25,")
    later = read(corrected, as_of=AS_OF + timedelta(days=2))
    after, entries = replace(facts, later.facts)
    assert [(entry.sign, entry.fact.cost) for entry in entries] == [(-1, 1_550_000), (1, 2_550_000)]
    late, none = replace(after, read(samples.MICROSOFT, as_of=AS_OF + timedelta(days=1)).facts)
    assert (late, none) == (after, []), "an old file that comes late changes nothing"
    place = ("microsoft_ads", "USD", FIRST)
    assert balance(ledger + entries)[place] == 2_550_000


def test_an_import_with_a_wrong_assumption_is_corrected_by_importing_again() -> None:
    facts, _entries = replace({}, read(samples.TIKTOK, assumed={"": Assumed(currency="USD")}).facts)
    later = read(
        samples.TIKTOK, assumed={"": Assumed(currency="EUR")}, as_of=AS_OF + timedelta(hours=1)
    ).facts
    # The connector's instant is the same in both.
    same_reading = [msgspec.structs.replace(fact, as_of=AS_OF) for fact in later]
    after, entries = replace(facts, same_reading)
    assert {fact.currency for fact in after.values()} == {"EUR"}
    assert Counter((entry.sign, entry.fact.currency) for entry in entries) == {(-1, "USD"): 2, (1, "EUR"): 2}


def test_the_six_real_reports_are_read_to_the_micro() -> None:
    if not REPORTS.exists():
        pytest.skip("the real cost reports (../shared/data/ad_cost_reports) are not beside this repository")
    given = [ReportFile(path.name, path.read_bytes(), AS_OF) for path in sorted(REPORTS.glob("*.csv"))]
    zone = Assumed(currency="USD", time_zone="America/Los_Angeles")
    reading = read_reports(given, {"": Assumed(currency="USD"), "x_ads": zone})
    assert all(file.format and file.balances for file in reading.files)
    lines = reconcile(reading.files, reading.facts)
    print(to_text(lines, by_day=False))
    assert agrees(lines)
    totals: defaultdict[tuple[str, str], Fraction] = defaultdict(Fraction)
    for line in lines:
        totals[line.place[:2]] += line.kept
    assert totals == {
        ("google_ads", "USD"): Fraction("3388.17"),
        ("linkedin_ads", "USD"): Fraction("530.62"),
        ("meta_ads", "USD"): Fraction("643.63"),
        ("microsoft_ads", "USD"): Fraction("946.34"),
        ("tiktok_ads", "USD"): Fraction("444.792"),
        ("x_ads", "USD"): Fraction("138.535734"),
    }
    facts, ledger = replace({}, reading.facts)
    expected = {line.place: int(line.kept * MICROS) for line in lines if line.kept}
    assert balance(ledger) == expected
    assert uncounted(facts) == []
    assert replace(facts, reading.facts)[1] == []
    # Creatives of LinkedIn: no history of creatives is there, and 71 rows have no cost in the billed currency.
    assert Counter((cell.file, cell.reason) for cell in reading.bad_cells) == {
        ("linkedin_ad_analytics_by_creative_data.csv", "campaign_unknown"): 29,
        ("linkedin_ad_analytics_by_creative_data.csv", "empty_cell"): 71,
    }
