"""A fleet measured from outside: its start, its memory, its CPU use when idle, and the gain from a second process."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from functools import partial

import psutil

from tests.bench import ends
from tests.bench.arms.job import Job
from tests.bench.row import Row
from tests.bench.stage import Stage
from tests.bench.statistics import Figures, Measure, figure, ratio
from tests.bench.topics import Load, fill
from tests.support.cluster import create_topic
from tests.support.run import Fleet

SPIN_SECONDS = 0.001
WAIT_SECONDS = 60.0


def _fleet(stage: Stage, job: Job, *options: str) -> Fleet:
    return Fleet(
        f"tests.bench.handlers:{job.handler}",
        *("-b", job.servers, "-t", job.topic, "-g", job.group, "--value-format", "bytes", *options),
        folder=stage.folder,
        env=job.to_environment(),
    )


def _path(stage: Stage) -> str:
    return str(stage.folder / f"ends-{uuid.uuid4().hex[:8]}")


def _wait(until: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not until():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} took more than {WAIT_SECONDS:g} s")
        time.sleep(0.01)


# --- start -----------------------------------------------------------------------------------------------------------


def _start(stage: Stage, protocol: str) -> Figures:
    topic = stage.topic(Load(name="short", records=1000))
    job = stage.job(topic, 1, handler="tally", path=_path(stage))
    begin = time.monotonic_ns()
    with _fleet(stage, job, "--group-protocol", protocol):
        _wait(lambda: bool(ends.count(job.path)), "the start")
    return {"seconds": (ends.read(job.path)[0] - begin) / 1e9}


START = Row(
    name="start",
    work="start to first task handled, `-p 1`",
    trials=lambda stage: {protocol: partial(_start, stage, protocol) for protocol in ("consumer", "classic")},
    measures=lambda _: [
        Measure(name="with KIP-848", unit="s", of=figure("consumer", "seconds"), at_most=1.5),
        Measure(name="with the classic protocol", unit="s", of=figure("classic", "seconds")),
    ],
)

# --- memory ----------------------------------------------------------------------------------------------------------


def _memory(stage: Stage, handler: str, seconds: float, *, shrinks: bool = False) -> Figures:
    load = Load(name="backlog" if shrinks else "noise", records=stage.tasks(1_000_000), shrinks=shrinks)
    job = stage.job(stage.topic(load), 0, handler=handler, seconds=seconds)
    with _fleet(stage, job) as fleet:
        fleet.wait_for("consumer.assigned")
        (consumer,) = map(psutil.Process, fleet.consumers())
        deadline = time.monotonic() + stage.seconds(6.0, 3.0)
        most = 0
        while time.monotonic() < deadline:
            most = max(most, consumer.memory_info().rss)
            time.sleep(0.05)
    return {"rss_mb": most / 1e6}


MEMORY = Row(
    name="memory",
    work="memory at the default limits, backlog of a million",
    trials=lambda stage: {
        "busy": partial(_memory, stage, "nothing", 0.0),
        "full": partial(_memory, stage, "sleep", 0.01),
        "compressed": partial(_memory, stage, "sleep", 0.01, shrinks=True),
    },
    measures=lambda _: [
        Measure(name="RSS, no-op", unit="MB", of=figure("busy", "rss_mb"), at_most=160),
        Measure(name="RSS, 10 ms, always full", unit="MB", of=figure("full", "rss_mb"), at_most=160),
        Measure(name="the same, tenfold compressed", unit="MB", of=figure("compressed", "rss_mb"), at_most=160),
    ],
)

# --- idle ------------------------------------------------------------------------------------------------------------


def _idle(stage: Stage) -> Figures:
    job = stage.job(create_topic(stage.servers, stage.name("idle"), 8), 0)
    with _fleet(stage, job) as fleet:
        fleet.wait_for("consumer.assigned")
        time.sleep(1.0)
        (consumer,), parent = map(psutil.Process, fleet.consumers()), psutil.Process(fleet.pid)
        before, begin = (_cpu(consumer), _cpu(parent)), time.monotonic()
        time.sleep(stage.seconds(10.0, 3.0))
        seconds = time.monotonic() - begin
        return {
            "percent": (_cpu(consumer) - before[0]) / seconds * 100,
            "parent_percent": (_cpu(parent) - before[1]) / seconds * 100,
        }


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


IDLE = Row(
    name="idle",
    work="idle, no traffic",
    trials=lambda stage: {"processor": partial(_idle, stage)},
    measures=lambda _: [
        Measure(name="CPU of a consumer", unit="%", of=figure("processor", "percent"), at_most=0.5),
        Measure(name="CPU of the fleet's parent", unit="%", of=figure("processor", "parent_percent")),
    ],
)

# --- a second process ------------------------------------------------------------------------------------------------


def turns() -> int:
    """Return how many iterations of an empty loop take a millisecond on this machine."""
    best = min(_seconds_of(100_000) for _ in range(5))
    return int(100_000 * SPIN_SECONDS / best)


def _seconds_of(count: int) -> float:
    begin = time.process_time()
    for _ in range(count):
        pass
    return time.process_time() - begin


def _spin(stage: Stage, processes: int, count: int) -> Figures:
    tasks = stage.tasks(6_000, 1_000)
    topic = create_topic(stage.servers, stage.name("spin"), 8)
    job = stage.job(topic, tasks, handler="spin", turns=count, path=_path(stage))
    with _fleet(stage, job, "-p", str(processes)) as fleet:
        _wait(lambda: _shared(fleet, processes), "the group's balance")
        fill(stage.servers, topic, Load(name="spin", records=tasks, keyed=False))
        _wait(lambda: ends.count(job.path) >= tasks, f"{tasks} tasks of a millisecond")
    done = ends.read(job.path)
    return {"rate": (tasks - 1) / ((done[tasks - 1] - done[0]) / 1e9)}


def _shared(fleet: Fleet, processes: int, partitions: int = 8) -> bool:
    """Return whether each consumer has its share of the partitions."""
    return all(len(fleet.partitions_of(each)) == partitions // processes for each in range(processes))


def balance(protocol: str, stage: Stage, processes: float) -> Figures:
    """Return how long a fleet takes from its start until its consumers share 200 partitions."""
    topic = stage.topic(Load(name="wide", records=0, partitions=200))
    begin = time.monotonic()
    with _fleet(stage, stage.job(topic, 0), "--group-protocol", protocol, "-p", str(int(processes))) as fleet:
        _wait(lambda: _shared(fleet, int(processes), 200), "the group's balance")
        return {"seconds": time.monotonic() - begin}


def _spin_trials(stage: Stage) -> Mapping[str, Callable[[], Figures]]:
    count = turns()
    return {f"-p {processes}": partial(_spin, stage, processes, count) for processes in (1, 2)}


CPU = Row(
    name="cpu",
    work="CPU-bound handler (1 ms of Python), `-p 2` against `-p 1`",
    trials=_spin_trials,
    measures=lambda _: [
        Measure(name="-p 1", unit="tasks/s", of=figure("-p 1")),
        Measure(name="-p 2", unit="tasks/s", of=figure("-p 2")),
        Measure(name="speed-up", of=ratio("-p 2", "-p 1"), at_least=1.7),
    ],
)
