"""A parent of a fleet of stand-ins, in a process of its own."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from tests.support.processes import descendants
from tests.support.until import until

BOUND = 60.0
"""Seconds that anything here may take on a busy machine."""


STAND_IN = "stand_in.py"


class Parent:
    """A parent that runs, what it logged, and what its consumers noted."""

    def __init__(self, log: Path, lives: dict[int, list[str]], **options: Any) -> None:
        self.log = log
        self.events: list[dict[str, Any]] = []
        app = json.dumps({"log": str(log), "lives": lives})
        self._errors = log.with_suffix(".err")
        with self._errors.open("w") as errors:
            self.process = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("parent.py")), app, json.dumps(options)],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd=log.parent,
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Parent:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        below = descendants(self.process.pid)
        self.process.kill()  # first, or it would replace its consumers
        self.process.wait()
        for process in [*below, *self._left()]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._reader.join(BOUND)

    def _left(self) -> list[psutil.Process]:
        """Return the stand-ins that still run. The number of one that has ended may be another process's by now."""
        found = []
        for pid in {line["pid"] for line in self.notes()}:
            with contextlib.suppress(psutil.NoSuchProcess):
                process = psutil.Process(pid)
                if any(word.endswith(STAND_IN) for word in process.cmdline()):
                    found.append(process)
        return found

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self.events.append(json.loads(line))

    def notes(self, what: str | None = None) -> list[dict[str, Any]]:
        if not self.log.exists():
            return []
        whole, _, _ = self.log.read_text().rpartition("\n")  # the last line may be half written
        lines = [json.loads(line) for line in whole.splitlines()]
        return [line for line in lines if what is None or line["what"] == what]

    def noted(self, what: str, count: int = 1) -> list[dict[str, Any]]:
        def enough() -> list[dict[str, Any]] | None:
            notes = self.notes(what)
            return notes if len(notes) >= count else None

        found: list[dict[str, Any]] = until(enough, f"{count} × {what}, but {self.notes()}")
        return found

    def logged(self, event: str, count: int = 1) -> list[dict[str, Any]]:
        def enough() -> list[dict[str, Any]] | None:
            events = [line for line in self.events if line["event"] == event]
            return events if len(events) >= count else None

        found: list[dict[str, Any]] = until(enough, f"{count} × {event}")
        return found

    def signal(self, number: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def ended(self) -> int:
        code = self.process.wait(BOUND)
        self._reader.join(BOUND)
        return code

    def stderr(self) -> str:
        return self._errors.read_text()


Fleet = Callable[..., Parent]
