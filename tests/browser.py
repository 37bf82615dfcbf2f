"""A real browser for tests: Chromium without a window, spoken to over its own protocol on a pipe.

What the page logs, asks for over the network and looks like is told as the browser has it.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: As Debian and others name it; None where there is none.
PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser")
_PATIENCE = 60.0  # seconds, for a machine that is busy with other things
#: The browser takes its orders from descriptor 3 and answers on 4.
_START = """
import fcntl, os, sys
read, write = (fcntl.fcntl(int(each), fcntl.F_DUPFD, 10) for each in sys.argv[1:3])
os.dup2(read, 3)
os.dup2(write, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


@dataclass
class Page:
    """An open tab.

    Attributes:
        logged: what the console has, errors and refusals of the content policy included.
        asked: URLs that were asked for.
    """

    browser: Browser
    session: str
    logged: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Gives an order to the tab; its result."""
        return self.browser.call(method, self.session, **params)

    def open(self, path: Path, *, width: int, height: int = 900, dark: bool = False) -> None:
        """Shows a file at this width, in CSS pixels, as a phone would where it is narrow."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", **metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.browser.loaded.discard(self.session)
        self.call("Page.navigate", url=path.as_uri())
        self.browser.wait(lambda: self.session in self.browser.loaded)

    def evaluate(self, expression: str) -> Any:
        """What a line of JavaScript gives."""
        told = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def picture(self, *, height: int = 4_000) -> bytes:
        """The page as PNG, as far down as it takes to see what it looks like."""
        width = self.evaluate("innerWidth")
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        return base64.b64decode(shot["data"])


class Browser:
    """A running browser."""

    def __init__(self, orders: int, answers: int) -> None:
        self._orders = orders
        self._answers = answers
        self._unread = b""
        self._number = 0
        self._results: dict[int, dict[str, Any]] = {}
        self._pages: dict[str, Page] = {}
        self.loaded: set[str] = set()

    def new_page(self) -> Page:
        """A fresh tab that tells what it logs and asks for."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        told = self.call("Target.attachToTarget", targetId=target, flatten=True)
        page = self._pages[told["sessionId"]] = Page(self, told["sessionId"])
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.call(f"{domain}.enable")
        return page

    def call(self, method: str, session: str = "", **params: Any) -> dict[str, Any]:
        """Gives an order; its result."""
        self._number += 1
        number = self._number
        order = {"id": number, "method": method, "params": params}
        if session:
            order["sessionId"] = session
        os.write(self._orders, json.dumps(order).encode() + b"\0")
        self.wait(lambda: number in self._results)
        told = self._results.pop(number)
        assert "error" not in told, told
        return told["result"]

    def wait(self, condition: Any) -> None:
        """Takes in what the browser says until the condition holds."""
        end = time.monotonic() + _PATIENCE
        while not condition():
            assert time.monotonic() < end, "the browser is silent"
            if select.select([self._answers], [], [], 1.0)[0]:
                piece = os.read(self._answers, 1 << 20)
                assert piece, "the browser has ended"
                *whole, self._unread = (self._unread + piece).split(b"\0")
                for message in whole:
                    self._take(json.loads(message))

    def _take(self, message: dict[str, Any]) -> None:
        if "id" in message:
            self._results[message["id"]] = message
            return
        page, params = self._pages.get(message.get("sessionId", "")), message.get("params", {})
        if page is None:
            return
        match message["method"]:
            case "Page.loadEventFired":
                self.loaded.add(page.session)
            case "Log.entryAdded":
                page.logged.append(params["entry"]["text"])
            case "Runtime.consoleAPICalled" | "Runtime.exceptionThrown":
                page.logged.append(json.dumps(params))
            case "Network.requestWillBeSent":
                page.asked.append(params["request"]["url"])


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """A browser with a profile of its own in that folder, ended with the block."""
    assert PROGRAM is not None
    orders_out, orders = os.pipe()
    answers, answers_in = os.pipe()
    command = [
        *(sys.executable, "-c", _START, str(orders_out), str(answers_in), PROGRAM),
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
        *("--no-first-run", "--disable-background-networking", "--disable-component-update"),
        *("--disable-sync", "--hide-scrollbars", "--remote-debugging-pipe"),
        f"--user-data-dir={folder / 'profile'}",
    ]
    process = subprocess.Popen(
        command,
        pass_fds=(orders_out, answers_in),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "HOME": str(folder), "XDG_CONFIG_HOME": str(folder)},
    )
    try:
        os.close(orders_out)
        os.close(answers_in)
        opened = Browser(orders, answers)
        yield opened
        opened.call("Browser.close")
        process.wait(_PATIENCE)
    finally:
        process.kill()
        process.wait()
        os.close(orders)
        os.close(answers)
