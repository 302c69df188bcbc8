"""The report as plain text: totals, verdicts with advice, and what went wrong."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from typing import Final

from processor.observe.head_blocks import LONG_SECONDS
from processor.observe.lines import ReadStats
from processor.observe.report.findings import WORDS, Finding, blocking_task, findings
from processor.observe.report.notes import notes
from processor.observe.sessions import reading_cost, share_text
from processor.observe.watch import Watch
from processor.observe.window import Status
from processor.observe.wording import clock, date_time, duration, many, number, plain, short

MOST: Final = 10
"""The most rows of each list; the page has more."""

SHOWN: Final = 20
"""The most partitions that are listed: this many at fault, and this many others."""

NOTHING: Final = (
    "These logs have no events of a processor. `processor run` writes them to standard error, one JSON object per line "
    "(--log-format json; on a terminal the default is the console format)."
)


def text(watch: Watch, now: float, read: ReadStats, width: int = 100) -> str:
    """Return the report at `now` (seconds since the epoch), in lines of at most about `width` characters."""
    return "\n".join(_lines(watch, now, read, width)) + "\n"


def title(watch: Watch) -> str:
    """Return the groups, topics and counts in one line; the count of consumers only if there are any."""
    consumers = watch.living()
    counts = [many(len(consumers), "consumer")] if consumers else []
    return " · ".join([about(watch), *counts, partition_count(watch)])


def partition_count(watch: Watch) -> str:
    """Return the number of partitions, with those that the log has not named yet."""
    unlisted = f" ({watch.unlisted:,} idle, not listed yet)" if watch.unlisted else ""
    return many(len(watch.partitions) + watch.unlisted, "partition") + unlisted


def about(watch: Watch) -> str:
    """Return the groups and their topics."""
    groups = sorted({group for group in watch.groups.values() if group})
    topics = sorted({partition.topic for partition in watch.partitions.values()})
    words = [", ".join(groups), f"on {', '.join(topics)}" if topics else ""]
    return plain(" ".join(word for word in words if word)) or "group not known yet"


def _lines(watch: Watch, now: float, read: ReadStats, width: int) -> Iterator[str]:
    if watch.began is None:
        yield _wrapped(NOTHING, "", width)
        yield _footer(read)
        return
    yield title(watch)
    yield f"{date_time(watch.began)} to {date_time(watch.now)} UTC, {duration(watch.now - watch.began)}"
    yield _wrapped(_totals(watch), "", width)
    yield from _section("Problems", notes(watch, now), width)
    yield from _partitions(findings(watch, now), width)
    yield from _section("Head of line: tasks that commit points waited for longest", _blocks(watch), width)
    yield from _section("Failures by error", _failures(watch), width)
    yield from _section("Sessions with the most waiting tasks", _sessions(watch), width)
    yield from _section("Latest events", _timeline(watch), width)
    yield ""
    yield _footer(read)


def _totals(watch: Watch) -> str:
    counts, trail = watch.load.counts, watch.load.trail
    last = trail[-1] if trail else None
    rate = f"{number(last.tasks_per_second if last else 0)}/s"
    most = f"at most {number(watch.load.series['tasks_per_second'].most)}/s"
    parts = [
        f"{number(counts.succeeded)} succeeded, {rate}, {most}",
        f"{number(counts.retried)} retried",
        many(counts.dead_lettered, "dead letter"),
        f"lag {number(last.lag if last else 0)}",
        many(watch.timeline.counts["rebalance"], "rebalance"),
        many(watch.timeline.counts["restart"], "restart"),
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
        if finding.advice and finding.advice != advice:  # a hundred partitions may share one cause
            yield _wrapped(finding.advice, "      ", width)
        advice = finding.advice
    yield from _and_more(len(faulty) - SHOWN, "at fault")
    yield from (_partition(finding, columns) for finding in well[:SHOWN])
    yield from _and_more(len(well) - SHOWN, "ok")


def _and_more(count: int, status: str) -> Iterator[str]:
    if count > 0:
        yield f"  and {count:,} more {status}"


def _partition(finding: Finding, columns: int) -> str:
    partition, stats = finding.partition, finding.partition.stats
    was = f", was {WORDS[partition.worst]}" if partition.worst > max(finding.status, Status.EARLY) else ""
    oldest, ready = duration(stats.oldest_unsettled_seconds), duration(stats.oldest_ready_seconds)
    ready = f"  ready for {ready}" if stats.oldest_ready_seconds >= LONG_SECONDS else ""
    figures = f"lag {short(partition.lag_now):>6}  gap {short(stats.gap):>6}  oldest {oldest}{ready}"
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


def _blocks(watch: Watch) -> Iterator[str]:
    current = {id(block) for block in watch.current_blocks()}
    for block in watch.longest_blocks():
        since = clock(block.since)
        time = f"since {since}" if id(block) in current else f"{since} to {clock(block.until)}"
        place = f"{block.topic}[{block.partition}]"
        yield f"{place} {duration(block.seconds)}, {time}: {blocking_task(block)}; {block.why}"


def _failures(watch: Watch) -> Iterator[str]:
    for group in watch.failures.groups:
        outcomes = ", ".join(f"{number(count)} {what}" for what, count in group.outcomes.items())
        error = "other errors, of many kinds" if group.is_rest else group.example.summary
        where = f"; latest: session {group.example.session_id}, {group.example.place}" if group.example.place else ""
        yield f"{outcomes}, {clock(group.first)} to {clock(group.last)}: {error}{where}"
    suppressed = watch.load.counts.suppressed_warnings
    if suppressed:
        yield f"{many(suppressed, 'more warning')} about single tasks not logged, because of the rate limit"


def _sessions(watch: Watch) -> Iterator[str]:
    if (cost := reading_cost(watch.load.counts)) is not None:
        yield f"{'':>7} {cost}"
    for busy in watch.sessions.busiest():
        where = f"{busy.place}{share_text(busy.share)}"
        yield f"{number(busy.waiting):>7} waiting: session {busy.session_id} in {where}, {clock(busy.first)}"


def _timeline(watch: Watch) -> Iterator[str]:
    for entry in list(watch.timeline.recent)[-MOST:]:
        yield f"{clock(entry.at)} {entry.subject:<6} {entry.text}"


def _footer(read: ReadStats) -> str:
    foreign = f", {number(read.foreign)} of them not events of a processor" if read.foreign else ""
    too_long = f", {number(read.too_long)} skipped as too long" if read.too_long else ""
    return f"Read {many(read.lines, 'line')}{foreign}{too_long}.{newer(read)}"


def newer(read: ReadStats) -> str:
    """Return a warning if the log has events of a later version than this program knows; else an empty text."""
    if not read.newer:
        return ""
    return f" {many(read.newer, 'event')} of a newer log version may be misread: use a newer version of processor."


def _wrapped(sentence: str, indent: str, width: int) -> str:
    inner = f"{indent}  "
    # Without a column beside the indent, `textwrap` never ends on a sentence that begins with a space.
    width = max(width, len(inner) + 1)
    lines = textwrap.wrap(sentence, width, initial_indent=indent, subsequent_indent=inner, break_on_hyphens=False)
    return "\n".join(lines)
