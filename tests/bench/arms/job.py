"""The job of an arm, and the clock that measures it. This module needs only Python 3.9."""

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
"""The prefix of the line on standard output that holds the figures."""


@dataclass(frozen=True)
class Job:
    """One measurement of one arm; times in seconds."""

    servers: str
    topic: str
    group: str
    tasks: int
    """The clock stops when this many tasks are settled."""
    limit: float = 30.0
    """The clock stops after this time at the latest, and counts the tasks settled by then."""
    workers: int = 64
    handler: str = "nothing"
    """The handler for each record: a name in `tests/bench/handlers.py`; competitors know `nothing` and `sleep`."""
    seconds: float = 0.0
    """How long a handler sleeps."""
    turns: int = 0
    """How many iterations of an empty loop a handler runs; in `side_by_side`, tasks before evenness is checked."""
    partitions: int = 0
    """How many partitions the topic has, for handlers that need to know."""
    blocked: int = 0
    """How many workers have a task that does not end."""
    second_topic: str = ""
    """A second topic to consume."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Further settings of the processor."""
    client: dict[str, str] = field(default_factory=dict)
    """Settings of the Kafka client, the same as those of the processor's own consumer."""
    path: str = ""
    """A file that handlers in other processes write to."""
    linger: float = 0.0
    """How long the process stays idle after the last task, before its memory is read for the last time."""

    @classmethod
    def from_environment(cls) -> Job:
        """Return the job of this process."""
        return cls(**json.loads(os.environ[VARIABLE]))

    def to_environment(self) -> dict[str, str]:
        """Return the environment variable that passes the job to a child process."""
        return {VARIABLE: json.dumps(asdict(self))}


class Clock:
    """Measures from the first entry of a handler to the N-th settled task, and then ends the process.

    The shutdown of an arm is not part of the work, and some competitors need their whole session timeout for it.
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
        """Start the clock: the first handler is entered."""
        self._cpu, self.began = time.process_time(), time.perf_counter()
        self._started.set()

    def wait_begun(self) -> float:
        """Wait until the clock has started, and return the time at which it did."""
        self._started.wait()
        assert self.began is not None
        return self.began

    def end(self, tasks: int, at: float | None = None, **figures: float) -> None:
        """Print the figures of `tasks` tasks settled by `at` (default: now), and end the process."""
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
        """Stop the clock when `settled()` reaches the job's tasks, or at its limit, and report `more()` as well.

        This is for an arm that counts its settled tasks itself.
        """
        threading.Thread(target=self._sample, args=(settled, more), daemon=True).start()

    def _after(self) -> dict[str, float]:
        if self.job.linger:
            time.sleep(self.job.linger)
        return {"rss_after_mb": rss_mb()}

    def _sample(self, settled: Callable[[], int], more: Callable[[], dict[str, float]]) -> None:
        # Samples are rare enough to cost the arm nothing. The time of the N-th task is interpolated between two.
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
    """A handler that does its own counting: competitors call it with each record, from any thread."""

    def __init__(self, job: Job, clock: Clock) -> None:
        self._clock = clock
        self._ends = itertools.count(1)  # `next` on it is atomic
        self._last = job.tasks
        self._seconds = job.seconds if job.handler == "sleep" else 0.0
        threading.Thread(target=self._stop_at_limit, daemon=True).start()

    def __call__(self, *_: object) -> None:
        """Run one task in its thread."""
        if self._clock.began is None:
            self._clock.begin()
        if self._seconds:
            time.sleep(self._seconds)
        if next(self._ends) == self._last:
            self._clock.end(self._last)

    async def run_async(self, *_: object) -> None:
        """Run one task as a coroutine."""
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
        # The only way to read an `itertools.count` without advancing it: its repr is "count(N)".
        self._clock.end(int(repr(self._ends)[6:-1]) - 1)


WAITS, BLOCKS = 8, 12
"""The size in bytes of the value of a task whose wait is measured, and of one that blocks its session."""


class BesideABacklog:
    """Called with each record's value. Measures the waits of tasks beside a backlog, and the pace of the backlog.

    A value of eight bytes is the time at which it was produced, in nanoseconds of the monotonic clock. A value of
    twelve bytes blocks its session until the end. All other values are the backlog, on which the handler sleeps.
    """

    def __init__(self, job: Job, clock: Clock) -> None:
        self._job = job
        self._clock = clock
        self._waits: list[float] = []
        self._done = itertools.count(1)  # `next` on it is atomic

    def __call__(self, value: bytes) -> None:
        """Run one task in its thread."""
        time.sleep(self._enter(value))
        self._leave(value)

    async def run_async(self, value: bytes) -> None:
        """Run one task as a coroutine."""
        import asyncio

        await asyncio.sleep(self._enter(value))
        self._leave(value)

    def _enter(self, value: bytes) -> float:
        """Note that a task begins, and return how many seconds its handler sleeps."""
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
        # The only way to read an `itertools.count` without advancing it: its repr is "count(N)".
        done, waits = int(repr(self._done)[6:-1]) - 1, sorted(self._waits) or [float("inf")]
        p50, p99 = (waits[int(share * len(waits))] for share in (0.5, 0.99))
        pace = done / self._job.limit / ((self._job.workers - self._job.blocked) / self._job.seconds)
        self._clock.end(done, waits=len(self._waits), p50_s=p50, p99_s=p99, pace=pace)


class SideBySide:
    """Called with each record's partition. Measures how evenly the backlogs of several partitions are processed."""

    def __init__(self, job: Job, clock: Clock) -> None:
        self._job = job
        self._clock = clock
        self._lock = threading.Lock()
        self._done: dict[int, int] = {}
        self._total = 0
        self._least = 1.0
        self._began = 0.0

    def __call__(self, partition: int) -> None:
        """Run one task in its thread."""
        self._enter()
        time.sleep(self._job.seconds)
        self._leave(partition)

    async def run_async(self, partition: int) -> None:
        """Run one task as a coroutine."""
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
    """Print the figures and end the process, from any thread."""
    line = json.dumps({**figures, "versions": f"{versions}, Python {sys.version.split()[0]}"})
    os.write(1, f"\n{MARK}{line}\n".encode())
    os._exit(0)


def rss_mb() -> float:
    """Return the resident memory of the process in MB; its peak on systems without /proc."""
    try:
        with open("/proc/self/statm") as statm:  # noqa: PTH123 — an import would add to the memory
            return int(statm.read().split()[1]) * resource.getpagesize() / 1e6
    except OSError:
        return peak_mb()


def received_mb() -> float:
    """Return how many MB the process's open TCP connections have received (`tcp_info` of Linux); 0 elsewhere."""
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
"""`tcpi_bytes_received` of `struct tcp_info` in <linux/tcp.h>, and its offset there."""


def peak_mb() -> float:
    """Return the peak resident memory of the process in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
