"""The live view of `processor monitor`: the state as lines of text that fit a terminal of any size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from rich.console import Group
from rich.table import Table
from rich.text import Text

from processor.cli.monitor import rows
from processor.cli.monitor.rows import fitted, laid_out
from processor.observe.lines import ReadStats
from processor.observe.report.findings import Finding, findings
from processor.observe.report.text import NOTHING, about, partition_count
from processor.observe.watch import Watch
from processor.observe.wording import clock, duration, many, number, spark

WIDE: Final = 140
"""The fewest columns with which the lists are side by side."""

BETWEEN: Final = 2
"""Columns between the lists."""

LATE: Final = 15.0
"""Seconds without an event after which the view shows its age."""


def screen(watch: Watch, read: ReadStats, now: float, width: int, height: int) -> Group | Table:
    """Return the state at `now` (seconds since the epoch), in `width` columns and `height` lines."""
    if watch.began is None:
        return Group(*_waiting(read))
    found = findings(watch, now)
    head = fitted(_head(watch, read, found, now, width), width)
    room = height - len(head)
    if width < WIDE:
        sections = [rows.partitions(watch, found, now, width), *rows.lists(watch, now, width)]
        return Group(*head, *laid_out(sections, width, room))
    left = width // 2 - 1
    right = width - left - BETWEEN
    consumers = [rows.partitions(watch, found, now, left), rows.consumers(watch, now)]
    sides = Table.grid(padding=(0, BETWEEN, 0, 0))
    sides.add_column(width=left)
    sides.add_column(width=right)
    sides.add_row(
        Group(*laid_out(consumers, left, room)),
        Group(*laid_out(rows.lists(watch, now, right), right, room)),
    )
    return Group(*head, sides)


def line(watch: Watch, read: ReadStats, now: float) -> str:
    """Return the state in one line, for output that is not a terminal."""
    if watch.began is None:
        return f"{clock(now)} no event yet in {many(read.lines, 'line')}"
    last = watch.load.trail[-1] if watch.load.trail else None
    figures = [
        f"{number(last.tasks_per_second if last else 0)}/s",
        f"lag {number(last.lag if last else 0)}",
        f"in flight {number(last.in_flight if last else 0)}",
        many(watch.load.counts.dead_lettered, "dead letter"),
    ]
    faults = [
        f"{finding.partition.name} {finding.word}" + (f" by session {block.session_id}" if block else "")
        for finding in findings(watch, now)
        if finding.status.is_fault
        for block in [finding.partition.head_block]
    ]
    more = f" and {len(faults) - 3:,} more" if len(faults) > 3 else ""
    return f"{clock(now)} {' · '.join(figures)}{' · ' if faults else ''}{', '.join(faults[:3])}{more}"


def _waiting(read: ReadStats) -> Iterator[Text]:
    yield Text("waiting for the first event", style="bold")
    if read.foreign:
        yield Text(f"{many(read.foreign, 'line')} so far, none of them an event. {NOTHING}")


def _head(watch: Watch, read: ReadStats, found: list[Finding], now: float, width: int) -> list[Text]:
    """Return the first lines. The state comes before the counts, because a narrow terminal cuts the end."""
    faults = sum(finding.status.is_fault for finding in found)
    partitions = partition_count(watch)
    first = Text(f"{about(watch)} · ", style="bold")
    if faults:
        first.append(f"{faults:,} of {partitions} at fault", style="red")
    else:
        first.append(f"{partitions}, none at fault", style="green")
    first.append(f" · {many(len(watch.living()), 'consumer')}")
    return [first, _totals(watch, read, now), *_plots(watch, width)]


def _totals(watch: Watch, read: ReadStats, now: float) -> Text:
    counts, events = watch.load.counts, watch.timeline.counts
    figures = [f"{number(counts.succeeded)} succeeded"]
    figures += [f"{number(counts.retried)} retried"] if counts.retried else []
    figures += [many(counts.dead_lettered, "dead letter")] if counts.dead_lettered else []
    figures += [many(events["restart"], "restart")] if events["restart"] else []
    figures += [f"{number(read.foreign)} foreign lines"] if read.foreign else []
    age = now - watch.now
    row = Text(f"{clock(watch.now)} UTC", style="dim")
    row.append(f", {duration(age)} ago" if age >= LATE else "", style="yellow")
    return row.append(f" · {' · '.join(figures)}", style="not dim")


def _plots(watch: Watch, width: int) -> list[Text]:
    trail = list(watch.load.trail)
    if not trail:
        return []
    last = trail[-1]
    latency = f"p50 {_seconds(last.p50_seconds)}  p99 {_seconds(last.p99_seconds)}"
    columns = max(8, width - 40)
    rates = [each.tasks_per_second for each in trail]
    slowest = [each.p99_seconds or 0.0 for each in trail]
    return [
        _plot("tasks/s", f"{number(last.tasks_per_second)}  max {number(max(rates))}", rates, columns, "cyan"),
        _plot("latency", latency, slowest, columns, "magenta"),
    ]


def _plot(name: str, figures: str, values: list[float], columns: int, style: str) -> Text:
    row = Text(f"{name:<9}{figures:<28}  ")
    row.append(spark(values, columns), style=style)
    return row


def _seconds(value: float | None) -> str:
    return "–" if value is None else duration(value)
