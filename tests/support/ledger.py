"""A ledger outside the processes under test, which records what handlers really did, and checks of its entries.

A handler appends a line when it starts and when it ends. Each line is one `os.write` to a file opened with O_APPEND, so
that lines of several processes never mix, and a written line survives a SIGKILL of its process. The times are
CLOCK_MONOTONIC, which all processes of a machine share. The checks return findings: an empty list means no violation.

A reader decodes each line only once, however often it reads: the reads of a test or a benchmark must not slow down the
processes that it measures on the same cores.
"""

from __future__ import annotations

import os
import threading
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import msgspec

ABOUT_TO_BEGIN = 300_000_000
"""Nanoseconds within which a thread that was about to begin a run does so, even on a busy machine: all threads of a
process that wakes compete for the interpreter lock. This is shorter than the time in which a group returns partitions.
Only the first run of a thread counts as one that was about to begin."""


class Place(NamedTuple):
    """The place of a record."""

    topic: str
    partition: int
    offset: int


class Lane(NamedTuple):
    """A unit of ordering: a session in a partition, or a single record without a session."""

    topic: str
    partition: int
    session: str
    loner: int | None = None


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the ledger."""

    kind: Literal["start", "end"]
    topic: str
    partition: int
    offset: int
    session: str
    attempt: int
    pid: int
    thread: int
    at: int
    """Nanoseconds of CLOCK_MONOTONIC."""
    succeeded: bool = False
    """Whether the handler returned without an error; only an end can have this set."""

    @property
    def place(self) -> Place:
        return Place(self.topic, self.partition, self.offset)

    @property
    def lane(self) -> Lane:
        return Lane(self.topic, self.partition, self.session, None if self.session else self.offset)


class Finding(NamedTuple):
    """A violation, and the place where it happened."""

    what: str
    place: Place
    session: str = ""


class TaskLike(Protocol):
    """The attributes of a task that the ledger records."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def session_id(self) -> str: ...
    @property
    def attempt(self) -> int: ...


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Entry).decode
_time_of = attrgetter("at")


class Follower:
    """Reads a growing ledger incrementally."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        """Bytes read so far, up to the end of a line."""

    def read(self) -> list[Entry]:
        """Return the entries that were written since the last call, in the order of the file."""
        with self._path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        return list(map(_decode, whole.splitlines()))


class Ledger:
    """The ledger's file. Handlers write to it with `attempt`, tests read it with `entries`."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._follower = Follower(self.path)
        self._entries: list[Entry] = []
        self._reading = threading.Lock()

    @contextmanager
    def attempt(self, task: TaskLike) -> Iterator[None]:
        """Wraps a handler's body: records its start, its end and whether it succeeded. A crash leaves no end."""
        self._note("start", task, succeeded=False)
        try:
            yield
        except BaseException:
            self._note("end", task, succeeded=False)
            raise
        self._note("end", task, succeeded=True)

    def entries(self) -> list[Entry]:
        """Return all complete lines, sorted by time. Their order in the file may differ by the duration of a write."""
        with self._reading:
            self._entries += self._follower.read()
            self._entries.sort(key=_time_of)
            return self._entries.copy()

    def _note(self, kind: Literal["start", "end"], task: TaskLike, *, succeeded: bool) -> None:
        entry = Entry(
            kind=kind,
            topic=task.topic,
            partition=task.partition,
            offset=task.offset,
            session=task.session_id,
            attempt=task.attempt,
            pid=os.getpid(),
            thread=threading.get_ident(),
            at=time.monotonic_ns(),
            succeeded=succeeded,
        )
        os.write(self._file, _encode(entry) + b"\n")


def lost(entries: Iterable[Entry], expected: Iterable[Place], given_up: Collection[Place] = ()) -> list[Finding]:
    """Return the expected records whose handler never succeeded, except those that were given up (dead-lettered)."""
    done = {entry.place for entry in entries if entry.succeeded} | set(given_up)
    return [Finding("never done", place) for place in sorted(set(expected) - done)]


def repeated(entries: Iterable[Entry], died: Collection[int] = ()) -> list[Finding]:
    """Return the runs that started after the record's handler had already succeeded. After a crash some are allowed.

    Args:
        entries: the ledger.
        died: the PIDs of killed processes. Tasks that these had completed may run again, and do not count.
    """
    done: set[Place] = set()
    findings = []
    for entry in entries:
        if entry.kind == "start" and entry.place in done:
            findings.append(Finding("run again after it was done", entry.place, entry.session))
        if entry.succeeded and entry.pid not in died:
            done.add(entry.place)
    return findings


def out_of_order(
    entries: Iterable[Entry], given_up: Collection[Place] = (), *, replays_in_process: bool = False
) -> list[Finding]:
    """Return the runs that overtook an earlier record of their session, and steps back that no crash explains.

    A run may only start when every earlier record of its session is done or given up. A replay may step back to earlier
    records, but only in another process; within a process, runs only go forward.

    Args:
        entries: the ledger.
        given_up: records that are settled without success.
        replays_in_process: whether a process may step back too, because it lost its partitions without dying.
    """
    findings = []
    for runs in _by_lane(entries).values():
        findings += _overtakings(runs, given_up)
        if not replays_in_process:
            findings += _steps_back(runs)
    return findings


def overlapping(entries: Iterable[Entry], deaths: Mapping[int, int] | None = None) -> list[Finding]:
    """Return the runs that began while another run of the same session was still running.

    Args:
        entries: the ledger.
        deaths: the time of each process's death (nanoseconds of CLOCK_MONOTONIC), by PID; its open runs ended then. A
            run without an end in any other process is assumed to end when the session's next run starts.
    """
    findings = []
    for lane, runs in _by_lane(entries).items():
        busy_until = 0
        for start, place, end in _intervals(runs, deaths or {}):
            if start < busy_until:
                findings.append(Finding("ran beside another of its session", place, lane.session))
            busy_until = max(busy_until, end)
    return findings


def caught(entries: Iterable[Entry], pid: int, woken_at: int) -> set[Place]:
    """Return the records that a process was running while it was paused.

    A thread without an open run may have been about to begin one, which it does when the process is resumed.

    Args:
        entries: the ledger.
        pid: the PID of the process.
        woken_at: when it was resumed, in nanoseconds of CLOCK_MONOTONIC.
    """
    open_runs: dict[int, Place | None] = {}
    for entry in entries:
        if entry.pid != pid or entry.at > woken_at + ABOUT_TO_BEGIN:
            continue
        if entry.at > woken_at:
            if entry.kind == "start" and open_runs.get(entry.thread) is None:
                open_runs[entry.thread] = entry.place
        else:
            open_runs[entry.thread] = entry.place if entry.kind == "start" else None
    return {place for place in open_runs.values() if place is not None}


def run_spans(entries: Iterable[Entry]) -> list[tuple[int, int]]:
    """Return the begin and the end of each run, in nanoseconds of CLOCK_MONOTONIC.

    A run without an end, such as one of a killed process, ends when it begins.
    """
    found: dict[tuple[object, ...], tuple[int, int]] = {}
    ended = []
    for entry in entries:
        if entry.kind == "start":
            found[_identity(entry)] = entry.at, entry.at
        elif (begun := found.pop(_identity(entry), None)) is not None:
            ended.append((begun[0], entry.at))
    return [*ended, *found.values()]


def _by_lane(entries: Iterable[Entry]) -> dict[Lane, list[Entry]]:
    lanes: dict[Lane, list[Entry]] = defaultdict(list)
    for entry in entries:
        lanes[entry.lane].append(entry)
    return lanes


def _overtakings(runs: Sequence[Entry], given_up: Collection[Place]) -> list[Finding]:
    order = sorted({run.place for run in runs} - set(given_up))
    done: set[Place] = set()
    first_open = 0  # everything before it in `order` is done
    findings = []
    for run in runs:
        if run.succeeded:
            done.add(run.place)
            while first_open < len(order) and order[first_open] in done:
                first_open += 1
        elif run.kind == "start" and first_open < len(order) and order[first_open] < run.place:
            earlier = order[first_open].offset
            findings.append(Finding(f"started before offset {earlier} was done", run.place, run.session))
    return findings


def _steps_back(runs: Sequence[Entry]) -> list[Finding]:
    furthest: dict[int, int] = {}
    findings = []
    for run in runs:
        if run.kind == "start":
            if run.offset < furthest.get(run.pid, -1):
                reached = furthest[run.pid]
                findings.append(Finding(f"the same process had reached offset {reached}", run.place, run.session))
            furthest[run.pid] = max(run.offset, furthest.get(run.pid, -1))
    return findings


def _intervals(runs: Sequence[Entry], deaths: Mapping[int, int]) -> list[tuple[int, Place, int]]:
    """Return start, place and end of each run, in the order of their starts."""
    starts = [run for run in runs if run.kind == "start"]
    following = [start.at for start in starts[1:]] + [start.at for start in starts[-1:]]
    ends = [max(start.at, deaths.get(start.pid, after)) for start, after in zip(starts, following, strict=True)]
    begun: dict[tuple[object, ...], int] = {}
    number = 0
    for run in runs:
        if run.kind == "start":
            begun[_identity(run)] = number
            number += 1
        elif _identity(run) in begun:
            ends[begun.pop(_identity(run))] = run.at
    return [(start.at, start.place, end) for start, end in zip(starts, ends, strict=True)]


def _identity(run: Entry) -> tuple[object, ...]:
    return run.place, run.attempt, run.pid, run.thread
