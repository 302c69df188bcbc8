"""A viewer of the live page without a browser: one that reads its server-sent events."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

SECONDS = 60.0


class Viewer:
    """One stream of events, open inside the context.

    Args:
        port: of the page, on 127.0.0.1.
    """

    def __init__(self, port: int) -> None:
        self.sections: dict[str, str] = {}
        """The page as it is shown."""
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)

    def __enter__(self) -> Self:
        self._connection.request("GET", "/events")
        self.response = self._connection.getresponse()
        assert self.response.status == 200
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.response.close()
        self._connection.close()

    def event(self) -> tuple[str, Any]:
        """Return the next event: its name, and its data. A `message` changes the sections; `closed` is the end."""
        name, data = "message", ""
        while line := self.response.readline().decode().rstrip("\n"):
            field, _, value = line.partition(":")
            if field == "event":
                name = value.strip()
            elif field == "data":
                data += value.strip()
        if not data and name == "message":
            return "closed", None
        if name == "message":
            changed = json.loads(data)
            self.sections |= changed
            return name, changed
        return name, None

    def news(self) -> tuple[str, Any]:
        """Return the next event that is more than a sign of life, which comes between others on a slow machine."""
        while (event := self.event())[0] == "tick":
            pass
        return event

    def until(self, condition: Callable[[dict[str, str]], bool]) -> dict[str, str]:
        """Read events until the sections fulfil a condition, and return the sections."""
        deadline = time.monotonic() + SECONDS
        while not condition(self.sections):
            assert time.monotonic() < deadline, self.sections
            assert self.event()[0] in ("message", "tick"), self.sections
        return self.sections
