"""The report as plain text: what was seen, verdicts and advice, and what went wrong."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from typing import Final

from processor.observe.lines import Passed
from processor.observe.report.findings import WORDS, Finding, findings, holder
from processor.observe.report.notes import notes
from processor.observe.watch import Watch
from processor.observe.window import Status
from processor.observe.wording import clock, duration, many, moment, number, plain, short

MOST: Final = 10
"""Rows of each list: the page has more."""

SHOWN: Final = 20
"""Partitions that are listed one by one: of those at fault, and of the others."""

NOTHING: Final = (
    "No processor's events are in these logs: `processor run` writes them to standard error, one JSON object a line "
    "(--log-format json; on a terminal the default is text for people)."
)


def text(watch: Watch, now: float, passed: Passed, width: int = 100) -> str:
    """The report at `now` (seconds since the epoch), in lines of at most about `width` characters."""
    return "\n".join(_lines(watch, now, passed, width)) + "\n"


def title(watch: Watch) -> str:
    """What is watched, in a line; how many consumers there are only while there are any."""
    consumers = watch.living()
    counts = [many(len(consumers), "consumer")] if consumers else []
    return " · ".join([about(watch), *counts, many(len(watch.partitions), "partition")])


def about(watch: Watch) -> str:
    """The groups, and their topics."""
    groups = sorted({group for group in watch.groups.values() if group})
    topics = sorted({partition.topic for partition in watch.partitions.values()})
    words = [", ".join(groups), f"on {', '.join(topics)}" if topics else ""]
    return plain(" ".join(word for word in words if word)) or "no group known yet"


def _lines(watch: Watch, now: float, passed: Passed, width: int) -> Iterator[str]:
    if watch.began is None:
        yield _wrapped(NOTHING, "", width)
        yield _read(passed)
        return
    yield title(watch)
    yield f"{moment(watch.began)} to {moment(watch.now)} UTC, {duration(watch.now - watch.began)}"
    yield _wrapped(_totals(watch), "", width)
    yield from _section("Look at this", notes(watch, now), width)
    yield from _partitions(findings(watch, now), width)
    yield from _section("Head of line: what held a commit point longest", _holds(watch), width)
    yield from _section("Failures by error", _failures(watch), width)
    yield from _section("Sessions with the most waiting", _sessions(watch), width)
    yield from _section("What happened last", _moments(watch), width)
    yield ""
    yield _read(passed)


def _totals(watch: Watch) -> str:
    counts, trail = watch.load.counts, watch.load.trail
    last = trail[-1] if trail else None
    rate = f"{number(last.tasks_per_second if last else 0)}/s"
    most = f"{number(watch.load.series['tasks_per_second'].most)}/s at most"
    parts = [
        f"{number(counts.succeeded)} done, {rate}, {most}",
        f"{number(counts.retried)} retried",
        many(counts.dead_lettered, "dead letter"),
        f"lag {number(last.lag if last else 0)}",
        many(watch.moments.counts["rebalance"], "rebalance"),
        many(watch.moments.counts["restart"], "restart"),
    ]
    return " · ".join(parts)


def _partitions(found: list[Finding], width: int) -> Iterator[str]:
    if not found:
        return
    yield ""
    yield "Partitions"
    columns = min(max(len(finding.partition.name) for finding in found), max(width - 66, 14))
    faulty = [finding for finding in found if finding.status > Status.EARLY or finding.why]
    well = [finding for finding in found if finding.status <= Status.EARLY and not finding.why]
    advice = ""
    for finding in faulty[:SHOWN]:
        yield _partition(finding, columns)
        yield _wrapped(finding.why, "      ", width)
        if finding.advice and finding.advice != advice:  # a hundred partitions may have one cause
            yield _wrapped(finding.advice, "      ", width)
        advice = finding.advice
    yield from _and_more(len(faulty) - SHOWN, "that are not well")
    yield from (_partition(finding, columns) for finding in well[:SHOWN])
    yield from _and_more(len(well) - SHOWN, "that are ok")


def _and_more(count: int, which: str) -> Iterator[str]:
    if count > 0:
        yield f"  and {count:,} more {which}"


def _partition(finding: Finding, columns: int) -> str:
    partition, told = finding.partition, finding.partition.told
    was = f", was {WORDS[partition.worst]}" if partition.worst > max(finding.status, Status.EARLY) else ""
    oldest = duration(told.oldest_unsettled_seconds)
    figures = f"lag {short(partition.lag_now):>6}  gap {short(told.gap):>6}  oldest {oldest}"
    return f"  {partition.name:<{columns}} {finding.word + was:<22}  {figures}"


def _section(heading: str, rows: Iterable[str], width: int) -> Iterator[str]:
    rows = list(rows)
    if not rows:
        return
    yield ""
    yield heading
    yield from (_wrapped(row, "  ", width) for row in rows[:MOST])
    if len(rows) > MOST:
        yield f"  and {len(rows) - MOST:,} more"


def _holds(watch: Watch) -> Iterator[str]:
    current = {id(hold) for hold in watch.current_holds()}
    for hold in watch.longest_holds():
        until = "still" if id(hold) in current else f"until {clock(hold.until)}"
        place = f"{hold.topic}[{hold.partition}]"
        yield f"{place} {duration(hold.seconds)} from {clock(hold.since)} {until}: {holder(hold)}; {hold.why}"


def _failures(watch: Watch) -> Iterator[str]:
    for group in watch.failures.groups:
        outcomes = ", ".join(f"{number(count)} {what}" for what, count in group.outcomes.items())
        error = "other errors, too many kinds to tell apart" if group.is_rest else group.example.told
        where = f"; last: session {group.example.session_id}, {group.example.place}" if group.example.place else ""
        yield f"{outcomes}, {clock(group.first)} to {clock(group.last)}: {error}{where}"
    left_out = watch.load.counts.suppressed_warnings
    if left_out:
        yield f"{many(left_out, 'more warning')} about tasks were left out of the log, too many at once"


def _sessions(watch: Watch) -> Iterator[str]:
    for busy in watch.sessions.busiest():
        yield f"{number(busy.waiting):>7} session {busy.session_id} in {busy.place}, {clock(busy.first)}"


def _moments(watch: Watch) -> Iterator[str]:
    for happened in list(watch.moments.last)[-MOST:]:
        yield f"{clock(happened.at)} {happened.who:<6} {happened.text}"


def _read(passed: Passed) -> str:
    foreign = f", {number(passed.foreign)} of them no events" if passed.foreign else ""
    too_long = f", {number(passed.too_long)} too long and passed over" if passed.too_long else ""
    return f"Read {many(passed.lines, 'line')}{foreign}{too_long}.{newer(passed)}"


def newer(passed: Passed) -> str:
    """A warning where the log is of a version that is not known here."""
    if not passed.newer:
        return ""
    return f" {many(passed.newer, 'event')} of a newer log version may be read wrongly: use a newer processor."


def _wrapped(sentence: str, indent: str, width: int) -> str:
    lines = textwrap.wrap(
        sentence, width, initial_indent=indent, subsequent_indent=f"{indent}  ", break_on_hyphens=False
    )
    return "\n".join(lines)
