"""The report as one HTML page that is complete in itself: it fetches nothing and runs no script."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from typing import Final

from processor.observe.lines import ReadStats
from processor.observe.report.fault import fault, is_faulty
from processor.observe.report.findings import WORDS, Finding, blocking_task, findings
from processor.observe.report.markup import Child, Element, page_of, tag
from processor.observe.report.notes import notes
from processor.observe.report.page_plots import plots
from processor.observe.report.plot import Span, mosts, small, strip
from processor.observe.report.tables import Columns, large, listed, table, times, verdict
from processor.observe.report.text import NOTHING, newer, title
from processor.observe.sessions import percent, reading_cost
from processor.observe.watch import Watch
from processor.observe.window import Status
from processor.observe.wording import clock, date_time, duration, many, number

POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""The browser enforces that the page fetches nothing and runs no script."""

SHOWN: Final = 50
"""The most partitions at fault that are described in full. The table has all, and is folded if it has more rows."""

BURROW: Final = (
    "Verdicts follow the rules of LinkedIn's Burrow over the latest reports of each partition. Stalled: the committed "
    "offset does not move, and there is lag. Paused: the same, since an operator has paused the oldest task. Stopped: "
    "no consumer reports the partition any more. Falling behind: the committed offset moves, but the lag only grows. "
    "Rewound: the committed offset moved backwards."
)


def page(watch: Watch, now: float, read: ReadStats) -> str:
    """Return the report at `now`, in seconds since the epoch, as HTML."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{title(watch)}: report"),
        tag("style", resources.files("processor.observe.report").joinpath("page.css").read_text("utf-8")),
    )
    main = tag("main", *(_body(watch, now) if watch.began is not None else [tag("p", NOTHING)]), _footer(read))
    return page_of(tag("html", head, tag("body", main), lang="en"))


def _body(watch: Watch, now: float) -> list[Child]:
    began = watch.began if watch.began is not None else now
    span = Span(began, max(watch.now, began + 1))
    found = findings(watch, now)
    return [
        _header(watch, found, span),
        _tiles(watch),
        *_notes(watch, now),
        *_faults(found, span),
        tag("h2", "Over time"),
        tag("div", *plots(watch, span), class_="plots"),
        *_partitions(found, span),
        *_blocks(watch),
        *_failures(watch),
        *_sessions(watch),
        *_timeline(watch),
    ]


def _header(watch: Watch, found: Sequence[Finding], span: Span) -> Element:
    faults = sum(finding.status.is_fault for finding in found)
    state = f"{faults:,} of {many(len(found), 'partition')} at fault" if faults else "No partition at fault at the end"
    meanwhile = sum(finding.partition.worst.is_fault for finding in found) - faults
    if meanwhile > 0:
        state += f"; {meanwhile:,}{' more' if faults else ''} at fault earlier"
    period = f"{date_time(span.start)} to {date_time(span.end)} UTC, {duration(span.end - span.start)}"
    fleets = [f"{fleet.app}, version {fleet.version}" for fleet in watch.fleets.values() if fleet.app]
    return tag(
        "header",
        tag("h1", title(watch)),
        tag("p", period + "".join(f" · {fleet}" for fleet in dict.fromkeys(fleets)), class_="soft"),
        tag("p", tag("span", state, class_=f"verdict {'stalled' if faults else 'behind' if meanwhile > 0 else 'ok'}")),
    )


def _tiles(watch: Watch) -> Element:
    counts, series, happened = watch.load.counts, watch.load.series, watch.timeline.counts
    figures = {
        "tasks succeeded": large(counts.succeeded),
        "max tasks/s": large(series["tasks_per_second"].most),
        "final lag": large(watch.load.trail[-1].lag if watch.load.trail else None),
        "max lag": large(series["lag"].most),
        "retried": number(counts.retried),
        "timed out": number(counts.timed_out),
        "dead letters": number(counts.dead_lettered),
        "rebalances": number(happened["rebalance"]),
        "restarts": number(happened["restart"]),
    }
    return tag(
        "dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in figures.items()), class_="tiles"
    )


def _notes(watch: Watch, now: float) -> list[Element]:
    found = notes(watch, now)
    if not found:
        return []
    return [tag("h2", "Problems"), tag("ul", *(tag("li", note) for note in found), class_="notes")]


def _faults(found: Sequence[Finding], span: Span) -> list[Element]:
    """Return the descriptions of the partitions at fault. They precede the plots, since users look for them first."""
    faulty = [finding for finding in found if is_faulty(finding)]
    if not faulty:
        return []
    left_out = len(faulty) - SHOWN
    more = [tag("p", f"And {many(left_out, 'partition')} more, below.", class_="soft")] if left_out > 0 else []
    described = (fault(f, _lag(f, span), _strip(f, span)) for f in faulty[:SHOWN])
    return [tag("h2", _heading(faulty)), *described, *more]


def _heading(faulty: Sequence[Finding]) -> str:
    if any(finding.status.is_fault for finding in faulty):
        return "Partitions at fault"
    is_paused = any(finding.status is Status.PAUSED for finding in faulty)
    return "Paused or slow tasks" if is_paused else "Slow tasks"


def _partitions(found: Sequence[Finding], span: Span) -> list[Element]:
    if not found:
        return []
    faulty = [finding for finding in found if is_faulty(finding)]
    well = sorted((f for f in found if not is_faulty(f)), key=lambda finding: -finding.partition.worst)
    drawn = _partition_table([*faulty, *well], span)
    if len(found) > SHOWN:
        drawn = tag("details", tag("summary", many(len(found), "partition")), drawn)
    legend = tag("ul", *(tag("li", verdict(status)) for status in Status), class_="legend")
    return [tag("h2", "Partitions"), tag("p", BURROW, class_="soft"), legend, drawn]


def _partition_table(found: Sequence[Finding], span: Span) -> Element:
    names = ["partition", "verdict", "lag", "max lag", "gap", "worst verdict", "lag and verdict over time"]
    return table(
        Columns(names, numbers={2, 3, 4}),
        [
            [
                finding.partition.name,
                verdict(finding.status),
                number(finding.partition.lag_now),
                number(finding.partition.lag.most),
                number(finding.partition.stats.gap),
                verdict(finding.partition.worst),
                tag("div", _lag(finding, span), _strip(finding, span)),
            ]
            for finding in found
        ],
    )


def _lag(finding: Finding, span: Span) -> Element:
    points = mosts(finding.partition.lag.points())
    return small(points, span, f"lag over time, maximum {number(finding.partition.lag.most)}")


def _strip(finding: Finding, span: Span) -> Element:
    statuses = [(point.at, Status(int(point.most))) for point in finding.partition.verdicts.points()]
    values = [(at, status.name.lower(), WORDS[status]) for at, status in statuses]
    return strip(values, span, f"verdicts over time, worst: {WORDS[finding.partition.worst]}")


def _blocks(watch: Watch) -> list[Element]:
    current = {id(block) for block in watch.current_blocks()}
    rows: list[list[Child]] = [
        [
            f"{block.topic}[{block.partition}]",
            duration(block.seconds),
            f"{clock(block.since)} to {'the end' if id(block) in current else clock(block.until)}",
            number(block.gap),
            blocking_task(block),
            block.why,
        ]
        for block in watch.longest_blocks()
    ]
    heading = "Head of line: tasks that commit points waited for longest"
    names = ["partition", "duration", "time", "gap", "task", "reason"]
    return listed(heading, Columns(names, numbers={1, 3}, whole={4, 5}), rows)


def _failures(watch: Watch) -> list[Element]:
    rows: list[list[Child]] = []
    for group in watch.failures.groups:
        example = group.example
        error = "other errors, of many kinds" if group.is_rest else example.summary
        latest = f"session {example.session_id}, {example.place}, attempt {example.attempt}" if example.place else ""
        outcomes = ", ".join(f"{number(count)} {what}" for what, count in group.outcomes.items())
        rows.append([number(group.count), tag("code", error), outcomes, times(group.first, group.last), latest])
    columns = Columns(["count", "error", "outcome", "time", "latest"], numbers={0}, whole={1, 4})
    return listed("Failures by error", columns, rows)


def _sessions(watch: Watch) -> list[Element]:
    rows: list[list[Child]] = [
        [busy.session_id, busy.place, number(busy.waiting), percent(busy.share), times(busy.first, busy.last)]
        for busy in watch.sessions.busiest()
    ]
    heading = "Sessions with the most waiting tasks"
    columns = Columns(["session", "partition", "max waiting", "share", "time"], numbers={2, 3}, whole={0})
    cost = reading_cost(watch.load.counts)
    return [*listed(heading, columns, rows), *([tag("p", f"{cost}.")] if rows and cost is not None else [])]


def _timeline(watch: Watch) -> list[Element]:
    rows: list[list[Child]] = [
        [clock(entry.at), entry.subject, entry.text] for entry in reversed(watch.timeline.recent)
    ]
    return listed("Events, latest first", Columns(["time", "consumer", "event"], whole={2}), rows)


def _footer(read: ReadStats) -> Element:
    text = f"From {many(read.lines, 'log line')}"
    text += f", {number(read.foreign)} of them not events of a processor" if read.foreign else ""
    text += f", {number(read.too_long)} skipped as too long" if read.too_long else ""
    return tag("footer", tag("p", f"{text}.{newer(read)} All times are UTC, as in the logs."))
