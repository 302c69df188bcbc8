"""The sections of the live page as HTML: what `processor monitor` shows in a terminal, with more room."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from processor.observe.consumer import ConsumerNow
from processor.observe.head_blocks import HeadBlock
from processor.observe.lines import ReadStats
from processor.observe.live.figures import figures
from processor.observe.live.frames import Sections
from processor.observe.live.spark import spark
from processor.observe.report.fault import fault, is_faulty
from processor.observe.report.findings import Finding, findings
from processor.observe.report.markup import Child, Element, html_of, tag
from processor.observe.report.notes import notes
from processor.observe.report.plot import mosts
from processor.observe.report.tables import Columns, listed, verdict
from processor.observe.report.text import NOTHING, about, newer, partition_count
from processor.observe.sessions import percent, reading_cost, share_of
from processor.observe.watch import Watch
from processor.observe.wording import clock, duration, many, number, plain, short

DESCRIBED: Final = 8
"""The most partitions at fault that are described in full; the table has all."""

FIRST_PARTITIONS: Final = 16
MOST_PARTITIONS: Final = 200
"""Rows of the table of partitions: visible at once, and in total. The worst are first."""

FIRST: Final = 6
MOST: Final = 50
"""Entries of the other lists: visible at once, and in total."""

LATE: Final = 15.0
"""Seconds without an event after which the page shows its age."""


class Observed(NamedTuple):
    """The state that the page shows, and its time."""

    watch: Watch
    read: ReadStats
    now: float
    """seconds since the epoch"""
    is_over: bool = False
    """whether the logs cannot grow any more"""


def sections(observed: Observed) -> Sections:
    """Return every section by its name; one without content is empty."""
    watch, now = observed.watch, observed.now
    if watch.began is None:
        drawn: dict[str, list[Element]] = {name: [] for name in _SECTIONS}
        drawn["state"] = _waiting(observed)
    else:
        found = findings(watch, now)
        drawn = {name: section(observed, found) for name, section in _SECTIONS.items()}
    drawn["footer"] = [_footer(observed.read)]
    return {name: "".join(html_of(element) for element in elements) for name, elements in drawn.items()}


def _waiting(observed: Observed) -> list[Element]:
    read = observed.read
    words = "The log has ended without an event" if observed.is_over else "Waiting for the first event"
    foreign = f"{many(read.foreign, 'line')} so far, none of them an event. {NOTHING}" if read.foreign else ""
    return [
        tag("h1", "processor monitor", data_title=words),
        tag("p", tag("span", words, class_="pill waiting"), class_="news"),
        *([tag("p", foreign, class_="health")] if foreign else []),
    ]


def _state(observed: Observed, found: list[Finding]) -> list[Element]:
    watch = observed.watch
    faults = sum(finding.status.is_fault for finding in found)
    title, partitions = about(watch), partition_count(watch)
    health = f"{faults:,} of {partitions} at fault" if faults else f"{partitions}, none at fault"
    fleets = [f"{plain(fleet.app)}, version {plain(fleet.version)}" for fleet in watch.fleets.values() if fleet.app]
    rest = " · ".join(["", many(len(watch.living()), "consumer"), *dict.fromkeys(fleets)])
    mark, (style, words) = f"verdict {'stalled' if faults else 'ok'}", news(observed)
    return [
        tag("h1", title, data_title=f"{faults:,} at fault · {title}" if faults else title),
        tag("p", tag("span", words, class_=f"pill {style}"), f" {_time(observed)}", class_="news"),
        tag("p", tag("span", health, class_=mark), rest, class_="health"),
    ]


def news(observed: Observed) -> tuple[str, str]:
    """Return whether the log still grows, as a CSS class and in words."""
    watch, now = observed.watch, observed.now
    living = watch.living()
    if observed.is_over:
        return "over", "The log has ended"
    if not living:
        return "over", "No consumer is running"
    if all(consumer.is_silent(now) for consumer in living):
        return "silent", "No news"
    return "live", "Live"


def _time(observed: Observed) -> str:
    age = observed.now - observed.watch.now
    ago = f", {duration(age)} ago" if age >= LATE and not observed.is_over else ""
    return f"{clock(observed.watch.now)} UTC{ago}"


def _figures(observed: Observed, _found: list[Finding]) -> list[Element]:
    return figures(observed.watch)


def _problems(observed: Observed, found: list[Finding]) -> list[Element]:
    texts = notes(observed.watch, observed.now)
    faulty = [finding for finding in found if is_faulty(finding)]
    if not texts and not faulty:
        return []
    more = len(faulty) - DESCRIBED
    return [
        tag("h2", "Needs attention"),
        *([tag("ul", *(tag("li", text) for text in texts), class_="notes")] if texts else []),
        tag("div", *(fault(finding) for finding in faulty[:DESCRIBED]), class_="faults"),
        *([tag("p", f"And {many(more, 'partition')} more, in the table below.", class_="soft")] if more > 0 else []),
    ]


def _partitions(observed: Observed, found: list[Finding]) -> list[Element]:
    names = ["partition", "verdict", "lag", "gap", "oldest", "ready for", "committed", "consumer", "lag over time"]
    rows = [_partition(observed, finding) for finding in found[:MOST_PARTITIONS]]
    columns = Columns(names, numbers={2, 3, 4, 5, 6})
    left_out = len(found) - MOST_PARTITIONS
    more = [tag("p", f"And {many(left_out, 'partition')} more.", class_="soft")] if left_out > 0 else []
    return [*listed("Partitions", columns, rows, FIRST_PARTITIONS, MOST_PARTITIONS), *more]


def _partition(observed: Observed, finding: Finding) -> list[Child]:
    partition, stats = finding.partition, finding.partition.stats
    lag = mosts(partition.lag.points())
    return [
        partition.name,
        verdict(finding.status),
        short(partition.lag_now),
        short(stats.gap),
        duration(stats.oldest_unsettled_seconds),
        duration(stats.oldest_ready_seconds),
        number(stats.committed if stats.committed is not None else stats.commit_point),
        _owner(observed, partition.consumer) + (", fetch paused" if stats.fetch_paused else ""),
        spark(lag, f"lag over time, maximum {number(partition.lag.most)}"),
    ]


def _owner(observed: Observed, consumer: ConsumerNow | None) -> str:
    if consumer is None:
        return "none"
    state = "silent" if consumer.is_silent(observed.now) else consumer.state
    return observed.watch.label(consumer) + ("" if state == "working" else f" {state}")


def _consumers(observed: Observed, _found: list[Finding]) -> list[Element]:
    names = ["consumer", "tasks/s", "in flight", "running", "workers", "sessions", "partitions", "handlers that wait"]
    rows = [[_owner(observed, consumer), *_consumer(consumer)] for consumer in observed.watch.living()]
    return listed(
        "Consumers", Columns(names, numbers={1, 2, 3, 4, 5, 6}, whole={7}), rows, FIRST_PARTITIONS, MOST_PARTITIONS
    )


def _consumer(consumer: ConsumerNow) -> list[Child]:
    stats = consumer.stats
    if stats is None:
        return [*["–"] * 6, ""]
    counts = [
        *(stats.tasks_per_second, stats.in_flight, stats.running, consumer.workers),
        *(stats.active_sessions, stats.assigned_partitions),
    ]
    suspended = {id(load) for load in consumer.suspended}
    held = [
        f"{plain(load.handler)}: {'suspended' if id(load) in suspended else 'at its limit'}, {load.waiting:,} wait"
        for load in stats.held_handlers
    ]
    return [*(short(count) for count in counts), "; ".join(held)]


def _blocks(observed: Observed, _found: list[Finding]) -> list[Element]:
    rows = [_block(block, observed.now) for block in observed.watch.current_blocks()[:MOST]]
    return listed("Head of line", Columns(["partition", "waits", "session", "why"], whole={2, 3}), rows, FIRST, MOST)


def _block(block: HeadBlock, now: float) -> list[Child]:
    waits = tag("span", tag("strong", duration(now - block.since)), f" since {clock(block.since)}")
    session = f"{block.session_id or '?'} @{block.offset}"
    return [f"{block.topic}[{block.partition}]", waits, session, block.why]


def _failures(observed: Observed, _found: list[Finding]) -> list[Element]:
    rows: list[list[Child]] = []
    for group in sorted(observed.watch.failures.groups, key=lambda group: -group.last):
        failure = group.example
        error = "other errors" if group.is_rest else failure.summary
        where = " ".join(filter(None, (failure.session_id, failure.place)))
        outcomes = ", ".join(f"{number(count)} {outcome}" for outcome, count in group.outcomes.items())
        rows.append([clock(group.last), outcomes, tag("code", error), where])
    return listed("Failures", Columns(["latest", "outcomes", "error", "session"], whole={2, 3}), rows, FIRST, MOST)


def _sessions(observed: Observed, _found: list[Finding]) -> list[Element]:
    loads = [
        (session.waiting, plain(session.session_id), plain(f"{session.topic}[{session.partition}]"), share_of(session))
        for consumer in observed.watch.living()
        if consumer.stats is not None
        for session in consumer.stats.busiest_sessions
    ]
    ordered = sorted(loads, key=lambda load: load[:3], reverse=True)
    rows = [(session, place, short(waiting), percent(share)) for waiting, session, place, share in ordered]
    columns = Columns(["session", "partition", "waiting", "share"], numbers={2, 3}, whole={0})
    texts = list(_set_aside(observed.watch))
    heading = [tag("h2", "Hot sessions")] if texts and not rows else []
    aside = [tag("p", text, class_="soft") for text in texts[:MOST]]
    return [*heading, *listed("Hot sessions", columns, rows, FIRST, MOST), *aside]


def _set_aside(watch: Watch) -> Iterator[str]:
    """Yield texts about tasks that wait without being in flight: those of hot sessions, delayed ones, and groups."""
    for partition in watch.ordered_partitions():
        stats = partition.stats
        if partition.consumer is not None and stats.set_aside:
            sessions = many(stats.set_aside_sessions, "session")
            yield f"{number(stats.set_aside)} set aside: {sessions} in {partition.name}"
        if partition.consumer is not None and (due := partition.first_due) is not None:
            yield f"{number(stats.delayed_set_aside)} set aside until they are due: {due}"
    if (cost := reading_cost(watch.load.counts)) is not None:
        yield cost
    waiting = sum(consumer.stats.open_joins for consumer in watch.living() if consumer.stats is not None)
    if waiting:
        yield f"{many(waiting, 'group')} waiting for some of their branches"


def _events(observed: Observed, _found: list[Finding]) -> list[Element]:
    latest = list(reversed(observed.watch.timeline.recent))[:MOST]
    rows = [(clock(entry.at), entry.subject, entry.text) for entry in latest]
    columns = Columns(["time", "consumer", "event"], whole={2})
    return listed("Rebalances, restarts", columns, rows, FIRST, MOST)


def _footer(read: ReadStats) -> Element:
    text = f"From {many(read.lines, 'log line')}"
    text += f", {number(read.foreign)} of them not events of a processor" if read.foreign else ""
    text += f", {number(read.too_long)} skipped as too long" if read.too_long else ""
    return tag("p", f"{text}.{newer(read)} All times are UTC, as in the logs.")


_SECTIONS: Final[dict[str, Callable[[Observed, list[Finding]], list[Element]]]] = {
    "state": _state,
    "figures": _figures,
    "problems": _problems,
    "partitions": _partitions,
    "consumers": _consumers,
    "events": _events,
    "blocks": _blocks,
    "failures": _failures,
    "sessions": _sessions,
}
