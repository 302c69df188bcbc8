"""The demo on the screen, from the fleet's log: live on a terminal, one line per second otherwise."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from processor.observe.consumer import ConsumerNow
from processor.observe.follow import FileTail, merged
from processor.observe.lines import ReadStats
from processor.observe.partition import PartitionNow
from processor.observe.watch import Watch
from processor.observe.wording import spark

LOOK_SECONDS: Final = 0.125
LINE_SECONDS: Final = 1.0

JOIN_SECONDS: Final = 20.0
"""Longest wait for consumers before tasks are sent. A consumer starts in 1 s, or in 8 s on a very busy machine."""

SPARK_COLUMNS: Final = 48


class Size(NamedTuple):
    """The size of the demo."""

    tasks: int
    consumers: int
    partitions: int


class Progress:
    """The progress of the fleet, from the state of a `Watch`. Only one thread may use it.

    Args:
        size: the size of the demo.
        watch: the observer's state of the fleet.
    """

    def __init__(self, size: Size, watch: Watch) -> None:
        self.size = size
        self.watch = watch

    @property
    def consumers(self) -> list[ConsumerNow | None]:
        """The latest process of each place in the fleet; None before its first log line."""
        last = {consumer.index: consumer for consumer in self.watch.consumers.values()}
        return [last.get(index) for index in range(self.size.consumers)]

    @property
    def partitions(self) -> dict[int, PartitionNow]:
        """The partitions that a consumer has reported, by their numbers."""
        return {partition.number: partition for partition in self.watch.partitions.values()}

    @property
    def settled(self) -> int:
        """Tasks that succeeded or were dead-lettered."""
        return self.watch.load.counts.succeeded + self.watch.load.counts.dead_lettered

    @property
    def lag(self) -> int:
        """Records that are not committed, as far as consumers have reported."""
        return sum(partition.lag_now or 0 for partition in self.partitions.values())

    @property
    def have_joined(self) -> bool:
        """Return whether every consumer has partitions."""
        return all(consumer is not None and consumer.state == "working" for consumer in self.consumers)

    @property
    def is_done(self) -> bool:
        """Return whether the group has committed every task: the offsets of the demo begin at 0 and have no holes.

        The counts of consumers do not show it: a consumer that was killed and replaced counts some tasks twice.
        """
        return sum(partition.stats.committed or 0 for partition in self.partitions.values()) >= self.size.tasks

    def total(self, field: str) -> float:
        """Return the sum of a figure over the statistics of the consumers that have not ended."""
        return float(sum(_figure(consumer, field) for consumer in self.watch.living()))


def _figure(consumer: ConsumerNow | None, field: str) -> float:
    stats = consumer.stats if consumer is not None else None
    return 0.0 if stats is None else float(getattr(stats, field))


def _state(consumer: ConsumerNow | None) -> str:
    return "starting" if consumer is None else consumer.state


class View:
    """Follows the log and shows the state of the fleet, in a separate thread, inside its context.

    Args:
        console: the terminal, or the stream for lines.
        size: the size of the demo.
        log: JSON lines that the consumers append to; it must exist.
        when_joined: called once, in that thread, when every consumer has partitions, or after `JOIN_SECONDS`.
        when_done: called once, in that thread, when every task is committed, or when the console is a pipe that has no
            reader any more.
    """

    def __init__(
        self, console: Console, size: Size, log: Path, when_joined: Callable[[], None], when_done: Callable[[], None]
    ) -> None:
        self.is_done = False
        self._progress = Progress(size, Watch())
        self._tail = FileTail(log, "", ReadStats())
        self._when_joined: Callable[[], None] | None = when_joined
        self._when_done = when_done
        self._console = console
        self._error: BaseException | None = None
        self._ended = threading.Event()
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        self._thread = threading.Thread(target=self._run, name="demo-view", daemon=True)
        self._began = time.monotonic()
        self._next_line = 0.0

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._tail.close()
        if self._error is not None:
            raise self._error
        if self._live is not None:
            self._live.stop()

    def _run(self) -> None:
        try:
            self._follow()
        except (OSError, SystemExit) as broken:  # Rich raises SystemExit where nothing reads the console
            self._error = broken  # this thread cannot end the program: `__exit__` raises it
            self._when_done()

    def _follow(self) -> None:
        while not self._ended.wait(LOOK_SECONDS):
            for event in merged([self._tail]):
                self._progress.watch.handle(event)
            self._show()
            self._notify()

    def _show(self) -> None:
        now = time.monotonic()
        if self._live is not None:
            self._live.update(screen(self._progress, now - self._began), refresh=True)
        elif now >= self._next_line:
            self._next_line = now + LINE_SECONDS
            self._console.print(line(self._progress), markup=False, highlight=False, soft_wrap=True)

    def _notify(self) -> None:
        waited = time.monotonic() - self._began >= JOIN_SECONDS
        if self._when_joined is not None and (self._progress.have_joined or waited):
            self._when_joined()
            self._when_joined = None
        if not self.is_done and self._progress.is_done:
            self.is_done = True
            self._when_done()


def line(progress: Progress) -> str:
    """The state in one line."""
    counts = progress.watch.load.counts
    figures = {
        "lag": progress.lag,
        "in flight": progress.total("in_flight"),
        "sessions": progress.total("active_sessions"),
        "retried": counts.retried,
        "dead letters": counts.dead_lettered,
    }
    states = ", ".join(_state(consumer) for consumer in progress.consumers)
    named = ", ".join(f"{name} {value:,.0f}" for name, value in figures.items())
    rate = progress.total("tasks_per_second")
    return f"{progress.settled:,}/{progress.size.tasks:,} settled, {rate:,.0f}/s, {named} ({states})"


def screen(progress: Progress, seconds: float) -> Group:
    """The state as a table of consumers, one of partitions, and the progress."""
    return Group(Text(), _bar(progress, seconds), Text(), _consumers(progress), Text(), _partitions(progress))


def _bar(progress: Progress, seconds: float) -> Table:
    row = Table.grid(padding=(0, 2), expand=True)
    row.add_column(no_wrap=True)
    row.add_column(ratio=1)
    row.add_column(no_wrap=True)
    row.add_row(
        f"{progress.settled:,}/{progress.size.tasks:,} settled",
        ProgressBar(total=progress.size.tasks, completed=progress.settled),
        f"{seconds:.0f} s",
    )
    rates = [each.tasks_per_second for each in progress.watch.load.trail]
    row.add_row(
        f"{progress.total('tasks_per_second'):,.0f} tasks/s", Text(spark(rates, SPARK_COLUMNS), style="cyan"), ""
    )
    return row


_FIGURES: Final = {
    "tasks/s": "tasks_per_second",
    "in flight": "in_flight",
    "running": "running",
    "sessions": "active_sessions",
    "done": "succeeded",
    "retried": "retried",
    "dead": "dead_lettered",
}
"""The columns of a consumer's statistics. The last row of the table has their sums."""


def _consumers(progress: Progress) -> Table:
    table = Table(box=None, padding=(0, 1), header_style="bold", expand=True, footer_style="bold", show_footer=True)
    table.add_column("consumer", footer="all", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for name, field in _FIGURES.items():
        table.add_column(name, justify="right", footer=f"{progress.total(field):,.0f}", no_wrap=True)
    for index, consumer in enumerate(progress.consumers):
        figures = (f"{_figure(consumer, field):,.0f}" for field in _FIGURES.values())
        table.add_row(str(index), _state(consumer), *figures)
    return table


def _partitions(progress: Progress) -> Table:
    known = progress.partitions
    table = Table(box=None, padding=(0, 1), header_style="bold", expand=True, footer_style="bold", show_footer=True)
    table.add_column("partition", footer="all")
    sessions = sum(partition.stats.active_sessions for partition in known.values())
    gap = max((partition.stats.gap for partition in known.values()), default=0)
    footers = ("", f"{sessions:,}", f"{progress.lag:,}", "", f"{gap:,} at most")
    for name, footer in zip(("consumer", "sessions", "lag", "commit point", "done ahead of it"), footers, strict=True):
        table.add_column(name, justify="right", no_wrap=True, footer=footer)
    for number in range(progress.size.partitions):
        table.add_row(str(number), *_cells(known.get(number)))
    return table


def _cells(partition: PartitionNow | None) -> tuple[str, ...]:
    if partition is None:
        return ("–",) * 5
    stats, owner = partition.stats, partition.consumer
    numbers = (stats.active_sessions, stats.lag, stats.commit_point, stats.gap)
    return (
        "–" if owner is None else str(owner.index),
        *("–" if value is None else f"{value:,}" for value in numbers),
    )
