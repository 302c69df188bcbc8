"""The demo on the screen: live on a terminal, a line a second off one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from processor.cli.demo.watch import ConsumerNow, Watch

LOOK_SECONDS: Final = 0.125
LINE_SECONDS: Final = 1.0

BARS: Final = "▁▂▃▄▅▆▇█"


class View:
    """Shows what `watch` sees, from a thread of its own, between entering and leaving.

    `when_done` is called once, from that thread, when everything is done.
    """

    def __init__(self, console: Console, watch: Watch, when_done: Callable[[], None]) -> None:
        self._when_done: Callable[[], None] | None = when_done
        self._console = console
        self._watch = watch
        self._ended = threading.Event()
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        self._thread = threading.Thread(target=self._show, name="demo-view", daemon=True)
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
        if self._live is not None:
            self._live.stop()

    def _show(self) -> None:
        while not self._ended.wait(LOOK_SECONDS):
            self._watch.look()
            if self._live is not None:
                self._live.update(screen(self._watch, time.monotonic() - self._began), refresh=True)
            elif time.monotonic() >= self._next_line:
                self._next_line = time.monotonic() + LINE_SECONDS
                self._console.print(line(self._watch), markup=False, highlight=False, soft_wrap=True)
            if self._when_done is not None and self._watch.is_done:
                self._when_done()
                self._when_done = None


def line(watch: Watch) -> str:
    """The state in one line."""
    states = ", ".join(consumer.state for consumer in watch.consumers)
    figures = {
        "lag": watch.lag,
        "in flight": watch.total("in_flight"),
        "lanes": watch.total("active_sessions"),
        "retried": watch.total("retried"),
        "dead letters": watch.total("dead_lettered"),
    }
    told = ", ".join(f"{name} {value:,.0f}" for name, value in figures.items())
    return f"{watch.settled:,}/{watch.tasks:,} settled, {watch.total('tasks_per_second'):,.0f}/s, {told} ({states})"


def screen(watch: Watch, seconds: float) -> Group:
    """The state as a table of consumers, one of partitions, and the progress."""
    return Group(Text(), _progress(watch, seconds), Text(), _consumers(watch), Text(), _partitions(watch))


def _progress(watch: Watch, seconds: float) -> Table:
    row = Table.grid(padding=(0, 2), expand=True)
    row.add_column(no_wrap=True)
    row.add_column(ratio=1)
    row.add_column(no_wrap=True)
    row.add_row(
        f"{watch.settled:,}/{watch.tasks:,} settled",
        ProgressBar(total=watch.tasks, completed=watch.settled),
        f"{seconds:.0f} s",
    )
    row.add_row(f"{watch.total('tasks_per_second'):,.0f} tasks/s", Text(_spark(watch), style="cyan"), "")
    return row


def _spark(watch: Watch) -> str:
    most = max(watch.throughput, default=0.0) or 1.0
    return "".join(BARS[int(value / most * (len(BARS) - 1))] for value in list(watch.throughput)[-48:])


def _consumers(watch: Watch) -> Table:
    table = Table(box=None, padding=(0, 1), header_style="bold", expand=True, footer_style="bold", show_footer=True)
    for name, field in _COLUMNS:
        is_text = field in _TEXTS
        footer = _TEXTS[field] if is_text else f"{watch.total(field):,.0f}"
        table.add_column(name, justify="left" if is_text else "right", footer=footer, no_wrap=True)
    for consumer in watch.consumers:
        table.add_row(*(_cell(consumer, field) for _, field in _COLUMNS))
    return table


_COLUMNS: Final = (
    ("consumer", "index"),
    ("state", "state"),
    ("tasks/s", "tasks_per_second"),
    ("in flight", "in_flight"),
    ("running", "running"),
    ("lanes", "active_sessions"),
    ("done", "succeeded"),
    ("retried", "retried"),
    ("dead", "dead_lettered"),
)


_TEXTS: Final = {"index": "all", "state": ""}
"""The columns that are not summed, and what stands below them."""


def _cell(consumer: ConsumerNow, field: str) -> str:
    value = getattr(consumer, field)
    return value if isinstance(value, str) else f"{value:,.0f}"


def _partitions(watch: Watch) -> Table:
    table = Table(box=None, padding=(0, 1), header_style="bold", expand=True, footer_style="bold", show_footer=True)
    table.add_column("partition", footer="all")
    lanes = sum(partition.active_sessions for partition in watch.partitions.values())
    gap = max((partition.gap for partition in watch.partitions.values()), default=0)
    footers = ("", f"{lanes:,}", f"{watch.lag:,}", "", f"{gap:,} at most")
    for name, footer in zip(("consumer", "lanes", "lag", "commit point", "done ahead of it"), footers, strict=True):
        table.add_column(name, justify="right", no_wrap=True, footer=footer)
    for number in range(watch.partition_count):
        table.add_row(str(number), *_partition_cells(watch, number))
    return table


def _partition_cells(watch: Watch, number: int) -> tuple[str, ...]:
    partition = watch.partitions.get(number)
    if partition is None:
        return ("–",) * 5
    numbers = (partition.active_sessions, partition.lag, partition.commit_point, partition.gap)
    return (str(partition.consumer), *("–" if value is None else f"{value:,}" for value in numbers))
