"""What the demo's ledger and its dead-letter topic say, held against what was planned."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from processor.cli.demo_app import Entry
from processor.cli.demo_load import UNDECODABLE, Planned
from processor.task import Record


class Fact(msgspec.Struct, frozen=True):
    """One claim, whether it holds, and what was counted to know it."""

    claim: str
    holds: bool
    found: str


def check(
    planned: Sequence[Planned], entries: Sequence[Entry], dead_letters: Sequence[Record], lag: Mapping[str, int]
) -> list[Fact]:
    """Every claim of the demo.

    Args:
        planned: the load.
        entries: the ledger.
        dead_letters: the records of the dead-letter topic.
        lag: the records of each partition that are not committed, by the partition's name.
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
    """Attempts in the order of their beginning are tasks in the order of their production, each with its retries."""
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
    """Each with its key, its attempts and, where it could not be read, its bytes."""
    expected = Counter((task.id, task.session, task.attempts) for task in planned if task.is_dead_letter)
    found = Counter(map(_letter, dead_letters))
    unread = {task.id for task in planned if task.fate == "undecodable"}
    changed = sum(_header(r, "demo-id") in unread and r.value() != UNDECODABLE for r in dead_letters)
    counts = Counter(task.fate for task in planned if task.is_dead_letter)
    told = f"{counts['exhausted']:,} failed, {counts['refused']:,} rejected, {counts['undecodable']:,} undecodable"
    holds = found == expected and not changed
    if not holds:
        told = f"{(expected - found).total():,} missing, {(found - expected).total():,} unexpected, {changed:,} changed"
    return Fact("dead letters as expected", holds, told)


def _letter(record: Record) -> tuple[str, str, int]:
    return _header(record, "demo-id"), (record.key() or b"").decode(), int(_header(record, "dlq-attempts") or -1)


def _header(record: Record, name: str) -> str:
    return (dict(record.headers() or ()).get(name) or b"").decode()


def _all_committed(lag: Mapping[str, int]) -> Fact:
    left = sum(lag.values())
    found = f"lag {left:,} in {len(lag)} partitions"
    return Fact("everything committed", not left and bool(lag), found)
