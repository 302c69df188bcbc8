"""What a fleet on a cluster would reach, worked out from what was measured on one machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.bench.chart import short
from tests.bench.report import Results
from tests.bench.sweep import Swept

COMMITS = "commits"
"""The name of the sweep that measures what a coordinator takes."""

CONSUMERS = (4, 16, 64, 256, 1000)
PARTITIONS_EACH = 4
"""So many partitions for each consumer: one that fails leaves its share to four others and not to one."""

WORK = {"nothing": "no-op", "1ms": "1 ms, `-w 64`", "10ms": "10 ms, `-w 64`", "async": "100 ms async, `-w 2000`"}


def table(results: Results, swept: Sequence[Swept]) -> str:
    """Tasks a second by the number of consumers, with a core for each, and what their commits ask of the coordinator.

    Neither brokers nor network are in it: with both on cores of their own a consumer is faster than what was measured.
    """
    rates = _rates(results)
    capacity = _capacity(swept)
    head = ["consumers", "partitions", *(WORK[name] for name in rates), "commits/s", "of what one coordinator takes"]
    lines = [_line(head), "| --- |" + " --- |" * (len(head) - 1)]
    for consumers in CONSUMERS:
        reached = [f"{short(rate * consumers)}/s" for rate in rates.values()]
        lines.append(
            _line(
                [
                    f"{consumers:,}",
                    f"{consumers * PARTITIONS_EACH:,}",
                    *reached,
                    f"{consumers:,}",
                    f"{consumers / capacity:.1%}",
                ]
            )
        )
    return "\n".join(lines)


def _rates(results: Results) -> Mapping[str, float]:
    return {
        outcome.name: verdict.spread.median
        for outcome in results.outcomes
        for verdict in outcome.verdicts
        if outcome.name in WORK and verdict.name == "processor"
    }


def _capacity(swept: Sequence[Swept]) -> float:
    """Commits a second with metadata of the usual size."""
    commits = next(one for one in swept if one.name == COMMITS)
    return commits.series["metadata of 400 characters"][0][1]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
