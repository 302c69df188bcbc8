"""The plots of the page: which figures, and what is said of each."""

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


def plots(watch: Watch, span: Span) -> Iterator[Element]:
    """Throughput, latency, lag, gap, in flight, failures; rebalances and restarts are marked in each."""
    series, marks = watch.load.series, _marks(watch)

    def drawn(heading: str, about: str, lines: list[Line], seconds: bool = False) -> Element:
        return plot(heading, about, lines, marks, span, duration if seconds else short)

    rate = series["tasks_per_second"]
    yield drawn("Throughput", f"tasks settled a second: {_told(rate)}", [Line("tasks/s", A, means(rate.points()))])
    p50, p99 = series["p50_seconds"], series["p99_seconds"]
    yield drawn(
        "Latency of handlers",
        f"at their slowest, 99 of 100 attempts took at most {duration(p99.most)}, and half at most {duration(p50.most)}"
        if p99.points()
        else "these logs do not tell it",
        [Line("p50", A, mosts(p50.points())), Line("p99", B, mosts(p99.points()))],
        seconds=True,
    )
    lag, gap = series["lag"], series["gap"]
    yield drawn("Lag", f"records not committed, all partitions: {_told(lag)}", [Line("lag", A, mosts(lag.points()))])
    yield drawn(
        "Gap",
        f"offsets behind one unfinished task, where it is widest: {_told(gap)}",
        [Line("gap", A, mosts(gap.points()))],
    )
    flight, running = series["in_flight"], series["running"]
    yield drawn(
        "In flight",
        f"tasks taken and not settled: {_told(flight)}",
        [Line("in flight", A, mosts(flight.points())), Line("running", B, mosts(running.points()))],
    )
    failed = series["failures_per_second"]
    yield drawn("Failed attempts", f"a second: {_told(failed)}", [Line("failed/s", A, mosts(failed.points()))])


def _told(series: Series) -> str:
    points = series.points()
    if not points:
        return "these logs do not tell it"
    mean = sum(point.mean for point in points) / len(points)
    return f"{number(mean)} on average, {number(series.most)} at most"


def _marks(watch: Watch) -> list[Mark]:
    names = {"rebalance": "rebalance", "restart": "restart"}
    return [
        Mark(names[kind], kind, [point.at for point in series.points()])
        for kind, series in watch.moments.marks.items()
        if kind in names
    ]
