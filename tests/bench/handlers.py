"""What the processor's handlers do in each row; the job comes by the environment, as they may run under its own CLI."""

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
"""Records in this time after the first one measure the start, not the steady state."""


def chosen() -> Callable[[Task], Any] | Processor:
    """The handler that the job names, or an application."""
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
    """The first record of a partition takes `seconds`, the others nothing."""
    if CLOCK.began is None:
        CLOCK.begin()
    if not task.offset:
        time.sleep(SECONDS)


# --- those that count by themselves --------------------------------------------------------------------------------

_others: list[None] = []
_others_in_its_partition: list[None] = []
_latencies: list[int] = []


def beside_a_hot_session(task: Task) -> None:
    """The others' speed: in the hot session's partition, which is 0, and outside it."""
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
    """The value holds the time at which it was produced."""
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
"""In this time a consumer fetches a backlog that it has room for. What comes meanwhile is behind it, and unseen."""

_began_at: list[float] = []
"""When the work began, in seconds since the epoch, as the first task found it."""
_urgent_waits: list[float] = []
_waits: list[float] = []


def urgent(task: Task) -> None:
    """Urgent tasks have waited since the broker got them, the others since the work began."""
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

# --- those that write to a database ---------------------------------------------------------------------------------

_inserts = Inserts(CLOCK) if JOB.handler in ("insert", "insert_batches") else None


def insert(task: Task) -> None:
    """A transaction for each task."""
    assert _inserts is not None
    _inserts.one(task)


insert_batches = _inserts.batches() if _inserts is not None else None
"""A transaction for each batch."""

# --- those that tell other processes -------------------------------------------------------------------------------

_ends = Ends(JOB.path) if JOB.path else None


def tally(_: Task) -> None:
    """Nothing but the time."""
    assert _ends is not None
    _ends.note()


def spin(_: Task) -> None:
    """Work for a processor core, all of it in Python."""
    assert _ends is not None
    for _turn in range(JOB.turns):
        pass
    _ends.note()
