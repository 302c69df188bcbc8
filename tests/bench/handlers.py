"""The processor's handlers in each row. The job is passed in the environment, since they may run under the CLI."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from processor import Processor, Task
from tests.bench.arms.job import BesideABacklog, Clock, Job, SideBySide
from tests.bench.ends import STAMP, Ends
from tests.bench.inserts import Inserts

JOB = Job.from_environment()
CLOCK = Clock(JOB)

SECONDS = JOB.seconds
WARM_UP_SECONDS = 1.0
"""Records in this time after the first one are ignored: they would measure the start, not the steady state."""


def chosen() -> Callable[[Task], Any] | Processor:
    """Return the handler or the application that the job names."""
    found: Callable[[Task], Any] | Processor = globals()[JOB.handler]
    return found


def nothing(_: Task) -> None:
    if CLOCK.began is None:
        CLOCK.begin()


def sleep(_: Task) -> None:
    if CLOCK.began is None:
        CLOCK.begin()
    time.sleep(SECONDS)


def answer(task: Task) -> bytes:
    if CLOCK.began is None:
        CLOCK.begin()
    result: bytes = task.payload
    return result


def answer_later(task: Task) -> bytes:
    result = answer(task)
    time.sleep(SECONDS)
    return result


async def sleep_async(_: Task) -> None:
    if CLOCK.began is None:
        CLOCK.begin()
    await asyncio.sleep(SECONDS)


def stick(task: Task) -> None:
    """Sleeps `seconds` on the first record of a partition, and not at all on the others."""
    if CLOCK.began is None:
        CLOCK.begin()
    if not task.offset:
        time.sleep(SECONDS)


# --- handlers that do their own counting ---------------------------------------------------------------------------

_others: list[None] = []
_others_in_its_partition: list[None] = []
_latencies: list[int] = []


def beside_a_hot_session(task: Task) -> None:
    """Counts the tasks of other sessions, in the hot session's partition (0) and in the other partitions."""
    if CLOCK.began is None:
        CLOCK.begin()
    time.sleep(SECONDS)
    if task.session_id == "hot":
        return
    if task.partition == 0:
        _others_in_its_partition.append(None)
        return
    _others.append(None)
    if len(_others) >= JOB.tasks:
        CLOCK.end(JOB.tasks, in_its_partition=len(_others_in_its_partition))


def lone(task: Task) -> None:
    """Measures latency: the value of a task is the time at which it was produced."""
    now = time.monotonic_ns()
    if CLOCK.began is None:
        CLOCK.begin()
    if time.perf_counter() - (CLOCK.began or 0.0) < WARM_UP_SECONDS:
        return
    _latencies.append(now - STAMP.unpack(task.payload)[0])
    if len(_latencies) == JOB.tasks:
        ordered = sorted(_latencies)
        p50, p99 = (ordered[int(share * len(ordered))] / 1e6 for share in (0.5, 0.99))
        CLOCK.end(JOB.tasks, p50_ms=p50, p99_ms=p99, max_ms=ordered[-1] / 1e6)


FETCH_SECONDS = 2.0
"""A consumer takes this long to fetch a backlog that it has room for. It sees records produced meanwhile only then."""

_began_at: list[float] = []
"""When the first task began, in seconds since the epoch."""
_urgent_waits: list[float] = []
_waits: list[float] = []


def urgent(task: Task) -> None:
    """Measures how long tasks waited: urgent ones since the broker's timestamp, others since the start of the work."""
    now = time.time()
    if CLOCK.began is None:
        _began_at.append(now)
        CLOCK.begin()
    if not task.session_id.startswith("u"):
        _waits.append(now - _began_at[0])
    elif task.timestamp / 1000 > _began_at[0] + FETCH_SECONDS:
        _urgent_waits.append(now - task.timestamp / 1000)
    time.sleep(SECONDS)
    if len(_waits) >= JOB.tasks and _urgent_waits:
        ordered, mean = sorted(_urgent_waits), sum(_waits) / len(_waits) * 1000
        p50, p99 = (ordered[int(share * len(ordered))] * 1000 for share in (0.5, 0.99))
        CLOCK.end(JOB.tasks, urgent_p50_ms=p50, urgent_p99_ms=p99, others_mean_ms=mean, p99_to_mean=p99 / mean)


_beside_a_backlog = BesideABacklog(JOB, CLOCK)
_side_by_side = SideBySide(JOB, CLOCK)


def beside_a_backlog(task: Task) -> None:
    _beside_a_backlog(task.payload)


async def beside_a_backlog_async(task: Task) -> None:
    await _beside_a_backlog.run_async(task.payload)


def side_by_side(task: Task) -> None:
    _side_by_side(task.partition)


async def side_by_side_async(task: Task) -> None:
    await _side_by_side.run_async(task.partition)


COUNTS_ITSELF = JOB.handler in {
    "beside_a_hot_session", "lone", "urgent", "beside_a_backlog", "beside_a_backlog_async", "side_by_side",
    "side_by_side_async",
}  # fmt: skip

# --- handlers that write to a database ------------------------------------------------------------------------------

_inserts = Inserts(CLOCK) if JOB.handler in ("insert", "insert_batches") else None


def insert(task: Task) -> None:
    """Inserts each task in its own transaction."""
    assert _inserts is not None
    _inserts.one(task)


insert_batches = _inserts.batches() if _inserts is not None else None
"""An application that inserts each batch in one transaction."""

# --- handlers that record the end of each task in a file -----------------------------------------------------------

_ends = Ends(JOB.path) if JOB.path else None


def tally(_: Task) -> None:
    """Records the time and does nothing else."""
    assert _ends is not None
    _ends.note()


def spin(_: Task) -> None:
    """Keeps a CPU core busy with pure Python."""
    assert _ends is not None
    for _turn in range(JOB.turns):
        pass
    _ends.note()
