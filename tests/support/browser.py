"""Chromium as a test sees it: a page of so many pixels in light or dark, asked through the DevTools protocol.

The protocol goes over two pipes (`--remote-debugging-pipe`), messages ending in NUL: no port, no driver, no package.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.lifeline import die_with_parent
from tests.support.until import until

SECONDS = 60.0
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


def program() -> str | None:
    """Where a Chromium is, if there is one."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One page, on entering the context.

    Args:
        program: the browser.
        profile: an empty folder for what it writes.
    """

    def __init__(self, program: str, profile: Path) -> None:
        self.requests: list[str] = []
        """The addresses that were asked for."""
        self.complaints: list[str] = []
        """What the browser had against the pages."""
        self._command = [
            program,
            *(
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--hide-scrollbars",
                "--remote-debugging-pipe",
            ),
            *("--no-first-run", "--disable-extensions", "--disable-background-networking", "--disable-sync"),
            *(f"--user-data-dir={profile}", "about:blank"),
        ]
        self._number = 0
        self._rest = b""
        self._loaded = False
        self._session: str | None = None

    def __enter__(self) -> Self:
        theirs_in, self._send = os.pipe()
        self._receive, theirs_out = os.pipe()
        tie = die_with_parent()

        def wire() -> None:  # they must be its descriptors 3 and 4, and each may be where the other is to go
            if tie is not None:
                tie()
            first, second = os.dup(theirs_in), os.dup(theirs_out)
            os.dup2(first, 3)
            os.dup2(second, 4)

        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            close_fds=False,
            preexec_fn=wire,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        target = until(self._page, "the browser has opened its page", SECONDS)
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime"):
            self.ask(f"{domain}.enable")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait(SECONDS)
        os.close(self._send)
        os.close(self._receive)

    def open(self, address: str, width: int, height: int, scheme: str = "light") -> None:
        """Opens a page in a window of so many pixels, `scheme` being what the person prefers."""
        self.ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self._loaded = False
        self.ask("Page.navigate", url=address)
        deadline = time.monotonic() + SECONDS
        while not self._loaded:
            self._hear(deadline)

    def evaluate(self, expression: str) -> Any:
        """What an expression of JavaScript gives in the page."""
        return self.ask("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def picture(self, file: Path) -> None:
        """The whole page as PNG."""
        picture = self.ask("Page.captureScreenshot", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(picture["data"]))

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One call; its result."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._send, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + SECONDS
        while True:
            told = self._hear(deadline)
            if told.get("id") == self._number:
                assert "error" not in told, told
                result: dict[str, Any] = told["result"]
                return result

    def _page(self) -> str | None:
        """Return the page's target, if it is there yet.

        The browser may list its own surfaces sooner, such as the list of tabs, whose size follows from their content:
        "Target does not support metrics override".
        """
        targets = self.ask("Target.getTargets")["targetInfos"]
        return next((str(each["targetId"]) for each in targets if each["type"] == "page"), None)

    def _hear(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._rest:
            left = deadline - time.monotonic()
            assert left > 0, "the browser does not answer"
            if select.select([self._receive], [], [], left)[0]:
                chunk = os.read(self._receive, 1 << 20)
                assert chunk, "the browser has ended"
                self._rest += chunk
        message, _, self._rest = self._rest.partition(b"\0")
        told: dict[str, Any] = json.loads(message)
        self._note(told.get("method"), told.get("params", {}))
        return told

    def _note(self, method: str | None, told: dict[str, Any]) -> None:
        if method == "Page.loadEventFired":
            self._loaded = True
        elif method == "Network.requestWillBeSent":
            self.requests.append(told["request"]["url"])
        elif method == "Log.entryAdded":
            self.complaints.append(told["entry"]["text"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(str(told["exceptionDetails"]))
