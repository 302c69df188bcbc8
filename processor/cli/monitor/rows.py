"""The rows of the live view, each about one partition, consumer, head block, failure, event or session."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from rich.text import Text

from processor.observe.consumer import ConsumerNow
from processor.observe.pauses import pauses_of
from processor.observe.report.findings import Finding
from processor.observe.sessions import reading_cost, share_of, share_text
from processor.observe.watch import Watch
from processor.observe.window import Status
from processor.observe.wording import clock, duration, many, plain, short

STYLES: Final = {
    Status.OK: "green",
    Status.EARLY: "dim",
    Status.PAUSED: "cyan",
    Status.BEHIND: "yellow",
    Status.STALLED: "bold red",
    Status.STOPPED: "bold red",
    Status.REWOUND: "bold magenta",
}

FIGURES: Final = 50
"""Columns for the figures of a partition; all others are for its name."""

POINT: Final = 13
"""Columns for the commit point, which a narrow terminal has no room for."""

READY: Final = 10
"""Columns for the longest wait for a worker."""

ROOMY: Final = 100
"""The fewest columns of a terminal with room for that wait."""

NARROW: Final = 76
"""Below this many columns the commit point is left out, and other rows are shortened."""


def partitions(watch: Watch, found: list[Finding], now: float, width: int) -> Section:
    """Return all partitions, the worst first."""
    longest = max((len(finding.partition.name) for finding in found), default=0)
    with_point, with_ready = width >= NARROW, width >= ROOMY
    columns = max(min(longest, width - FIGURES - POINT * with_point - READY * with_ready), len("partition"))
    point = f" {'commit point':>12}" if with_point else ""
    ready = f" {'ready for':>9}" if with_ready else ""
    figures = f"{'lag':>6}{point} {'gap':>6} {'oldest':>9}{ready}"
    heading = f"{'partition':<{columns}} {'verdict':<14} {figures}  consumer"
    return Section(heading, [_partition(watch, finding, now, columns, width) for finding in found])


def _partition(watch: Watch, finding: Finding, now: float, columns: int, width: int) -> Text:
    partition = finding.partition
    stats = partition.stats
    row = Text(f"{_name(partition.name, columns)} ")
    row.append(f"{finding.word[:14]:<14}", style=STYLES[finding.status])
    committed = stats.committed if stats.committed is not None else stats.commit_point
    point = f" {_whole(committed):>12}" if width >= NARROW else ""
    ready = f" {duration(stats.oldest_ready_seconds):>9}" if width >= ROOMY else ""
    figures = f" {short(partition.lag_now):>6}{point} {short(stats.gap):>6}"
    row.append(f"{figures} {duration(stats.oldest_unsettled_seconds):>9}{ready}  ")
    row.append(_owner(watch, partition.consumer, now) + (" fetch paused" if stats.fetch_paused else ""))
    row.append(f" waits for {partition.waits_for}" if partition.waits_for else "", style="yellow")
    return row


def _whole(offset: int | None) -> str:
    return "–" if offset is None else f"{offset:,}"


def _name(name: str, columns: int) -> str:
    """Return the name, cut at its start if it is too long: the number at its end distinguishes partitions."""
    return f"{name if len(name) <= columns else '…' + name[1 - columns :]:<{columns}}"


def _owner(watch: Watch, consumer: ConsumerNow | None, now: float) -> str:
    if consumer is None:
        return "none"
    state = "silent" if consumer.is_silent(now) else consumer.state
    return watch.label(consumer) + ("" if state == "working" else f" {state}")


def consumers(watch: Watch, now: float) -> Section:
    """Return the consumers that have not ended."""
    living = watch.living()
    names = [_owner(watch, consumer, now) for consumer in living]
    columns = max(map(len, names), default=0)
    rows = [Text(f"{name:<{columns}} {_figures(consumer)}") for name, consumer in zip(names, living, strict=True)]
    titles = f"{'tasks/s':>8} {'in flight':>10} {'running':>8} {'workers':>8} {'sessions':>9} {'partitions':>11}"
    return Section(f"{'consumers':<{columns}} {titles}", rows)


def _figures(consumer: ConsumerNow) -> str:
    stats = consumer.stats
    if stats is None:
        return ""
    numbers = (short(stats.tasks_per_second), short(stats.in_flight), f"{stats.running}", short(stats.active_sessions))
    rate, in_flight, running, sessions = numbers
    figures = (
        f"{rate:>8} {in_flight:>10} {running:>8} {consumer.workers:>8} {sessions:>9} {stats.assigned_partitions:>11}"
    )
    suspended = ", ".join(plain(load.handler) for load in consumer.suspended)
    return f"{figures}  suspended: {suspended}" if suspended else figures


def lists(watch: Watch, now: float, width: int) -> list[Section]:
    """Return the head blocks, failures, events and hot sessions."""
    return [
        Section("head of line", list(_blocks(watch, now, width))),
        Section("paused", list(_pauses(watch, now))),
        Section("failures", list(_failures(watch, width))),
        Section("rebalances, restarts", list(_timeline(watch))),
        Section("hot sessions", list(_sessions(watch))),
    ]


def _pauses(watch: Watch, now: float) -> Iterator[Text]:
    for pause in pauses_of(watch.living()):
        yield Text(pause.what, style="bold").append(f" {pause.sentence(now)}", style="not bold")


def _blocks(watch: Watch, now: float, width: int) -> Iterator[Text]:
    """Yield a row for each head block. A narrow row has the duration, without the time of the start."""
    for block in watch.current_blocks():
        row = Text(f"{block.topic}[{block.partition}] ")
        row.append(block.session_id or "?", style="bold")
        row.append(f" @{block.offset} ")
        row.append(duration(now - block.since), style="bold yellow")
        row.append(f" since {clock(block.since)}" if width >= NARROW else "").append(f": {block.why}")
        yield row


def _failures(watch: Watch, width: int) -> Iterator[Text]:
    """Yield a row for each error, the latest first. The error is cut, so that count and latest session are visible."""
    for group in sorted(watch.failures.groups, key=lambda group: -group.last):
        failure = group.example
        row = Text(f"{clock(group.last)} {failure.outcome} ")
        times = f" ×{group.count:,}" if group.count > 1 else ""
        session = f" {failure.session_id}" if failure.session_id else ""
        error = Text("other errors" if group.is_rest else failure.summary, style="red")
        error.truncate(max(width - len(row) - len(times) - len(session), width // 3), overflow="ellipsis")
        row.append_text(error).append(times).append(session, style="bold")
        has_room = len(row) + 1 + len(failure.place) <= width
        yield row.append(f" {failure.place}" if has_room else "")


def _timeline(watch: Watch) -> Iterator[Text]:
    for entry in reversed(watch.timeline.recent):
        yield Text(f"{clock(entry.at)} {entry.subject} {entry.text}")


def _sessions(watch: Watch) -> Iterator[Text]:
    loads = [
        (session.waiting, session.session_id, f"{session.topic}[{session.partition}]", share_text(share_of(session)))
        for consumer in watch.living()
        if consumer.stats is not None
        for session in consumer.stats.busiest_sessions
    ]
    for waiting, session_id, place, share in sorted(loads, reverse=True):
        row = Text(f"{short(waiting):>8} waiting: ")
        row.append(plain(session_id), style="bold")
        row.append(f" in {plain(place)}{share}")
        yield row
    for partition in watch.ordered_partitions():
        if partition.consumer is not None and partition.stats.set_aside:
            sessions = many(partition.stats.set_aside_sessions, "session")
            yield Text(f"{short(partition.stats.set_aside):>8} set aside: {sessions} in {partition.name}")
        if partition.consumer is not None and (due := partition.first_due) is not None:
            yield Text(f"{short(partition.stats.delayed_set_aside):>8} set aside until they are due: {due}")
    if (cost := reading_cost(watch.load.counts)) is not None:
        yield Text(f"{'':>8} {cost}")
    waiting = sum(consumer.stats.open_joins for consumer in watch.living() if consumer.stats is not None)
    if waiting:
        yield Text(f"{short(waiting):>8} groups waiting for some of their branches")


class Section(NamedTuple):
    """A heading and its rows, the most important first."""

    heading: str
    rows: list[Text]


def shares(height: int, wants: Sequence[int]) -> list[int]:
    """Return how many rows each section gets in `height` lines; its heading takes one more.

    First each gets one row, as far as there is room; then the first section gets half of the rest, and the others
    share what remains. A section without rows has no heading.
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


def laid_out(sections: Sequence[Section], width: int, height: int) -> list[Text]:
    """Return the sections one below the other in `height` lines; a heading has the count of rows that do not fit."""
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
    return fitted(rows, width)


def fitted(rows: Sequence[Text], width: int) -> list[Text]:
    """Return the rows, each cut at `width` columns."""
    for row in rows:
        row.no_wrap, row.overflow = True, "ellipsis"
        row.truncate(width, overflow="ellipsis")
    return list(rows)
