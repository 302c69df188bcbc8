"""A viewer of the live page without a browser: it reads the page's server-sent events."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

SECONDS = 60.0


class Viewer:
    """One stream of events, which is open inside the `with` block.

    Args:
        port: the port of the page on 127.0.0.1.
    """

    def __init__(self, port: int) -> None:
        self.sections: dict[str, str] = {}
        """The sections of the page as a browser would show them."""
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
        """Return the name and the data of the next event. A `message` changes sections; `closed` ends the stream."""
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
        """Return the next event that is not a `tick`; on a slow machine, ticks may come between other events."""
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
