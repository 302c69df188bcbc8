"""The plots of the page: which figures, and a sentence about each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from processor.observe.report.markup import Element
from processor.observe.report.plot import Line, Mark, Span, means, mosts, plot
from processor.observe.series import Series
from processor.observe.watch import Watch
from processor.observe.wording import duration, number, short

A: Final = "line a"
B: Final = "line b"

NO_VALUES: Final = "these logs have no values of it"


def plots(watch: Watch, span: Span) -> Iterator[Element]:
    """Yield throughput, latency, lag, gap, in flight and failures, each with rebalances and restarts marked."""
    series, marks = watch.load.series, _marks(watch)

    def drawn(heading: str, about: str, lines: list[Line], seconds: bool = False) -> Element:
        return plot(heading, about, lines, marks, span, duration if seconds else short)

    rate = series["tasks_per_second"]
    yield drawn("Throughput", f"tasks settled per second: {_summary(rate)}", [Line("tasks/s", A, means(rate.points()))])
    p50, p99 = series["p50_seconds"], series["p99_seconds"]
    yield drawn(
        "Duration of attempts",
        f"maximum p50 {duration(p50.most)}, maximum p99 {duration(p99.most)}" if p99.points() else NO_VALUES,
        [Line("p50", A, mosts(p50.points())), Line("p99", B, mosts(p99.points()))],
        seconds=True,
    )
    lag, gap = series["lag"], series["gap"]
    yield drawn("Lag", f"records not committed, all partitions: {_summary(lag)}", [Line("lag", A, mosts(lag.points()))])
    yield drawn(
        "Gap",
        f"offsets from the commit point to the highest settled one, widest partition: {_summary(gap)}",
        [Line("gap", A, mosts(gap.points()))],
    )
    flight, running = series["in_flight"], series["running"]
    yield drawn(
        "In flight",
        f"tasks fetched and not settled: {_summary(flight)}",
        [Line("in flight", A, mosts(flight.points())), Line("running", B, mosts(running.points()))],
    )
    failed = series["failures_per_second"]
    yield drawn("Failed attempts", f"per second: {_summary(failed)}", [Line("failed/s", A, mosts(failed.points()))])


def _summary(series: Series) -> str:
    points = series.points()
    if not points:
        return NO_VALUES
    mean = sum(point.mean for point in points) / len(points)
    return f"average {number(mean)}, maximum {number(series.most)}"


def _marks(watch: Watch) -> list[Mark]:
    names = {"rebalance": "rebalance", "restart": "restart"}
    return [
        Mark(names[kind], kind, [point.at for point in series.points()])
        for kind, series in watch.timeline.marks.items()
        if kind in names
    ]
