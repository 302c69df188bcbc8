"""`Control`: obeys the control topic. A record there is a command, and a tombstone ends what it began."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Annotated, Any, Final, Literal, NamedTuple, Protocol

import msgspec

from processor.engine.pauses import Kind, Pause, Target
from processor.runtime.desk import Desk
from processor.runtime.runner import Runner
from processor.runtime.stopping import Stopping
from processor.runtime.worker_count import WorkerCount
from processor.telemetry.events import ControlForeignRecord, ControlPaused, ControlResumed, ControlUnread, Emit

READ_SECONDS: Final = 10.0
"""How long a consumer's start may wait for the control topic."""

SLICE_SECONDS: Final = 0.1
"""How long that wait may delay a stop."""

Apply = Callable[[bytes | None, bytes | None], None]
"""Receives key and value of each record, in the order of the topic."""


class Feed(Protocol):
    """The records of a control topic."""

    def start(self, apply: Apply) -> None:
        """Reads from the first record on, and calls `apply` in a thread of its own until `close`."""

    def wait(self, seconds: float) -> bool:
        """Waits at most so long until all records that the topic had at the start are applied. Return whether."""

    def close(self) -> None:
        """Ends the thread."""


class WorkersTarget(NamedTuple):
    """The number of workers of each consumer. What a command is about, as a `Target` is."""

    kind: Literal["workers"] = "workers"
    text: str = ""


WORKERS: Final = WorkersTarget()


class WorkersOrder(NamedTuple):
    """How many workers each consumer is to have, since when, and who has ordered it."""

    workers: int
    since: int
    """In milliseconds since the epoch."""
    by: str


class _Value(msgspec.Struct):
    since: int
    by: str


class _WorkersValue(_Value):
    workers: Annotated[int, msgspec.Meta(ge=1)]


_read_key = msgspec.json.Decoder(tuple[str, Kind | Literal["workers"], str]).decode
_read_value = msgspec.json.Decoder(_Value).decode
_read_workers = msgspec.json.Decoder(_WorkersValue).decode


def key_of(group: str, target: Target | WorkersTarget) -> bytes:
    """Return the key of the target's records: a JSON array of group, kind and name."""
    return msgspec.json.encode([group, *target])


def value_of(command: Pause | WorkersOrder) -> bytes:
    """Return the value of a record that pauses, or that orders a number of workers."""
    return msgspec.json.encode(command._asdict())


Command = tuple[str, Target, Pause | None] | tuple[str, WorkersTarget, WorkersOrder | None]
"""A group, what the command is about, and the command; None where the record ends it."""


def read_command(key: bytes | None, value: bytes | None) -> Command:
    """Return what a record of a control topic says.

    Raises:
        ValueError: the record is not a command.
    """
    group, kind, text = _read_key(key or b"")
    if kind == "workers":
        return group, WORKERS, None if value is None else _workers_order(value)
    if value is None:
        return group, Target(kind, text), None
    found = _read_value(value)
    return group, Target(kind, text), Pause(found.since, found.by)


def _workers_order(value: bytes) -> WorkersOrder:
    found = _read_workers(value)
    return WorkersOrder(found.workers, found.since, found.by)


class Control:
    """Applies the commands of one group to a consumer."""

    def __init__(self, group: str, desk: Desk, runner: Runner, workers: WorkerCount, emit: Emit) -> None:
        self._group = group
        self._workers = workers
        self._desk = desk
        self._runner = runner
        self._emit = emit
        self._has_met_foreign = False
        self._feed: Feed | None = None

    def follow(self, feed: Feed) -> None:
        """Takes the commands from `feed`. For before the start."""
        self._feed = feed

    def start(self, stopping: Stopping) -> None:
        """Applies what is in force, before the first task. Waits at most `READ_SECONDS`, and not beyond a stop."""
        if self._feed is None:
            return
        self._feed.start(self.apply)
        end = monotonic() + READ_SECONDS
        while not self._feed.wait(SLICE_SECONDS):
            if stopping.is_asked:
                return
            if monotonic() >= end:
                self._emit(ControlUnread(waited_seconds=READ_SECONDS))
                return

    def close(self) -> None:
        """Ends the feed."""
        if self._feed is not None:
            self._feed.close()

    def apply(self, key: bytes | None, value: bytes | None) -> None:
        """Obeys one record. A record that is not a command is ignored, and the first one is logged."""
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
        elif self._desk.resume(target):
            self._runner.look_for_names(self._desk.pauses)
            self._emit(ControlResumed(**_fields(target)))

    def _begin(self, target: Target, pause: Pause) -> None:
        if target.kind == "name":
            self._runner.look_for_names(self._desk.pauses, also=True)
        if self._desk.pause(target, pause):
            self._emit(ControlPaused(**_fields(target), since=pause.since, by=pause.by))


def _fields(target: Target) -> dict[str, Any]:
    names = {"session": "", "name": "", "partition": "", target.kind: target.text}
    return {
        "kind": target.kind,
        "session_id": names["session"],
        "task_name": names["name"],
        "partition": names["partition"],
    }
