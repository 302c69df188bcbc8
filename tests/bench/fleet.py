"""Estimates the throughput of a fleet on a cluster from measurements on one machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.bench.chart import short
from tests.bench.report import Results
from tests.bench.sweep import Swept

COMMITS = "commits"
"""The name of the sweep that measures how many commits a coordinator handles."""

CONSUMERS = (4, 16, 64, 256, 1000)
PARTITIONS_EACH = 4
"""Partitions per consumer. When a consumer fails, four others take over a partition each, instead of one taking all."""

WORK = {"nothing": "no-op", "1ms": "1 ms, `-w 64`", "10ms": "10 ms, `-w 64`", "async": "100 ms async, `-w 2000`"}


def table(results: Results, swept: Sequence[Swept]) -> str:
    """Return tasks per second by the number of consumers, one core each, and the share of a coordinator's commits used.

    Brokers and network are not modelled. With brokers on their own cores, a consumer is faster than measured here.
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
    """Return the commits per second with metadata of the usual size."""
    commits = next(one for one in swept if one.name == COMMITS)
    return commits.series["metadata of 400 characters"][0][1]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
