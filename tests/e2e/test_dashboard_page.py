"""The dashboard page as a person uses it: a real Chromium, the API as a process, tables that both stages wrote."""

from __future__ import annotations

import multiprocessing
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from chromium import BINARY, Page, open_page
from redis.asyncio import Redis

from api.config import ApiConfig
from api.server import run
from attribution.hit import Hit, encode_envelope
from attribution.policy import AttributionPolicy
from sinks.client import connect
from sinks.migrate import migrate
from sinks.tables import FX_RATES_COLUMNS, SPEND_COLUMNS
from sinks.writer import RowWriter
from streams.fence import FenceStore
from streams.journal_log import MemoryJournals
from streams.records import Batch, Record
from streams.rules import StitchRules
from streams.takeover import Tools, take_over
from streams.topics import CONVERSIONS, HITS

pytestmark = pytest.mark.skipif(BINARY is None, reason="needs Chromium on the path")

DAY = 86_400_000
_NOTHING: dict[str, Any] = {
    **dict.fromkeys(("impressions", "views", "installs"), 0),
    **dict.fromkeys(("reach", "platform_conversions", "platform_value", "bid")),
}
"""What a figure of spend leaves open."""
MORNING = 1_790_928_000_000
"""2026-10-02 08:00:00 UTC."""
KEY = "the read key"
EVIL = "<img src=x onerror=\"window.ran='campaign'\">"
EVIL_USER = "<script>window.ran='user'</script>"
BROWSER = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"
)


def visit(event_id: str, visitor_id: str, day: int, query: str, **given: Any) -> Hit:
    at = MORNING + day * DAY
    url = f"https://shop.example/{query}"
    facts = {"site": "shop", "user_agent": BROWSER, "occurred_at": at, "received_at": at + 9, "url": url}
    return Hit(event_id=event_id, visitor_id=visitor_id, **{**facts, **given})


def purchase(order_id: str, visitor_id: str, day: int, value: str, **given: Any) -> Hit:
    facts = {"event": "purchase", "order_id": order_id, "value": value, "currency": "USD", **given}
    facts.setdefault("occurred_at", MORNING + day * DAY + 3_600_000)
    facts.setdefault("received_at", facts["occurred_at"] + 9)
    facts.setdefault("event_id", f"bought-{order_id}")
    return visit(facts.pop("event_id"), visitor_id, day, "thanks", **facts)


def heard() -> list[list[Hit]]:
    """Day by day; on the last day a visit of the second day arrives late, and changes who is credited."""
    search = "?utm_source=google&utm_medium=cpc&utm_campaign=lamps&gclid=G1"
    mail = "?utm_source=newsletter&utm_medium=email&utm_campaign=" + quote(EVIL)
    partner = "?utm_source=partner&utm_medium=affiliate&utm_campaign=p"
    first = [
        visit("a1", "ann", 0, search),
        visit("a2", "ann", 2, mail, user_id=EVIL_USER),
        visit("a3", "ann-phone", 3, partner, user_id=EVIL_USER),
        purchase("A-1", "ann", 4, "1234.56"),
        visit("b1", "bob", 5, mail),
        purchase("B-1", "bob", 6, "99.99"),
        visit("c1", "cat", 7, search),
        visit("c2", "cat", 9, partner),
        purchase("C-1", "cat", 12, "400"),
        purchase("D-1", "nobody-seen", 12, "7.50", url=""),  # a shop's server says so: no visit
        purchase("E-1", "bob", 13, "30", currency="EUR"),
    ]
    robot = {"user_agent": "Googlebot/2.1"}
    first += [
        purchase("F-1", f"robot-{copy}", 13, "1000000", event_id=copy, **robot) for copy in ("once", "again")
    ]
    first.append(purchase("A-1", "robot", 13, "5000", **robot))
    return [first, [visit("b0", "bob", 4, partner, received_at=MORNING + 20 * DAY)]]


async def fill(redis_url: str, writer: RowWriter) -> None:
    """Both stages of a worker with one partition over what was heard."""
    triggers: list[Record] = []

    async def send(topic: str, key: bytes, value: bytes) -> None:
        if topic == CONVERSIONS:
            triggers.append(Record(len(triggers), 0, key, value))

    async with Redis.from_url(redis_url) as redis:
        tools = Tools(
            "b", FenceStore(redis), MemoryJournals(), writer, send, StitchRules(AttributionPolicy(), "USD", 1)
        )
        stitch = (await take_over(tools, HITS, 0)).stage
        credit = (await take_over(tools, CONVERSIONS, 0)).stage
        hits = credited = 0
        for batch in heard():
            records = [Record(hits + n, 0, b"", encode_envelope([hit])) for n, hit in enumerate(batch)]
            hits += len(batch)
            await stitch.process(Batch(HITS, 0, "b", records))
            await credit.process(Batch(CONVERSIONS, 0, "b", triggers[credited:]))
            credited = len(triggers)


@dataclass(frozen=True)
class Api:
    """The API, asked without the page."""

    url: str
    writer: RowWriter

    def query(self, metrics: str, **given: Any) -> list[list[Any]]:
        """By channel. Channels that only other models credit have a row as well, as they have on the page."""
        names = metrics.split()
        body = {"metrics": names, "dimensions": ["channel"], "order_by": [["revenue", "desc"]], **given}
        rows: list[list[Any]] = self.get("/v1/query", {**body, "spread": True})["rows"]
        place = names.index("revenue") + 1
        alone = self.get("/v1/query", body)["rows"]
        assert [row for row in rows if Decimal(row[place])] == [row for row in alone if Decimal(row[place])]
        return rows

    def coverage(self, model: str) -> Any:
        return self.get("/v1/query", {"metrics": ["revenue"], "model": model})["meta"]["coverage"]

    def get(self, path: str, body: dict[str, Any] | None = None) -> Any:
        headers = {"Authorization": f"Bearer {KEY}"}
        response = httpx.request(
            "POST" if body else "GET", self.url + path, json=body, headers=headers, timeout=60
        )
        assert response.status_code == 200, response.text
        return response.json()


@pytest.fixture
async def api(engine: str, empty_valkey: str, fresh_database: str) -> AsyncIterator[Api]:
    client = connect(engine, fresh_database)
    migrate(client, fresh_database)
    writer = RowWriter(client, fresh_database)
    await fill(empty_valkey, writer)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = ApiConfig(clickhouse=engine, database=fresh_database, read_keys=(KEY,), port=port)
    process = multiprocessing.get_context("spawn").Process(target=run, args=(config,), daemon=True)
    process.start()
    api = Api(f"http://127.0.0.1:{port}", writer)
    try:
        wait_until_ready(api.url)
        yield api
    finally:
        process.kill()
        process.join(10)


def wait_until_ready(url: str) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            if httpx.get(f"{url}/readyz", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
async def page(api: Api, tmp_path: Path) -> AsyncIterator[Page]:
    async with open_page(tmp_path / "profile") as page:
        await page.go(f"{api.url}/")
        yield page


def shown(value: Any) -> str:
    """As the page writes it: money as it came but for its thousands, other numbers short."""
    if value is None:
        return "\N{EN DASH}"
    if isinstance(value, float) and not value.is_integer():
        step = Decimal("0.0001") if abs(value) < 1 else Decimal("0.01")
        return f"{Decimal(value).quantize(step, ROUND_HALF_UP):,}"
    return f"{Decimal(value):,}"


def texts(rows: list[list[Any]]) -> list[list[str]]:
    return [[row[0], *map(shown, row[1:])] for row in rows]


CELLS = (
    "[...document.querySelectorAll('{} tbody tr')].map(line => [...line.cells].map(cell =>"
    " [...cell.childNodes].filter(node => node.nodeName !== 'SMALL').map(node => node.textContent).join('')))"
)
FOLLOWED = "document.querySelector('#answer thead').innerText.includes('visitors')"
ANSWERED = "!document.querySelector('#status').textContent.startsWith('Asking')"


async def cells(page: Page, table: str) -> list[list[str]]:
    found: list[list[str]] = await page.value(CELLS.format(table))
    return found


async def asked(page: Page, answered: str = FOLLOWED) -> None:
    """Press the button, and wait for all that follows."""
    await page.value("document.querySelector('#answer thead').replaceChildren()")
    await page.click("form button")
    await page.until(f"{ANSWERED} && ({answered})")


async def narrow(page: Page) -> None:
    """Nothing sticks out of a telephone's screen; wide tables scroll by themselves."""
    await page.call(
        "Emulation.setDeviceMetricsOverride", width=390, height=844, deviceScaleFactor=2, mobile=True
    )
    assert await page.value("document.documentElement.scrollWidth") <= 390
    await page.call("Emulation.clearDeviceMetricsOverride")


METRICS = "hits sessions conversions revenue cr aov"


async def test_the_channels_are_those_of_the_query(api: Api, page: Page) -> None:
    """Model, basis and days as chosen; every figure as the API says it."""
    visitors = dict(api.get("/v1/query", {"metrics": ["visitors"], "dimensions": ["channel"]})["rows"])
    await page.type("#key", KEY)
    await page.until("document.querySelector('#about').textContent")
    seen = []
    for model in ("linear", "first_touch", "last_touch"):
        await page.put("#model", model)
        await asked(page)
        found = await cells(page, "#answer")
        wanted = texts(api.query(METRICS, model=model))
        assert [row[:-1] for row in found] == wanted
        assert [row[-1] for row in found] == [shown(visitors.get(row[0], 0)) for row in wanted]
        about = {one["name"]: one["sentence"] for one in api.get("/v1/models")["models"]}
        assert about[model] in await page.value("document.querySelector('#about').textContent")
        parts = await page.value("document.querySelector('#coverage').innerText")
        wanted_parts = {part["name"]: part["revenue"] for part in api.coverage(model)["parts"]}
        assert wanted_parts.pop("bot") == "1000000.00", "each order once, and not what people reported too"
        assert [line.split(" (")[0] for line in parts.splitlines()] == [
            *(f"{name.replace('_', ' ')} {shown(revenue)}" for name, revenue in wanted_parts.items()),
            "beside it, dropped: bot 1,000,000.00",
        ]
        assert parts.endswith("(1); 3 robots' hits")
        status = await page.value("document.querySelector('#status').textContent")
        assert status.startswith("1,742.05 USD in 5 conversions; not added up: 30.00 EUR")
        seen.append(found)
    assert seen[0] != seen[1] != seen[2] != seen[0]

    await page.put("#basis", "touch")
    await asked(page)
    assert [row[:-1] for row in await cells(page, "#answer")] == texts(
        api.query(METRICS, model="last_touch", basis="touch")
    )
    await page.put("#model", "first_touch")
    for basis in ("conversion", "touch"):
        await page.put("#basis", basis)
        await page.put("#from", "2026-10-03")
        await page.put("#to", "2026-10-09")
        await asked(page)
        within = {"date_range": ["2026-10-03", "2026-10-09"], "model": "first_touch", "basis": basis}
        wanted = texts(api.query(METRICS, **within))
        assert [row[:-1] for row in await cells(page, "#answer")] == wanted != [row[:-1] for row in seen[1]]
        seen.append(wanted)
    assert seen[3] != seen[4]
    await narrow(page)

    await page.put("#from", "")
    await page.put("#to", "")
    await page.put("#basis", "conversion")
    await page.put("#as_of", "2026-10-16")
    await asked(page, "document.querySelector('#status').textContent.includes('Small:')")
    wanted = texts(api.query("conversions revenue aov", model="first_touch", as_of="2026-10-16"))
    assert await cells(page, "#answer") == wanted
    assert page.complaints == []


async def test_what_ads_cost_follows_where_anything_was_spent(api: Api, page: Page) -> None:
    """Spend in euros beside revenue in both currencies, at the rates of their days; a channel that only cost money."""
    api.writer.insert("fx_rates", FX_RATES_COLUMNS, [("USD", "2026-10-01", "1.25", "ecb", MORNING)], "rates")
    for channel, amount, currency in (("Paid Search", "300", "USD"), ("Display", "80", "EUR")):
        facts = {
            "site": "shop",
            "day": "2026-10-02",
            "ad_network": "n",
            "level": "campaign",
            "channel": channel,
        }
        facts |= {"amount": amount, "currency": currency, "sign": 1, "cause": "report", "clicks": 4}
        instants = ("as_of", "imported_at", "recorded_at")
        row = tuple(
            facts.get(name, MORNING if name in instants else _NOTHING.get(name, "")) for name in SPEND_COLUMNS
        )
        api.writer.insert("spend", SPEND_COLUMNS, [row], channel)
    await page.type("#key", KEY)
    await asked(page)
    metrics = f"{METRICS} spend cpa roas roi"
    wanted = texts(api.query(metrics))
    assert [row[:-1] for row in await cells(page, "#answer")] == wanted
    by_channel = {row[0]: row for row in wanted}
    assert by_channel["Display"][7:] == ["100.00", shown(None), "0", "-1"]
    assert by_channel["Paid Search"][7] == "300.00"
    status = await page.value("document.querySelector('#status').textContent")
    assert status.startswith(
        "1,779.55 USD in 5 conversions; converted: 30.00 EUR = 37.50 USD, oldest rate 14 days before"
    )
    assert "; spend 400.00 USD" in status
    await narrow(page)
    assert page.complaints == []


async def test_paths_one_conversion_and_what_changed(api: Api, page: Page) -> None:
    """Every tab says what the API says; what strangers wrote into URLs is shown, and never run."""
    await page.type("#key", KEY)
    await asked(page)
    await page.click("#tab-paths")
    await page.until("document.querySelector('#paths table')")
    said = api.get("/v1/paths?limit=25")
    found = await cells(page, "#paths")
    wanted = [
        [
            " \N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK} ".join(one["channels"]),
            one["conversions"],
            one["revenue"],
        ]
        for one in said["paths"]
    ]
    assert found[: len(wanted)] == texts(wanted)
    assert len(wanted) == 3
    assert found[len(wanted) : len(wanted) + len(said["channels"])] == [
        [
            one["channel"],
            *map(shown, (one["last_conversions"], one["assisted_conversions"], one["assist_ratio"])),
            *map(shown, (one["participation_conversions"], one["participation_revenue"])),
        ]
        for one in said["channels"]
    ]
    await narrow(page)

    await page.click("#tab-funnel")
    await page.until("document.querySelector('#funnel table')")
    said = api.get("/v1/funnel?by=channel")
    found = await cells(page, "#funnel")
    stages = said["stages"]
    assert [row[:2] for row in found[: len(stages)]] == [
        [one["stage"].replace("_", " "), shown(one["persons"])] for one in stages
    ]
    # Ann (on two devices), Bob and Cat came; who bought as nobody that was ever seen is a person of his own.
    assert {one["stage"]: one["persons"] for one in stages if one["persons"]} == {"visit": 3, "customer": 4}
    # Ann bought after 4 days and an hour, Bob after 2, Cat after 5.
    assert found[len(stages) - 1][2:] == ["100.0 %", "", "4", "", "", "4.0 d", "0.00"]
    assert found[len(stages) :] == [
        [one["channel"], *(shown(stage["persons"]) for stage in one["stages"]), shown(one["spend"])]
        for one in said["channels"]
    ]
    assert {one["channel"] for one in said["channels"]} == {"Paid Search", "Affiliates", "(unattributed)"}
    status = await page.value("document.querySelector('#status').textContent")
    assert status.startswith("4 persons entered; spend 0.00 USD")
    await narrow(page)

    await page.click("#tab-conversion")
    await page.until("document.querySelector('#status').textContent.startsWith('Enter the id')")
    await page.type("#reference", "A-1")
    await asked(page, "document.querySelector('#explained table')")
    said = api.get("/v1/conversions?order_id=A-1")
    found = await cells(page, "#explained")
    touches = said["touchpoints"]
    assert [row[2] for row in found[: len(touches)]] == [one["channel"] for one in touches]
    assert len(touches) >= 3
    assert any(row[4] == EVIL for row in found), "the campaign as it was written"
    assert any(row[1] == f"user:{EVIL_USER}" for row in found), "and the user"
    linear = next(row for row in found if row[0] == "linear")
    given = [one["credits"]["linear"] for one in touches if "linear" in one["credits"]]
    assert linear[1:] == [f"{shown(one['weight'])} = {shown(one['amount'])}" for one in given]
    assert sum(Decimal(one["amount"]) for one in given) == Decimal("1234.56")
    assert "Credit equals the value" in await page.value("document.querySelector('#status').textContent")
    await narrow(page)
    await page.type("#reference", EVIL)
    await asked(page, "document.querySelector('#status').className === 'bad'")
    assert await page.value("document.querySelector('#explained').children.length") == 0
    assert len(page.complaints) == 1, "the 404 that was asked for"
    page.complaints.clear()

    await page.click("#tab-changes")
    await page.until("document.querySelector('#status').textContent.startsWith('Choose the day')")
    await page.put("#since", "2026-10-16")
    await asked(page, "document.querySelector('#changed table')")
    said = api.get(
        "/v1/changes", {"from": "2026-10-16", "to": None, "model": "linear", "basis": "conversion"}
    )
    found = await cells(page, "#changed")
    rows = [
        ["as of", said["before"]],
        *([one["cause"], one] for one in said["causes"]),
        ["as of", said["after"]],
    ]
    assert [row[1:] for row in found[: len(rows)]] == [
        [shown(one["conversions"]), shown(one["revenue"])] for _, one in rows
    ]
    assert [row[0] for row in found[1 : len(rows) - 1]] == ["late touch"]
    assert [row[0] for row in found[len(rows) :]] == [row[0] for row in said["rows"]]
    assert {row[0] for row in found[len(rows) :]} >= {"Email", "Affiliates"}
    await narrow(page)

    assert await page.value("window.ran ?? 'nothing'") == "nothing"
    assert await page.value("document.querySelectorAll('img, body script').length") == 0
    assert page.complaints == []


async def test_a_wrong_key_is_said_and_shows_nothing(page: Page) -> None:
    await page.type("#key", "another")
    await asked(page, "document.querySelector('#status').className === 'bad'")
    said = await page.value("document.querySelector('#status').textContent")
    assert said.startswith("No answer: This read key is not known here.")
    assert await page.value("document.querySelector('#answer').hidden")
    await page.complained(2)  # the new key asks for the models, and so does the button
    assert all("401" in complaint for complaint in page.complaints)
    page.complaints.clear()

    await page.type("#key", KEY)
    await asked(page)
    assert not await page.value("document.querySelector('#answer').hidden")
    assert await page.value("document.querySelector('#status').className") == ""
    assert page.complaints == []


LATE_MODELS = """{
  const real = window.fetch;
  window.fetch = async (path, ...given) => {
    const answer = await real(path, ...given);
    if (!window.held && path === "/v1/models") await new Promise((go) => { window.held = go; });
    return answer;
  };
}"""
"""The first answer about the models is held back until ``held`` is called."""


async def test_a_refusal_that_comes_late_says_nothing_of_the_next_key(page: Page) -> None:
    await page.value(LATE_MODELS)
    await page.type("#key", "another")
    await page.until("window.held")
    await page.type("#key", KEY)
    await asked(page)
    await page.value("window.held()")
    await page.value("new Promise((done) => setTimeout(done))")  # after all that the refusal was to call
    assert (await page.value("document.querySelector('#status').textContent")).startswith("1,742.05 USD")
    assert not await page.value("document.querySelector('#answer').hidden")
