"""The work of an arm, and the clock that measures it. Needs only Python 3.9."""

from __future__ import annotations

import itertools
import json
import os
import resource
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

VARIABLE = "BENCH_JOB"
"""The environment variable that holds a job as JSON."""

MARK = "measured "
"""What the line on standard output begins with that holds the figures."""


@dataclass(frozen=True)
class Job:
    """One measurement of one arm; times in seconds."""

    servers: str
    topic: str
    group: str
    tasks: int
    """The clock stops when so many are settled."""
    limit: float = 30.0
    """The clock stops at the latest after this, with what is settled then."""
    workers: int = 64
    handler: str = "nothing"
    """What is done to each record: a name in `tests/bench/handlers.py`; competitors know `nothing` and `sleep`."""
    seconds: float = 0.0
    """How long a handler sleeps."""
    turns: int = 0
    """How many turns of an empty loop a handler takes; or the first tasks that evenness is not asked of."""
    partitions: int = 0
    """How many partitions the topic has, where the handler must know."""
    blocked: int = 0
    """How many workers have a task that does not end."""
    second_topic: str = ""
    """A topic that is consumed as well."""
    settings: dict[str, Any] = field(default_factory=dict)
    """More of the processor's own settings."""
    client: dict[str, str] = field(default_factory=dict)
    """Settings of the Kafka client: those that the processor's own consumer has."""
    path: str = ""
    """A file that handlers in other processes write to."""
    linger: float = 0.0
    """How long the process stays idle after the last task, before its memory is read for the last time."""

    @classmethod
    def from_environment(cls) -> Job:
        """The job of this process."""
        return cls(**json.loads(os.environ[VARIABLE]))

    def to_environment(self) -> dict[str, str]:
        """The variable that a child needs."""
        return {VARIABLE: json.dumps(asdict(self))}


class Clock:
    """From the first handler entry to the N-th settled task; its end ends the process.

    How an arm stops is no part of the work, and some competitors need their whole session time-out for it.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.began: float | None = None
        self.versions = ""
        self.figures: dict[str, float] = {"rss_start_mb": rss_mb()}
        self._cpu = 0.0
        self._started = threading.Event()
        self._ended = threading.Lock()

    def begin(self) -> None:
        """The first handler is entered."""
        self._cpu, self.began = time.process_time(), time.perf_counter()
        self._started.set()

    def wait_begun(self) -> float:
        """Waits for it; when it was."""
        self._started.wait()
        assert self.began is not None
        return self.began

    def end(self, tasks: int, at: float | None = None, **figures: float) -> None:
        """So many are settled at `at`, which is now where it is None: prints the figures and ends the process."""
        at = at if at is not None else time.perf_counter()
        cpu = time.process_time() - self._cpu
        if not self._ended.acquire(blocking=False):
            return
        assert self.began is not None
        seconds = at - self.began
        told = {"tasks": tasks, "seconds": seconds, "rate": tasks / seconds, "cpu_us": cpu / max(tasks, 1) * 1e6}
        told["received_mb"] = received_mb()
        tell({**self.figures, **told, **figures, "rss_peak_mb": peak_mb(), **self._after()}, self.versions)

    def watch(self, settled: Callable[[], int], more: Callable[[], dict[str, float]]) -> None:
        """Ends the clock when `settled()` returns true, and reports `more`: for arms that count themselves."""
        threading.Thread(target=self._sample, args=(settled, more), daemon=True).start()

    def _after(self) -> dict[str, float]:
        if self.job.linger:
            time.sleep(self.job.linger)
        return {"rss_after_mb": rss_mb()}

    def _sample(self, settled: Callable[[], int], more: Callable[[], dict[str, float]]) -> None:
        # Seldom enough to cost the arm nothing; the moment of the N-th is between two looks, in proportion.
        before_at, before = self.wait_begun(), 0
        deadline = before_at + self.job.limit
        while True:
            time.sleep(0.005)
            at, count = time.perf_counter(), settled()
            if count >= self.job.tasks:
                share = (self.job.tasks - before) / (count - before)
                self.end(self.job.tasks, before_at + share * (at - before_at), **more())
            elif at >= deadline:
                self.end(count, at, **more())
            before_at, before = at, count


class Counted:
    """A handler that counts by itself: what competitors call with each record, from any thread."""

    def __init__(self, job: Job, clock: Clock) -> None:
        self._clock = clock
        self._ends = itertools.count(1)  # one step of it is atomic
        self._last = job.tasks
        self._seconds = job.seconds if job.handler == "sleep" else 0.0
        threading.Thread(target=self._stop_at_limit, daemon=True).start()

    def __call__(self, *_: object) -> None:
        """One task, in its thread."""
        if self._clock.began is None:
            self._clock.begin()
        if self._seconds:
            time.sleep(self._seconds)
        if next(self._ends) == self._last:
            self._clock.end(self._last)

    async def run_async(self, *_: object) -> None:
        """One task, as a coroutine."""
        import asyncio

        if self._clock.began is None:
            self._clock.begin()
        if self._seconds:
            await asyncio.sleep(self._seconds)
        if next(self._ends) == self._last:
            self._clock.end(self._last)

    def _stop_at_limit(self) -> None:
        self._clock.wait_begun()
        time.sleep(self._clock.job.limit)
        # The only way to read a count without counting: its repr is "count(N)".
        self._clock.end(int(repr(self._ends)[6:-1]) - 1)


WAITS, BLOCKS = 8, 12
"""How many bytes the values have of a task whose wait is measured, and of one that blocks its session."""


class BesideABacklog:
    """Called with each record's value: how long those waited that came beside a backlog, and how fast that went on.

    A value of eight bytes is the moment of its production, in nanoseconds of the monotonic clock. One of twelve
    bytes blocks its session until the end. All others are the backlog, whose handler sleeps.
    """

    def __init__(self, job: Job, clock: Clock) -> None:
        self._job = job
        self._clock = clock
        self._waits: list[float] = []
        self._done = itertools.count(1)  # one step of it is atomic

    def __call__(self, value: bytes) -> None:
        """One task, in its thread."""
        time.sleep(self._enter(value))
        self._leave(value)

    async def run_async(self, value: bytes) -> None:
        """One task, as a coroutine."""
        import asyncio

        await asyncio.sleep(self._enter(value))
        self._leave(value)

    def _enter(self, value: bytes) -> float:
        """Notes that a task begins, and returns the seconds that its handler sleeps."""
        if self._clock.began is None:
            self._clock.begin()
            with open(self._job.path, "ab") as begun:  # noqa: PTH123 — Python 3.9 and nothing else
                begun.write(b"1")
            threading.Timer(self._job.limit, self._end).start()
        if len(value) == WAITS:
            self._waits.append((time.monotonic_ns() - int.from_bytes(value, "big")) / 1e9)
            return 0.0
        return 2 * self._job.limit if len(value) == BLOCKS else self._job.seconds

    def _leave(self, value: bytes) -> None:
        if len(value) != WAITS:
            next(self._done)

    def _end(self) -> None:
        # The only way to read a count without counting: its repr is "count(N)".
        done, waits = int(repr(self._done)[6:-1]) - 1, sorted(self._waits) or [float("inf")]
        p50, p99 = (waits[int(share * len(waits))] for share in (0.5, 0.99))
        pace = done / self._job.limit / ((self._job.workers - self._job.blocked) / self._job.seconds)
        self._clock.end(done, waits=len(self._waits), p50_s=p50, p99_s=p99, pace=pace)


class SideBySide:
    """Called with each record's partition: how evenly the backlogs of several partitions are worked off."""

    def __init__(self, job: Job, clock: Clock) -> None:
        self._job = job
        self._clock = clock
        self._lock = threading.Lock()
        self._done: dict[int, int] = {}
        self._total = 0
        self._least = 1.0
        self._began = 0.0

    def __call__(self, partition: int) -> None:
        """One task, in its thread."""
        self._enter()
        time.sleep(self._job.seconds)
        self._leave(partition)

    async def run_async(self, partition: int) -> None:
        """One task, as a coroutine."""
        import asyncio

        self._enter()
        await asyncio.sleep(self._job.seconds)
        self._leave(partition)

    def _enter(self) -> None:
        if self._clock.began is None:
            self._clock.begin()

    def _leave(self, partition: int) -> None:
        with self._lock:
            self._done[partition] = self._done.get(partition, 0) + 1
            self._total += 1
            if self._total % 500 == 0 and self._total >= self._job.turns:
                partitions = self._job.partitions
                least = min(self._done.values()) if len(self._done) == partitions else 0
                self._least = min(self._least, least * partitions / self._total)
            if self._total == self._job.tasks:
                seconds = time.perf_counter() - self._clock.wait_begun()
                pace = self._total / seconds / (self._job.workers / self._job.seconds)
                self._clock.end(self._total, least=self._least, pace=pace)


def tell(figures: dict[str, Any], versions: str) -> None:
    """Prints what was measured, and ends the process from whatever thread this is."""
    line = json.dumps({**figures, "versions": f"{versions}, Python {sys.version.split()[0]}"})
    os.write(1, f"\n{MARK}{line}\n".encode())
    os._exit(0)


def rss_mb() -> float:
    """What the process has in memory now, in MB; its peak where /proc is not to be had."""
    try:
        with open("/proc/self/statm") as statm:  # noqa: PTH123 — must not import more than it measures
            return int(statm.read().split()[1]) * resource.getpagesize() / 1e6
    except OSError:
        return peak_mb()


def received_mb() -> float:
    """What came over the TCP connections that the process has, in MB (`tcp_info` of Linux); 0 elsewhere."""
    total = 0
    for name in os.listdir("/proc/self/fd") if sys.platform == "linux" else ():  # noqa: PTH208 — as above
        try:
            with socket.socket(fileno=os.dup(int(name))) as connection:
                info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        except OSError:  # not a socket, or closed meanwhile
            continue
        if len(info) >= TCPI_BYTES_RECEIVED.size + TCPI_BYTES_RECEIVED_AT:
            total += TCPI_BYTES_RECEIVED.unpack_from(info, TCPI_BYTES_RECEIVED_AT)[0]
    return total / 1e6


TCPI_BYTES_RECEIVED, TCPI_BYTES_RECEIVED_AT = struct.Struct("=Q"), 128
"""`tcpi_bytes_received` of `struct tcp_info` in <linux/tcp.h>, and where it is in it."""


def peak_mb() -> float:
    """The most that the process ever had in memory, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
