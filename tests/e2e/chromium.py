"""A page in a real Chromium, driven over the DevTools protocol (https://chromedevtools.github.io/devtools-protocol/)."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp

BINARY = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None
)
WITHIN_S = 20.0
"""For whatever is waited for; it takes milliseconds."""


class Page:
    """One tab."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = count()
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.complaints: list[str] = []
        """What a developer would see in red: exceptions, console errors, refused loads."""

    async def listen(self) -> None:
        """Read what the browser says until it goes away."""
        async for message in self._socket:
            said = message.json()
            if "id" in said:
                self._waiting.pop(said["id"]).set_result(said)
            elif said["method"] == "Runtime.exceptionThrown":
                details = said["params"]["exceptionDetails"]
                self.complaints.append(details.get("exception", details).get("description", details["text"]))
            elif said["method"] == "Runtime.consoleAPICalled" and said["params"]["type"] in (
                "error",
                "assert",
            ):
                self.complaints.append(str([one.get("value") for one in said["params"]["args"]]))
            elif said["method"] == "Log.entryAdded" and said["params"]["entry"]["level"] == "error":
                entry = said["params"]["entry"]
                self.complaints.append(f"{entry['text']} {entry.get('url', '')}")

    async def call(self, method: str, **given: Any) -> Any:
        """One command of the protocol."""
        number = next(self._numbers)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": given})
        said = await asyncio.wait_for(answer, WITHIN_S)
        assert "error" not in said, said
        return said["result"]

    async def value(self, script: str) -> Any:
        """What an expression is worth in the page."""
        said = await self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in said, said["exceptionDetails"]
        return said["result"].get("value")

    async def until(self, script: str) -> None:
        """Wait until an expression is true."""
        deadline = asyncio.get_running_loop().time() + WITHIN_S
        while not await self.value(f"Boolean({script})"):
            shown = await self.value("document.body.innerText")
            assert asyncio.get_running_loop().time() < deadline, f"{script}\n{shown}"
            await asyncio.sleep(0.02)

    async def complained(self, times: int) -> None:
        """Wait until the browser has complained that often: it tells of a refused load after the page knows of it."""
        deadline = asyncio.get_running_loop().time() + WITHIN_S
        while len(self.complaints) < times:
            assert asyncio.get_running_loop().time() < deadline, self.complaints
            await asyncio.sleep(0.02)
        assert len(self.complaints) == times

    async def type(self, selector: str, text: str) -> None:
        """Type into a field instead of what is there, and leave it."""
        await self.value(f"document.querySelector('{selector}').focus()")
        await self.value(f"document.querySelector('{selector}').select()")
        await self.call("Input.insertText", text=text)
        await self.value("document.activeElement.blur()")

    async def put(self, selector: str, value: str) -> None:
        """Choose an option, or a day of a calendar."""
        script = (
            f"(field => {{ field.value = '{value}'; field.dispatchEvent(new Event('change', {{bubbles: true}}));"
            f" return field.value; }})(document.querySelector('{selector}'))"
        )
        assert await self.value(script) == value

    async def click(self, selector: str) -> None:
        """Press the left button in the middle of what is seen there."""
        script = (
            f"(box => {{ box.scrollIntoView(); const r = box.getBoundingClientRect();"
            f" return [r.x + r.width / 2, r.y + r.height / 2]; }})(document.querySelector('{selector}'))"
        )
        x, y = await self.value(script)
        for kind in ("mousePressed", "mouseReleased"):
            await self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    async def go(self, url: str) -> None:
        """Load a page, all of it."""
        await self.call("Page.navigate", url=url)
        await self.until(f"document.readyState === 'complete' && location.href.startsWith('{url}')")


@asynccontextmanager
async def open_page(folder: Path) -> AsyncIterator[Page]:
    """A tab of a browser of its own, whose profile is ``folder``."""
    assert BINARY is not None
    flags = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run")
    offline = ("--disable-background-networking", "--disable-component-update", "--disable-sync")
    browser = subprocess.Popen(
        [BINARY, *flags, *offline, "--remote-debugging-port=0", f"--user-data-dir={folder}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        port = await _port(folder / "DevToolsActivePort", browser)
        async with aiohttp.ClientSession() as http:
            async with http.get(f"http://127.0.0.1:{port}/json/list") as response:
                tabs = await response.json()
            address = next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
            async with http.ws_connect(address, max_msg_size=0) as socket:
                page = Page(socket)
                listening = asyncio.create_task(page.listen())
                for domain in ("Page", "Runtime", "Log"):
                    await page.call(f"{domain}.enable")
                try:
                    yield page
                finally:
                    await page.call("Browser.close")  # in order, so that it leaves nothing in /tmp
                    await asyncio.to_thread(browser.wait, WITHIN_S)
                    listening.cancel()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(browser.pid, signal.SIGKILL)  # its children too: they are of the session that it began
        browser.wait()


async def _port(file: Path, browser: subprocess.Popen[bytes]) -> int:
    deadline = asyncio.get_running_loop().time() + WITHIN_S
    while not (file.exists() and file.read_text().count("\n")):
        assert browser.poll() is None, "Chromium does not start"
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.02)
    return int(file.read_text().split("\n")[0])
