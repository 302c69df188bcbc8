"""What `processor monitor` shows: the state as lines of text that fit the terminal, whatever its size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from rich.console import Group
from rich.table import Table
from rich.text import Text

from processor.observe.consumer import ConsumerNow
from processor.observe.findings import Finding, findings
from processor.observe.lines import Passed
from processor.observe.plain import clock, duration, many, number, plain, short, spark
from processor.observe.text import NOTHING, title
from processor.observe.watch import Watch
from processor.observe.window import Status

STYLES: Final = {
    Status.OK: "green",
    Status.EARLY: "dim",
    Status.BEHIND: "yellow",
    Status.STALLED: "bold red",
    Status.STOPPED: "bold red",
    Status.REWOUND: "bold magenta",
}

WIDE: Final = 140
"""Columns from which on the lists stand beside each other."""

LATE: Final = 15.0
"""Seconds without any event after which the view says how old it is."""

NAME: Final = 17
"""Columns of a partition's name."""


class Section(NamedTuple):
    """A heading and its rows, the most important first."""

    heading: str
    rows: list[Text]


def screen(watch: Watch, passed: Passed, now: float, width: int, height: int) -> Group | Table:
    """The state at `now` (seconds since the epoch), in `width` columns and `height` lines."""
    if watch.began is None:
        return Group(*_waiting(passed, width))
    found = findings(watch, now)
    head = _head(watch, passed, found, now, width)
    room = height - len(head)
    if width < WIDE:
        sections = [_partitions(watch, found, now), *_lists(watch, now, width)]
        return Group(*_fitted(head, width), *_fitted(_laid_out(sections, width, room), width))
    left = width // 2 - 1
    right = width - left - 2
    sides = Table.grid(padding=(0, 2, 0, 0))
    sides.add_column(width=left)
    sides.add_column(width=right)
    sides.add_row(
        Group(*_fitted(_laid_out([_partitions(watch, found, now), _consumers(watch, now)], left, room), left)),
        Group(*_fitted(_laid_out(_lists(watch, now, right), right, room), right)),
    )
    return Group(*_fitted(head, width), sides)


def line(watch: Watch, passed: Passed, now: float) -> str:
    """The state in one line, for where there is no terminal."""
    if watch.began is None:
        return f"{clock(now)} no event yet in {many(passed.lines, 'line')}"
    last = watch.load.trail[-1] if watch.load.trail else None
    figures = [
        f"{number(last.tasks_per_second if last else 0)}/s",
        f"lag {number(last.lag if last else 0)}",
        f"in flight {number(last.in_flight if last else 0)}",
        many(watch.load.counts.dead_lettered, "dead letter"),
    ]
    faults = [
        f"{finding.partition.name} {finding.word}" + (f" by session {hold.session_id}" if hold else "")
        for finding in findings(watch, now)
        if finding.status > Status.EARLY
        for hold in [finding.partition.hold]
    ]
    more = f" and {len(faults) - 3:,} more" if len(faults) > 3 else ""
    return f"{clock(now)} {' · '.join(figures)}{' · ' if faults else ''}{', '.join(faults[:3])}{more}"


def shares(height: int, wants: Sequence[int]) -> list[int]:
    """How many rows each section gets in `height` lines, of which its heading takes one.

    Each gets a row first, as far as there is room; then the first gets half of what is left, and all of them take
    turns. A section that gets no row has no heading either.
    """
    given = [0] * len(wants)
    for n, wanted in enumerate(wants):
        if wanted and height >= 2:
            given[n] = 1
            height -= 2
    if wants and given[0]:
        extra = min(wants[0] - 1, height // 2)
        given[0] += extra
        height -= extra
    while height > 0 and any(0 < got < wanted for got, wanted in zip(given, wants, strict=True)):
        for n, wanted in enumerate(wants):
            if height > 0 and 0 < given[n] < wanted:
                given[n] += 1
                height -= 1
    return given


def _laid_out(sections: Sequence[Section], width: int, height: int) -> list[Text]:
    rows: list[Text] = []
    for section, share in zip(sections, shares(height, [len(s.rows) for s in sections]), strict=True):
        if not share:
            continue
        left_out = len(section.rows) - share
        more = f"+{left_out:,} " if left_out else ""
        heading = Text(section.heading, style="bold")
        heading.align("left", width)
        if more:
            heading.truncate(width - len(more))
            heading.append(more, style="dim")
        rows += [heading, *section.rows[:share]]
    return rows


def _fitted(rows: Sequence[Text], width: int) -> Iterator[Text]:
    for row in rows:
        row.no_wrap, row.overflow = True, "ellipsis"
        row.truncate(width, overflow="ellipsis")
        yield row


def _waiting(passed: Passed, width: int) -> Iterator[Text]:
    yield Text("waiting for the first event", style="bold")
    if passed.foreign:
        yield Text(f"{many(passed.foreign, 'line')} so far, and none of them is one. {NOTHING}")


def _head(watch: Watch, passed: Passed, found: list[Finding], now: float, width: int) -> list[Text]:
    faults = sum(finding.status > Status.EARLY for finding in found)
    first = Text(title(watch), style="bold")
    first.append(", ")
    first.append(f"{faults:,} at fault" if faults else "none at fault", style="bold red" if faults else "green")
    return [first, _totals(watch, passed, now), *_plots(watch, width)]


def _totals(watch: Watch, passed: Passed, now: float) -> Text:
    counts, happened = watch.load.counts, watch.moments.counts
    figures = [f"{number(counts.done)} done"]
    figures += [f"{number(counts.retried)} retried"] if counts.retried else []
    figures += [many(counts.dead_lettered, "dead letter")] if counts.dead_lettered else []
    figures += [many(happened["restart"], "restart")] if happened["restart"] else []
    figures += [f"{number(passed.foreign)} foreign lines"] if passed.foreign else []
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


def _plot(name: str, told: str, values: list[float], columns: int, style: str) -> Text:
    row = Text(f"{name:<9}{told:<28}  ")
    row.append(spark(values, columns), style=style)
    return row


def _seconds(value: float | None) -> str:
    return "–" if value is None else duration(value)


def _partitions(watch: Watch, found: list[Finding], now: float) -> Section:
    heading = (
        f"{'partition':<{NAME}} {'verdict':<14} {'lag':>6} {'commit point':>12} {'gap':>6} {'oldest':>9}  consumer"
    )
    return Section(heading, [_partition(watch, finding, now) for finding in found])


def _partition(watch: Watch, finding: Finding, now: float) -> Text:
    partition = finding.partition
    told = partition.told
    row = Text(f"{_name(partition.topic, partition.number)} ")
    row.append(f"{finding.word[:14]:<14}", style=STYLES[finding.status])
    point = told.committed if told.committed is not None else told.commit_point
    figures = f" {short(partition.lag_now):>6} {_whole(point):>12} {short(told.gap):>6}"
    row.append(f"{figures} {duration(told.oldest_unsettled_seconds):>9}  ")
    row.append(_owner(watch, partition.consumer, now) + (" paused" if told.paused else ""))
    return row


def _whole(offset: int | None) -> str:
    return "–" if offset is None else f"{offset:,}"


def _name(topic: str, partition: int) -> str:
    """The number is what tells partitions apart: a long topic is cut before it."""
    name = f"{topic}[{partition}]"
    return f"{name if len(name) <= NAME else '…' + name[1 - NAME :]:<{NAME}}"


def _owner(watch: Watch, consumer: ConsumerNow | None, now: float) -> str:
    if consumer is None:
        return "nobody"
    state = "silent" if consumer.is_silent(now) else consumer.state
    return watch.label(consumer) + ("" if state == "working" else f" {state}")


def _consumers(watch: Watch, now: float) -> Section:
    rows = []
    for consumer in watch.living():
        stats = consumer.stats
        figures = (
            f"{short(stats.tasks_per_second):>7}/s {short(stats.in_flight):>6} in flight, {stats.running:>3} running, "
            f"{short(stats.lanes):>6} sessions, {stats.assigned:>3} partitions"
            if stats is not None
            else ""
        )
        rows.append(Text(f"{_owner(watch, consumer, now):<18} {figures}"))
    return Section("consumers", rows)


def _lists(watch: Watch, now: float, width: int) -> list[Section]:
    return [
        Section("head of line", list(_holds(watch, now))),
        Section("failures", list(_failures(watch, width))),
        Section("rebalances, restarts", list(_moments(watch))),
        Section("hot sessions", list(_sessions(watch))),
    ]


def _holds(watch: Watch, now: float) -> Iterator[Text]:
    for hold in watch.current_holds():
        row = Text(f"{hold.topic}[{hold.partition}] ")
        row.append(hold.session_id or "?", style="bold")
        row.append(f" @{hold.offset} ")
        row.append(duration(now - hold.since), style="bold yellow")
        row.append(f" since {clock(hold.since)}: {hold.why}")
        yield row


def _failures(watch: Watch, width: int) -> Iterator[Text]:
    """The error is cut so that the session, who it was, is still seen."""
    for failure in reversed(watch.failures.recent):
        row = Text(f"{clock(failure.at)} {failure.what} ")
        who = f" {failure.session_id}" if failure.session_id else ""
        error = Text(failure.told, style="red")
        error.truncate(max(width - len(row) - len(who), width // 3), overflow="ellipsis")
        row.append_text(error).append(who, style="bold")
        yield row.append(f" {failure.place}" if failure.place else "")


def _moments(watch: Watch) -> Iterator[Text]:
    for happened in reversed(watch.moments.last):
        yield Text(f"{clock(happened.at)} {happened.who} {happened.text}")


def _sessions(watch: Watch) -> Iterator[Text]:
    told = [
        (session.waiting, session.session_id, f"{session.topic}[{session.partition}]")
        for consumer in watch.living()
        if consumer.stats is not None
        for session in consumer.stats.busiest_sessions
    ]
    for waiting, session_id, place in sorted(told, reverse=True):
        row = Text(f"{short(waiting):>8} waiting: ")
        row.append(plain(session_id), style="bold")
        row.append(f" in {plain(place)}")
        yield row
