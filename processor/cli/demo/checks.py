"""The checks of the demo: its ledger and its dead-letter topic, compared with the plan."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from processor.cli.demo.app import Entry
from processor.cli.demo.load import UNDECODABLE, Planned
from processor.engine.record import Record

EVEN = 0.3
"""Largest deviation from the mean that still counts as an even share."""


class Figure(msgspec.Struct, frozen=True):
    """One line of the report."""

    name: str
    value: str


def figures(entries: Sequence[Entry], partitions: int, workers: int) -> list[Figure]:
    """Return throughput, waiting and running times, and balance.

    Args:
        entries: the ledger.
        partitions: number of partitions of the topic.
        workers: number of workers of all consumers together, including those that ran no task.
    """
    if not entries:
        return [Figure("attempts", "none")]
    began = min(entry.began for entry in entries)
    seconds = max(entry.ended for entry in entries) - began
    busy = sum(entry.ended - entry.began for entry in entries)
    done = sum(entry.outcome == "done" for entry in entries)
    return [
        Figure("throughput", f"{done / seconds:,.0f} tasks/s over {seconds:.1f} s"),
        Figure("workers busy", f"{busy / seconds / workers:.0%} of the time, all {workers} together"),
        Figure("wait in the queue", percentiles([e.began - began for e in entries if e.attempt == 1])),
        Figure("run", percentiles([entry.ended - entry.began for entry in entries])),
        Figure("sessions on a partition", _balance(_sessions_by_partition(entries), partitions)),
        Figure("tasks on a consumer", _balance(Counter(e.consumer for e in entries).values(), 1)),
        Figure("tasks on a worker", _balance(Counter((e.consumer, e.worker) for e in entries).values(), workers)),
    ]


def _sessions_by_partition(entries: Sequence[Entry]) -> Collection[int]:
    return Counter(partition for _, partition in {(e.session, e.partition) for e in entries}).values()


def percentiles(seconds: Sequence[float]) -> str:
    """Return the percentiles of some durations as text."""
    if not seconds:
        return "none"
    ordered = sorted(seconds)
    parts = [f"p{p} {_duration(ordered[min(len(ordered) * p // 100, len(ordered) - 1)])}" for p in (50, 95, 99)]
    return " · ".join([*parts, f"max {_duration(ordered[-1])}"])


def _duration(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def _balance(counts: Collection[int], places: int) -> str:
    """Return the least and the most of `places` places as text. Places without a task are not in `counts`."""
    all_counts = [*counts, *[0] * (places - len(counts))]
    mean = sum(all_counts) / len(all_counts)
    low, high = min(all_counts) / mean - 1, max(all_counts) / mean - 1
    verdict = "within" if max(-low, high) <= EVEN else "outside"
    spread = f"{min(all_counts):,}–{max(all_counts):,}, mean {mean:,.1f}"
    return f"{spread} ({low:+.0%} … {high:+.0%}, {verdict} ±{EVEN:.0%})"


class Fact(msgspec.Struct, frozen=True):
    """One claim, whether it holds, and the counts that show it."""

    claim: str
    holds: bool
    found: str


def check(
    planned: Sequence[Planned], entries: Sequence[Entry], dead_letters: Sequence[Record], lag: Mapping[str, int]
) -> list[Fact]:
    """Check every claim of the demo.

    Args:
        planned: the load.
        entries: the ledger.
        dead_letters: the records of the dead-letter topic.
        lag: number of records that are not committed, by the name of the partition.
    """
    sessions = _by_session(entries)
    return [
        _each_done_once(planned, entries),
        _attempts_as_planned(planned, entries),
        _in_order(sessions),
        _no_overlap(sessions),
        _dead_letters_as_planned(planned, dead_letters),
        _all_committed(lag),
    ]


def _by_session(entries: Iterable[Entry]) -> list[list[Entry]]:
    sessions = defaultdict(list)
    for entry in sorted(entries, key=lambda entry: entry.began):
        sessions[entry.session].append(entry)
    return list(sessions.values())


def _task_id(entry: Entry) -> str:
    return f"{entry.session}/{entry.number}"


def _each_done_once(planned: Sequence[Planned], entries: Sequence[Entry]) -> Fact:
    done = Counter(_task_id(entry) for entry in entries if entry.outcome == "done")
    wanted = Counter(task.id for task in planned if not task.is_dead_letter)
    missing, again = (wanted - done).total(), (done - wanted).total()
    found = f"{done.total():,} of {wanted.total():,} done"
    trouble = [f"{missing:,} missing"] * bool(missing) + [f"{again:,} too often"] * bool(again)
    return Fact("every task done, none twice", not trouble, ", ".join([found, *trouble]))


def _attempts_as_planned(planned: Sequence[Planned], entries: Sequence[Entry]) -> Fact:
    made = Counter(_task_id(entry) for entry in entries)
    wrong = sum(made[task.id] != task.attempts for task in planned)
    retried = sum(task.fate == "retried" for task in planned)
    found = f"{len(entries):,} attempts; {retried:,} done at the second"
    return Fact("failed tasks tried again", not wrong, f"{found}, {wrong:,} wrong" if wrong else found)


def _in_order(sessions: Sequence[Sequence[Entry]]) -> Fact:
    """Check that each session's attempts, by their start, follow the order of its tasks, each with its retries."""
    wrong = sum(
        (later.number, later.attempt) <= (earlier.number, earlier.attempt)
        for session in sessions
        for earlier, later in itertools.pairwise(session)
    )
    found = f"{len(sessions):,} sessions" + (f", {wrong:,} out of order" if wrong else "")
    return Fact("order kept in every session", not wrong, found)


def _no_overlap(sessions: Sequence[Sequence[Entry]]) -> Fact:
    wrong = sum(later.began < earlier.ended for session in sessions for earlier, later in itertools.pairwise(session))
    pairs = sum(max(len(session) - 1, 0) for session in sessions)
    found = f"{pairs:,} pairs of neighbours" + (f", {wrong:,} overlap" if wrong else "")
    return Fact("no overlap in any session", not wrong, found)


def _dead_letters_as_planned(planned: Sequence[Planned], dead_letters: Sequence[Record]) -> Fact:
    """Check the key and the attempts of each dead letter, and its bytes if it could not be decoded."""
    expected = Counter((task.id, task.session, task.attempts) for task in planned if task.is_dead_letter)
    found = Counter(map(_letter, dead_letters))
    unread = {task.id for task in planned if task.fate == "undecodable"}
    changed = sum(header_of(r, "demo-id") in unread and r.value() != UNDECODABLE for r in dead_letters)
    counts = Counter(task.fate for task in planned if task.is_dead_letter)
    text = f"{counts['exhausted']:,} failed, {counts['refused']:,} rejected, {counts['undecodable']:,} undecodable"
    text += f", {counts['expired']:,} expired" if counts["expired"] else ""
    holds = found == expected and not changed
    if not holds:
        text = f"{(expected - found).total():,} missing, {(found - expected).total():,} unexpected, {changed:,} changed"
    return Fact("dead letters as expected", holds, text)


def _letter(record: Record) -> tuple[str, str, int]:
    return header_of(record, "demo-id"), (record.key() or b"").decode(), int(header_of(record, "dlq-attempts") or -1)


def header_of(record: Record, name: str) -> str:
    """Return the text of a header; empty if there is none."""
    return (dict(record.headers() or ()).get(name) or b"").decode()


def _all_committed(lag: Mapping[str, int]) -> Fact:
    left = sum(lag.values())
    found = f"lag {left:,} in {len(lag)} partitions"
    return Fact("everything committed", not left and bool(lag), found)
