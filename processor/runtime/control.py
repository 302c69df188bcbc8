"""`Control`: applies the control topic. A record in it is a command, and a tombstone ends it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic
from typing import Final, Protocol

from processor.engine.cancels import CancelTarget
from processor.engine.pauses import Pause, Target
from processor.runtime.cancellation import Cancellation
from processor.runtime.commands import WorkersOrder, WorkersTarget, read_command
from processor.runtime.desk import Desk
from processor.runtime.pause_fields import pause_order, pause_target
from processor.runtime.runner import Runner
from processor.runtime.stopping import Stopping
from processor.runtime.worker_count import WorkerCount
from processor.telemetry.events import ControlForeignRecord, ControlPaused, ControlResumed, ControlUnread, Emit

READ_SECONDS: Final = 10.0
"""The longest time that the start of a consumer waits for the control topic."""

SLICE_SECONDS: Final = 0.1
"""How long that wait may delay a stop."""

Apply = Callable[[bytes | None, bytes | None], None]
"""Receives key and value of each record, in the order of the topic."""


class Feed(Protocol):
    """The records of a control topic."""

    def start(self, apply: Apply) -> None:
        """Read from the first record on, and call `apply` in a separate thread until `close`."""

    def wait(self, seconds: float) -> bool:
        """Wait at most `seconds` until all records that the topic had at the start are applied. Return whether they
        are.
        """

    def close(self) -> None:
        """Ends the thread."""


class Control:
    """Applies the commands of one group to a consumer."""

    def __init__(
        self, group: str, desk: Desk, runner: Runner, workers: WorkerCount, cancellation: Cancellation, emit: Emit
    ) -> None:
        self._group = group
        self._workers = workers
        self._cancellation = cancellation
        self._pausing = desk.pausing
        self._runner = runner
        self._emit = emit
        self._has_met_foreign = False
        self._feed: Feed | None = None
        self._lock = threading.Lock()
        self._unapplied: dict[bytes | None, bytes | None] | None = None
        """The last record of each key, while `start` reads the topic; None before and after."""

    def follow(self, feed: Feed) -> None:
        """Take the commands from `feed`. Call this before the start."""
        self._feed = feed

    def start(self, stopping: Stopping) -> None:
        """Applies what is in force, before the first task. Waits at most `READ_SECONDS`, and not beyond a stop.

        The topic may still have commands that were ended or replaced later, since compaction skips the newest segment.
        They are neither applied nor logged.
        """
        if self._feed is None:
            return
        self._unapplied = {}
        self._feed.start(self.apply)
        self._wait(self._feed, stopping)
        self._apply_what_is_in_force()

    def _wait(self, feed: Feed, stopping: Stopping) -> None:
        end = monotonic() + READ_SECONDS
        while not feed.wait(SLICE_SECONDS):
            if stopping.is_asked:
                return
            if monotonic() >= end:
                self._emit(ControlUnread(waited_seconds=READ_SECONDS))
                return

    def _apply_what_is_in_force(self) -> None:
        with self._lock:
            records, self._unapplied = self._unapplied, None
            for key, value in (records or {}).items():
                self._obey(key, value)

    def close(self) -> None:
        """Ends the feed."""
        if self._feed is not None:
            self._feed.close()

    def apply(self, key: bytes | None, value: bytes | None) -> None:
        """Apply one record; during `start`, only if no record with the same key follows.

        The first record that is not a command is logged.
        """
        with self._lock:
            if self._unapplied is not None:
                self._unapplied.pop(key, None)
                self._unapplied[key] = value
                return
        self._obey(key, value)

    def _obey(self, key: bytes | None, value: bytes | None) -> None:
        try:
            command = read_command(key, value)
        except ValueError as error:
            if not self._has_met_foreign:
                self._has_met_foreign = True
                self._emit(ControlForeignRecord(error=str(error)))
            return
        if command[0] != self._group:
            return
        match command:
            case (_, WorkersTarget(), order):
                self._resize(order)
            case (_, CancelTarget() as cancelled, None):
                self._cancellation.end(cancelled)
            case (_, CancelTarget() as cancelled, cancel):
                self._cancellation.begin(cancelled, cancel)
            case (_, Target() as target, pause):
                self._pause_or_resume(target, pause)

    def _resize(self, order: WorkersOrder | None) -> None:
        if order is not None:
            self._workers.order(order.workers, order.by)
        else:
            self._workers.release()

    def _pause_or_resume(self, target: Target, pause: Pause | None) -> None:
        if pause is not None:
            self._begin(target, pause)
        elif self._pausing.end(target):
            self._runner.look_for_names(self._pausing.pauses)
            self._emit(ControlResumed(**pause_target(target)))

    def _begin(self, target: Target, pause: Pause) -> None:
        if target.kind == "name":
            self._runner.look_for_names(self._pausing.pauses, also=True)
        if self._pausing.begin(target, pause):
            self._emit(ControlPaused(**pause_order(target, pause)))
