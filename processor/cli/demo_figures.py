"""How fast and how evenly the demo's load was done: measured, and not promised to anyone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

import msgspec

from processor.cli.demo_app import Entry

EVEN = 0.3
"""How far from the mean a part may be and still count as an even share."""


class Figure(msgspec.Struct, frozen=True):
    """One line of the report."""

    name: str
    value: str


def figures(entries: Sequence[Entry], partitions: int, workers: int) -> list[Figure]:
    """Throughput, waiting and running times, and balance.

    Args:
        entries: the ledger.
        partitions: of the topic.
        workers: of all consumers together; one that did nothing is counted with nothing.
    """
    if not entries:
        return [Figure("attempts", "none")]
    began = min(entry.began for entry in entries)
    seconds = max(entry.ended for entry in entries) - began
    busy = sum(entry.ended - entry.began for entry in entries)
    done = sum(entry.outcome == "done" for entry in entries)
    return [
        Figure("throughput", f"{done / seconds:,.0f} tasks/s over {seconds:.1f} s"),
        Figure("workers busy", f"{busy / seconds / workers:.0%} of the time, all {workers} together"),
        Figure("wait in the queue", _percentiles([e.began - began for e in entries if e.attempt == 1])),
        Figure("run", _percentiles([entry.ended - entry.began for entry in entries])),
        Figure("sessions on a partition", _balance(_sessions_by_partition(entries), partitions)),
        Figure("tasks on a consumer", _balance(Counter(e.consumer for e in entries).values(), 1)),
        Figure("tasks on a worker", _balance(Counter((e.consumer, e.worker) for e in entries).values(), workers)),
    ]


def _sessions_by_partition(entries: Sequence[Entry]) -> Collection[int]:
    return Counter(partition for _, partition in {(e.session, e.partition) for e in entries}).values()


def _percentiles(seconds: Sequence[float]) -> str:
    ordered = sorted(seconds)
    parts = [f"p{p} {_duration(ordered[min(len(ordered) * p // 100, len(ordered) - 1)])}" for p in (50, 95, 99)]
    return " · ".join([*parts, f"max {_duration(ordered[-1])}"])


def _duration(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def _balance(counts: Collection[int], places: int) -> str:
    """The least and the most of `places` places, of which those that got nothing are not in `counts`."""
    all_counts = [*counts, *[0] * (places - len(counts))]
    mean = sum(all_counts) / len(all_counts)
    low, high = min(all_counts) / mean - 1, max(all_counts) / mean - 1
    verdict = "within" if max(-low, high) <= EVEN else "outside"
    spread = f"{min(all_counts):,}–{max(all_counts):,}, mean {mean:,.1f}"
    return f"{spread} ({low:+.0%} … {high:+.0%}, {verdict} ±{EVEN:.0%})"
