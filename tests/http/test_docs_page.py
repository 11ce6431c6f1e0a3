"""The page to try the interface: served whole by the server, and working in a real browser where there is one."""

import asyncio
import json
import re
import shutil
from pathlib import Path

import aiohttp
import pytest

from tests.http.harness import Api
from tests.support.servers import free_port

pytestmark = pytest.mark.storage

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


async def test_the_page_and_its_parts_are_served_and_name_no_other_host(api: Api) -> None:
    home = await api.call("GET", "/")
    assert (home.status, home.headers["Location"]) == (302, "/docs")
    for path, kind in (("/docs", "text/html"), ("/docs/page.js", "text/javascript"), ("/docs/page.css", "text/css")):
        part = await api.call("GET", path)
        assert part.status == 200
        assert part.headers["Content-Type"].startswith(kind)
        policy = part.headers["Content-Security-Policy"]
        assert "unsafe" not in policy
        assert not re.search(r"https?://(?!example\.org)", part.body), "the page loads nothing from elsewhere"
        assert "innerHTML" not in part.body


class Navigated(Exception):
    """The page was replaced while a script ran in it."""


class Browser:
    """Headless Chromium, driven over its own debugging protocol."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._count = 0

    async def run(self, script: str) -> object:
        """The value of a promise made in the page; fails with what the page failed with."""
        self._count += 1
        parameters = {"expression": f"(async () => {{ {script} }})()", "awaitPromise": True, "returnByValue": True}
        await self._socket.send_json({"id": self._count, "method": "Runtime.evaluate", "params": parameters})
        while True:
            message = await self._socket.receive_json()
            if message.get("id") == self._count:
                if "error" in message:
                    raise Navigated(message["error"])
                result = message["result"]
                assert "exceptionDetails" not in result, result
                return result["result"].get("value")

    async def wait_for(self, condition: str) -> None:
        script = f"""
            while (!({condition})) await new Promise((go) => requestAnimationFrame(go));
        """
        async with asyncio.timeout(20):
            while True:
                try:
                    _ = await self.run(script)
                except Navigated:
                    continue
                return


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH")
async def test_a_person_registers_makes_an_event_and_reads_it_in_a_browser(api: Api, tmp_path: Path) -> None:
    assert CHROMIUM is not None
    port = free_port()
    url = str(api.client.make_url("/docs"))
    process = await asyncio.create_subprocess_exec(
        CHROMIUM,
        *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
        *(f"--remote-debugging-port={port}", f"--user-data-dir={tmp_path}", url),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stderr is not None
        async with asyncio.timeout(60):
            while b"DevTools listening" not in await process.stderr.readline():
                assert process.returncode is None, "chromium did not start"
        async with aiohttp.ClientSession() as http, asyncio.timeout(60):
            async with http.get(f"http://127.0.0.1:{port}/json/list") as response:
                pages = json.loads(await response.read())
            [target] = [page for page in pages if page["type"] == "page"]
            async with http.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                await use_the_page(Browser(socket))
    finally:
        process.kill()
        _ = await process.communicate()


async def use_the_page(browser: Browser) -> None:
    await browser.wait_for("document.querySelectorAll('#operations a').length > 20")
    await browser.wait_for("document.querySelectorAll('#problems tr').length > 20")
    submit = "document.getElementById('send').click();"
    answered = "!document.getElementById('answer').hidden && !document.getElementById('send').disabled"
    status = "return document.getElementById('status').textContent;"

    _ = await browser.run("location.hash = '#postV1AuthRegister';")
    await browser.wait_for("document.getElementById('operation').textContent.includes('Make an account')")
    _ = await browser.run(submit)
    await browser.wait_for(answered)
    assert str(await browser.run(status)).startswith("201")
    assert await browser.run("return document.getElementById('token').value.length > 100;")

    _ = await browser.run("location.hash = '#postV1Events';")
    await browser.wait_for("document.getElementById('operation').textContent.includes('Make an event')")
    _ = await browser.run(submit)
    await browser.wait_for(answered)
    assert str(await browser.run(status)).startswith("201")

    _ = await browser.run("location.hash = '#getV1Events';")
    await browser.wait_for("document.getElementById('operation').textContent.includes('Find events')")
    _ = await browser.run("document.getElementById('parameter-limit').value = '1';" + submit)
    await browser.wait_for(answered)
    body = json.loads(str(await browser.run("return document.getElementById('body').textContent;")))
    assert len(body["items"]) == 1

    _ = await browser.run("document.getElementById('parameter-limit').value = 'many';" + submit)
    await browser.wait_for("document.getElementById('status').textContent.startsWith('400')")
    assert "invalid_request" in str(await browser.run("return document.getElementById('body').textContent;"))
