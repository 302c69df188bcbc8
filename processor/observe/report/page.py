"""The report as one HTML page that is complete in itself: it fetches nothing and runs no script."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from importlib import resources
from typing import Final

from processor.observe.lines import ReadStats
from processor.observe.report.findings import WORDS, Finding, blocking_task, findings
from processor.observe.report.markup import Child, Element, page_of, tag
from processor.observe.report.notes import notes
from processor.observe.report.page_plots import plots
from processor.observe.report.plot import Span, mosts, small, strip
from processor.observe.report.text import NOTHING, newer, title
from processor.observe.watch import Watch
from processor.observe.window import Status
from processor.observe.wording import clock, date_time, duration, many, number, short

POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""The browser enforces that the page fetches nothing and runs no script."""

SHOWN: Final = 50
"""Partitions at fault that are described in full. The table has all partitions, folded if it has more rows."""

FIRST: Final = 10
"""Rows of a list that are visible at once; the others are folded."""

MOST: Final = 500
"""Rows of a list in total: the page has to open on a phone."""

LARGE: Final = 1_000_000
"""From here on the figure of a tile is abbreviated."""

OPTION: Final = re.compile(r"(--[a-z-]+)")

BURROW: Final = (
    "Verdicts follow the rules of LinkedIn's Burrow over the latest reports of each partition. Stalled: the committed "
    "offset does not move, and there is lag. Stopped: no consumer reports the partition any more. Falling behind: the "
    "committed offset moves, but the lag only grows. Rewound: the committed offset moved backwards."
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
    faults = sum(finding.status > Status.EARLY for finding in found)
    state = f"{faults:,} of {many(len(found), 'partition')} at fault" if faults else "No partition at fault at the end"
    meanwhile = sum(finding.partition.worst > Status.EARLY for finding in found) - faults
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


def _large(value: float | None) -> str:
    return short(value) if value is not None and value >= LARGE else number(value)


def _tiles(watch: Watch) -> Element:
    counts, series, happened = watch.load.counts, watch.load.series, watch.timeline.counts
    figures = {
        "tasks succeeded": _large(counts.succeeded),
        "max tasks/s": _large(series["tasks_per_second"].most),
        "final lag": _large(watch.load.trail[-1].lag if watch.load.trail else None),
        "max lag": _large(series["lag"].most),
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


def _faulty(found: Sequence[Finding]) -> list[Finding]:
    return [finding for finding in found if finding.status > Status.EARLY or finding.why]


def _faults(found: Sequence[Finding], span: Span) -> list[Element]:
    """Before the plots: this is what the page is opened for."""
    faulty = _faulty(found)
    if not faulty:
        return []
    heading = "Partitions at fault" if any(finding.status > Status.EARLY for finding in faulty) else "Slow tasks"
    left_out = len(faulty) - SHOWN
    more = [tag("p", f"And {many(left_out, 'partition')} more, below.", class_="soft")] if left_out > 0 else []
    return [tag("h2", heading), *(_fault(finding, span) for finding in faulty[:SHOWN]), *more]


def _partitions(found: Sequence[Finding], span: Span) -> list[Element]:
    if not found:
        return []
    faulty = _faulty(found)
    well = sorted((f for f in found if f not in faulty), key=lambda finding: -finding.partition.worst)
    table = _partition_table([*faulty, *well], span)
    if len(found) > SHOWN:
        table = tag("details", tag("summary", many(len(found), "partition")), table)
    legend = tag("ul", *(tag("li", _verdict(status)) for status in Status), class_="legend")
    return [tag("h2", "Partitions"), tag("p", BURROW, class_="soft"), legend, table]


def _fault(finding: Finding, span: Span) -> Element:
    partition, stats = finding.partition, finding.partition.stats
    figures = (
        f"lag {number(partition.lag_now)} · gap {number(stats.gap)} · committed {number(stats.committed)} · "
        f"oldest unsettled {duration(stats.oldest_unsettled_seconds)} · "
        f"longest wait for a worker {duration(stats.oldest_ready_seconds)}"
    )
    return tag(
        "article",
        tag("header", tag("h3", partition.name), _verdict(finding.status), tag("span", figures, class_="soft")),
        tag("p", finding.why),
        tag("p", *_with_options(finding.advice), class_="advice") if finding.advice else None,
        _lag(finding, span),
        _strip(finding, span),
        class_="fault",
    )


def _with_options(advice: str) -> list[Child]:
    """Keeps the name of an option from being broken at its hyphens."""
    parts = OPTION.split(advice)
    return [tag("code", part) if OPTION.fullmatch(part) else part for part in parts]


def _partition_table(found: Sequence[Finding], span: Span) -> Element:
    return _table(
        ["partition", "verdict", "lag", "max lag", "gap", "worst verdict", "lag and verdict over time"],
        [
            [
                finding.partition.name,
                _verdict(finding.status),
                number(finding.partition.lag_now),
                number(finding.partition.lag.most),
                number(finding.partition.stats.gap),
                _verdict(finding.partition.worst),
                tag("div", _lag(finding, span), _strip(finding, span)),
            ]
            for finding in found
        ],
        numbers={2, 3, 4},
    )


def _verdict(status: Status) -> Element:
    return tag("span", WORDS[status], class_=f"verdict {status.name.lower()}")


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
    return _listed(heading, ["partition", "duration", "time", "gap", "task", "reason"], rows, {1, 3}, {4, 5})


def _failures(watch: Watch) -> list[Element]:
    rows: list[list[Child]] = []
    for group in watch.failures.groups:
        example = group.example
        error = "other errors, of many kinds" if group.is_rest else example.summary
        latest = f"session {example.session_id}, {example.place}, attempt {example.attempt}" if example.place else ""
        outcomes = ", ".join(f"{number(count)} {what}" for what, count in group.outcomes.items())
        rows.append([number(group.count), tag("code", error), outcomes, _times(group.first, group.last), latest])
    return _listed("Failures by error", ["count", "error", "outcome", "time", "latest"], rows, {0}, {1, 4})


def _sessions(watch: Watch) -> list[Element]:
    rows: list[list[Child]] = [
        [busy.session_id, busy.place, number(busy.waiting), _times(busy.first, busy.last)]
        for busy in watch.sessions.busiest()
    ]
    heading = "Sessions with the most waiting tasks"
    return _listed(heading, ["session", "partition", "max waiting", "time"], rows, {2}, {0})


def _timeline(watch: Watch) -> list[Element]:
    rows: list[list[Child]] = [
        [clock(entry.at), entry.subject, entry.text] for entry in reversed(watch.timeline.recent)
    ]
    return _listed("Events, latest first", ["time", "consumer", "event"], rows, set(), {2})


def _times(first: float, last: float) -> str:
    return clock(first) if clock(first) == clock(last) else f"{clock(first)} to {clock(last)}"


def _listed(
    heading: str, columns: Sequence[str], rows: Sequence[Sequence[Child]], numbers: set[int], whole: set[int]
) -> list[Element]:
    if not rows:
        return []
    more = rows[FIRST:MOST]
    folded = tag("details", tag("summary", f"{len(rows) - FIRST:,} more"), _table(columns, more, numbers, whole))
    return [tag("h2", heading), _table(columns, rows[:FIRST], numbers, whole), *([folded] if more else [])]


def _table(
    columns: Sequence[str], rows: Iterable[Sequence[Child]], numbers: set[int], whole: Iterable[int] = ()
) -> Element:
    """On a phone each row becomes a card with labelled fields; those in `whole` are as wide as the card."""
    last = len(columns) - 1

    def style(n: int, cell: Child) -> str:
        if n == last and isinstance(cell, Element):
            return "trend"
        return "n" if n in numbers else "whole" if n in whole else ""

    heads = (tag("th", name, class_="n" if n in numbers else "", scope="col") for n, name in enumerate(columns))
    body = (
        tag("tr", *(tag("td", cell, data_label=columns[n], class_=style(n, cell)) for n, cell in enumerate(row)))
        for row in rows
    )
    return tag("table", tag("thead", tag("tr", *heads)), tag("tbody", *body), class_="rows")


def _footer(read: ReadStats) -> Element:
    text = f"From {many(read.lines, 'log line')}"
    text += f", {number(read.foreign)} of them not events of a processor" if read.foreign else ""
    text += f", {number(read.too_long)} skipped as too long" if read.too_long else ""
    return tag("footer", tag("p", f"{text}.{newer(read)} All times are UTC, as in the logs."))
