"""Runs `processor run` as a child process, and observes it from outside: its log events, consumers and exit code."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import msgspec
import psutil

from tests.support.kafka_jars import PROJECT
from tests.support.lifeline import die_with_parent
from tests.support.log_schema import check
from tests.support.processes import children, descendants, lives
from tests.support.until import until

START_SECONDS = 120.0
STOP_SECONDS = 120.0
"""Upper bounds. On a machine without other load, a fleet starts and stops within some seconds."""

LOG_BYTES = 1 << 20
"""The size of the pipe for the log, so that it may go unread for some seconds. A fleet drops lines that a full pipe
does not accept within a second, and the usual 64 KiB are full after 150 failed attempts. A larger size needs
privileges."""


class Fleet:
    """One `processor run APP` inside a `with` block, at whose end it is killed if it is still running.

    Every event that it logs must match docs/logs.schema.json.

    Args:
        app: `module:attribute`.
        options: further arguments of the command line.
        folder: the working directory; a new file for standard output is created in it.
        modules: handler modules to write into `folder` before the start: source by module name.
        env: environment variables in addition to those of this process, except its PROCESSOR_… variables.
    """

    def __init__(
        self,
        app: str,
        *options: str,
        folder: Path,
        modules: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.log = folder / "log.jsonl"
        """A file with all lines of standard error."""
        self._command = [sys.executable, "-m", "processor", "run", app, *options]
        self._folder = folder
        self._env = environment(folder, env or {})
        for name, source in (modules or {}).items():
            _write_module(folder / f"{name}.py", source)
        self.lines: list[str] = []
        """The lines of standard error that are not log events."""
        self.events: list[dict[str, Any]] = []
        """The log events so far, in order."""
        self._heard = threading.Condition()
        self._all_heard = False

    def start(self) -> None:
        """Starts the fleet and returns at once; use `wait_for` to wait for an event."""
        self._out = (self._folder / f"stdout-{time.monotonic_ns()}.txt").open("w+")
        self._process = subprocess.Popen(
            self._command,
            cwd=self._folder,
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=self._out,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
            preexec_fn=die_with_parent(),
        )
        assert self._process.stderr is not None
        if hasattr(fcntl, "F_SETPIPE_SZ"):
            with suppress(PermissionError):  # this user has too many pipes of this size
                fcntl.fcntl(self._process.stderr, fcntl.F_SETPIPE_SZ, LOG_BYTES)
        self._listener = threading.Thread(target=self._listen, args=(self._process.stderr,), daemon=True)
        self._listener.start()

    @property
    def pid(self) -> int:
        """The PID of the process that supervises the consumers."""
        return self._process.pid

    @property
    def stdout(self) -> str:
        """The standard output so far."""
        return Path(self._out.name).read_text()

    @property
    def last_words(self) -> str:
        """The last output, to find the cause of a failure, with only the latest of the statistics."""
        told = [event for event in self.events if not event["event"].endswith(".stats")][-20:] + self.events[-1:]
        said = [*self.lines[-20:], *map(str, told)]
        return "its last words:\n" + "\n".join(line[:1000] for line in said)

    def consumers(self) -> list[int]:
        """Return the PIDs of the consumers that are running."""
        return [process.pid for process in children(self.pid) if lives(process)]

    def heard(self, event: str, **fields: object) -> list[dict[str, Any]]:
        """Return the events so far with this name and these fields."""
        with self._heard:
            return [known for known in self.events if _fits(known, event, fields)]

    def seconds_between(self, earlier: str, later: str, **fields: object) -> float:
        """Return the time between the last events with these names and fields.

        It is computed from the log's timestamps: wall-clock time with a resolution of 1 ms.
        """
        began, ended = (
            datetime.fromisoformat(self.heard(event, **fields)[-1]["timestamp"]) for event in (earlier, later)
        )
        return (ended - began).total_seconds()

    def wait_for(
        self, event: str, timeout: float = START_SECONDS, *, count: int = 1, **fields: object
    ) -> dict[str, Any]:
        """Waits until the event has been logged `count` times since the start, and returns the last of these.

        Raises:
            AssertionError: it was not logged that often within `timeout` seconds, or before the process ended.
        """
        deadline = time.monotonic() + timeout
        found: list[dict[str, Any]] = []
        examined = 0
        with self._heard:
            while True:
                # Each event is examined only once, since the examination blocks the listener.
                found += [known for known in self.events[examined:] if _fits(known, event, fields)]
                examined = len(self.events)
                if len(found) >= count:
                    return found[count - 1]
                left = deadline - time.monotonic()
                if left <= 0 or self._all_heard:
                    raise AssertionError(self._missing(event, fields, found, timeout))
                self._heard.wait(left)

    def wait_for_partitions(self, timeout: float = START_SECONDS) -> dict[str, Any]:
        """Waits until one of the consumers has partitions, and returns the first event that assigns some.

        A classic group assigns none in a member's first round.

        Raises:
            AssertionError: no consumer has any within `timeout` seconds, or before the process ended.
        """
        deadline = time.monotonic() + timeout
        count = 1
        while not (event := self.wait_for("consumer.assigned", deadline - time.monotonic(), count=count))["partitions"]:
            count += 1
        return event

    def partitions_of(self, consumer: int) -> set[int]:
        """Return the partitions of a consumer, from the log of its latest process; the fleet has only one topic."""
        held: set[int] = set()
        for event in [event for event in list(self.events) if event.get("consumer") == consumer]:
            match event["event"]:
                case "consumer.started":
                    held = set()
                case "consumer.assigned":
                    held |= _numbers_in(event["partitions"])
                case "consumer.revoked" | "consumer.lost":
                    held -= _numbers_in(event["partitions"])
        return held

    def wait(self, timeout: float = STOP_SECONDS) -> int:
        """Waits until the fleet ends by itself, and returns its exit code.

        Raises:
            AssertionError: it has not ended within `timeout` seconds.
        """
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the fleet has not ended within {timeout:g} s; {self.last_words}") from None
        self._listener.join(30)
        return code

    def signal(self, number: int = signal.SIGTERM) -> None:
        """Sends a signal to the supervising process."""
        self._process.send_signal(number)

    def stop(self, timeout: float = STOP_SECONDS) -> int:
        """Stops the fleet with SIGTERM, and returns its exit code.

        Raises:
            AssertionError: it has not ended within `timeout` seconds.
        """
        self.signal(signal.SIGTERM)
        return self.wait(timeout)

    def kill(self) -> dict[int, int]:
        """Kills the supervisor and all its descendants; returns the time of each kill (CLOCK_MONOTONIC ns), by PID.

        Each time is taken before the kill. This process may be descheduled after a kill, and then another fleet could
        take over before a time that is taken later.
        """
        self.signal(signal.SIGSTOP)  # so that it starts no consumer while its consumers are listed
        family = self._family()
        killed: dict[int, int] = {}
        for process in family:  # the supervisor first, or it would replace its consumers
            killed[process.pid] = time.monotonic_ns()
            _kill(process)
        self._process.wait(STOP_SECONDS)
        _wait_until_dead(family)
        self._listener.join(30)
        return killed

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self._out.close()
        if kind is None:
            self.check_log()
        else:  # pytest shows it with the failure
            print(f"the fleet had said: {self.last_words}")

    def check_log(self) -> None:
        """Checks every event against the schema of the log.

        Raises:
            jsonschema.ValidationError: an event does not match the schema.
        """
        check(self.events)

    def _family(self) -> list[psutil.Process]:
        try:
            parent = psutil.Process(self.pid)
            return [parent, *descendants(self.pid)]
        except psutil.NoSuchProcess:
            return []

    def _listen(self, stderr: IO[str]) -> None:
        with stderr, self.log.open("a") as log:
            for line in stderr:
                log.write(line)
                log.flush()
                self._hear(line.rstrip("\n"))
        with self._heard:
            self._all_heard = True
            self._heard.notify_all()

    def _hear(self, line: str) -> None:
        try:
            event = msgspec.json.decode(line, type=dict[str, Any])
        except msgspec.MsgspecError:
            event = None
        with self._heard:
            if event is not None and "event" in event:
                self.events.append(event)
            else:
                self.lines.append(line)
            self._heard.notify_all()

    def _missing(self, event: str, fields: object, found: list[dict[str, Any]], timeout: float) -> str:
        why = "before the fleet ended" if self._all_heard else f"within {timeout:g} s"
        return f"{event} {fields or ''} was logged {len(found)} times {why}; {self.last_words}"


def _write_module(path: Path, source: str) -> None:
    """Write a module, unless its file already has this source: a process of another fleet may be importing it."""
    if not path.exists() or path.read_text() != source:
        path.write_text(source)


def environment(folder: Path, env: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for a `processor` that is started in `folder`."""
    # A PROCESSOR_ variable of this process would set an option of the fleet under test.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PROCESSOR_")}
    path = os.pathsep.join([str(folder), str(PROJECT), *filter(None, [inherited.get("PYTHONPATH")])])
    return {**inherited, "PYTHONPATH": path, "PROCESSOR_LOG_FORMAT": "json", **env}


def _numbers_in(names: Iterable[str]) -> set[int]:
    return {int(name.split("[")[1].split("]")[0]) for name in names}


def _fits(known: Mapping[str, Any], event: str, fields: Mapping[str, object]) -> bool:
    return known["event"] == event and all(known.get(name) == value for name, value in fields.items())


def _wait_until_dead(family: list[psutil.Process]) -> None:
    until(lambda: not any(map(lives, family)), f"none of {family} lives on after SIGKILL", STOP_SECONDS, 0.01)


def _kill(process: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):
        process.kill()
