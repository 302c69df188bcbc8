"""`--show batches`: tasks for a handler of batches, and checks of the batches' sizes and of the tasks that failed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

from processor.cli.demo.app import BATCH, Entry
from processor.cli.demo.checks import Fact, Figure, percentiles
from processor.cli.demo.load import Fate, Planned, plan
from processor.engine.record import Record

SINGLE_ONE_IN: Final = 10
"""One task in this many is for the handler of single tasks, which runs beside the batches."""

FAULTY_ONE_IN: Final = 100
"""One task in this many fails in its batch, at first or permanently. Each of them has its own session."""

FAULTY_FATES: Final[Sequence[Fate]] = ("retried", "exhausted")

LEAST_MEAN: Final = 10
"""The least average number of tasks in a batch. With a backlog, nearly all batches are full."""


def plan_batches(tasks: int, sessions: int) -> list[Planned]:
    """Return tasks for batches, some of which fail, mixed with tasks for the handler of single ones."""
    chance = random.Random(4)
    singles = plan(max(1, tasks // SINGLE_ONE_IN), sessions)
    faulty = max(1, tasks // FAULTY_ONE_IN)
    readings = [
        Planned(f"reading-{number % sessions:03d}", number // sessions, "plain", 0.0, batched=True)
        for number in range(tasks - len(singles) - faulty)
    ]
    for number in range(faulty):
        task = Planned(f"faulty-{number:03d}", 0, FAULTY_FATES[number % len(FAULTY_FATES)], 0.0, batched=True)
        readings.insert(chance.randint(0, len(readings)), task)
    return _mixed(singles, readings, chance)


def _mixed(some: Sequence[Planned], others: Sequence[Planned], chance: random.Random) -> list[Planned]:
    """Return both, mixed at random. Each keeps its own order."""
    both = len(some) + len(others)
    places = set(chance.sample(range(both), len(some)))
    rest, left = iter(some), iter(others)
    return [next(rest if place in places else left) for place in range(both)]


def summary_of_batches(planned: Sequence[Planned]) -> str:
    """Return the numbers of these tasks as a sentence."""
    batched = [task for task in planned if task.batched]
    faulty = sum(task.fate != "plain" for task in batched)
    return f"{len(batched):,} of them are handled in batches of up to {BATCH}; {faulty:,} fail in their batch."


def check_batches(planned: Sequence[Planned], entries: Sequence[Entry], _letters: Sequence[Record]) -> list[Fact]:
    """Check that tasks are handled in batches, and after a failure one by one."""
    sizes = _sizes(entries)
    mean = sum(sizes) / len(sizes) if sizes else 0.0
    again = [entry for entry in entries if entry.batch is not None and entry.attempt > 1]
    alone = sum(entry.batch == 1 for entry in again)
    wanted = sum(task.attempts - 1 for task in planned if task.batched)
    return [
        Fact("tasks come in batches", mean >= LEAST_MEAN, f"{len(sizes):,} batches, {mean:.1f} tasks on average"),
        Fact(
            "failed tasks run alone",
            alone == len(again) == wanted,
            f"{alone:,} of {len(again):,} later attempts alone, {wanted:,} expected",
        ),
    ]


def figures_of_batches(_planned: Sequence[Planned], entries: Sequence[Entry]) -> list[Figure]:
    """Return the sizes of the batches, and the waiting times of their tasks."""
    sizes = sorted(_sizes(entries))
    waits = [entry.waited for entry in entries if entry.batch is not None and entry.attempt == 1]
    middle = sizes[len(sizes) // 2] if sizes else 0
    full = sum(size == BATCH for size in sizes)
    return [
        Figure("tasks of a batch", f"p50 {middle} · max {sizes[-1] if sizes else 0} · {full:,} full of {len(sizes):,}"),
        Figure("wait of tasks for batches", percentiles(waits)),
    ]


def _sizes(entries: Sequence[Entry]) -> list[int]:
    """Return the size of each batch of first attempts. Its tasks stand one after the other in a worker's entries."""
    by_worker: dict[tuple[int, str], int] = {}
    sizes = []
    for entry in entries:
        if entry.batch is None or entry.attempt > 1:
            continue
        worker = (entry.consumer, entry.worker)
        left = by_worker.get(worker, 0)
        if not left:
            sizes.append(entry.batch)
            left = entry.batch
        by_worker[worker] = left - 1
    return sizes
