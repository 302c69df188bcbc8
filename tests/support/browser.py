"""Chromium for tests: a page of a given size in light or dark mode, controlled through the DevTools protocol.

The protocol uses two pipes (`--remote-debugging-pipe`) and messages that end in NUL. It needs no port, no driver and no
package.
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
    """Return the path of an installed Chromium, if there is one."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """A browser with one page, which runs inside the `with` block.

    Args:
        program: the path of the browser.
        profile: an empty folder for the browser's files.
    """

    def __init__(self, program: str, profile: Path) -> None:
        self.requests: list[str] = []
        """The URLs that the page requested."""
        self.complaints: list[str] = []
        """The errors and warnings of the browser about the pages."""
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

        def wire() -> None:  # the browser expects descriptors 3 and 4; either pipe may occupy the other's number
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
        """Opens a page in a window of this size in pixels; `scheme` is the reader's preferred colour scheme."""
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
        """Evaluates a JavaScript expression in the page, and returns its value."""
        return self.ask("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def picture(self, file: Path) -> None:
        """Writes a screenshot of the whole page as PNG."""
        picture = self.ask("Page.captureScreenshot", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(picture["data"]))

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Calls a method of the protocol, and returns its result."""
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
        """Return the page's target, if it exists already.

        The browser may list its own surfaces earlier, such as the list of tabs. Their size depends on their content,
        and an attempt to set it fails with "Target does not support metrics override".
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
