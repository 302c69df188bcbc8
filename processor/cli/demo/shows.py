"""`--show`: loads of tasks that fail, are urgent, are delayed or come in batches, each with checks."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal

import msgspec

from processor.cli.demo.app import Entry
from processor.cli.demo.batches import check_batches, figures_of_batches, plan_batches, summary_of_batches
from processor.cli.demo.checks import Fact, Figure, header_of, percentiles
from processor.cli.demo.load import MILLISECONDS, Planned, plan
from processor.engine.record import Record

ShowName = Literal["failures", "priorities", "delays", "batches"]

URGENT_ONE_IN: Final = 100
"""One task in this many is urgent."""

DELAYED_ONE_IN: Final = 10
"""One task in this many is delayed. Another task follows it in its session."""

DELAY_SECONDS: Final = (1.0, 3.0)

EXPIRED_ONE_IN: Final = 4
"""Of the tasks behind delayed ones, one in this many expires before the delay ends."""

EXPIRES_IN_SECONDS: Final = 0.5


class Show(msgspec.Struct, frozen=True):
    """A kind of load."""

    tasks: int
    """The default number of tasks."""
    plan: Callable[[int, int], list[Planned]]
    """Returns the load, given the numbers of tasks and of sessions."""
    summary: Callable[[Sequence[Planned]], str]
    """Returns one sentence about the special tasks of the load."""
    check: Callable[[Sequence[Planned], Sequence[Entry], Sequence[Record]], list[Fact]]
    """Checks its claims besides those of every run, given the load, the ledger and the dead letters."""
    figures: Callable[[Sequence[Planned], Sequence[Entry]], list[Figure]]


def _failing(planned: Sequence[Planned]) -> str:
    return f"{sum(task.fate != 'plain' for task in planned):,} of them will fail at first or for good."


# --- urgent tasks behind a backlog -------------------------------------------------------------------


def plan_priorities(tasks: int, sessions: int) -> list[Planned]:
    """Return a load with urgent tasks, each of a different session, spread over its second half."""
    chance = random.Random(2)
    urgent = max(1, tasks // URGENT_ONE_IN)
    planned = plan(tasks - urgent, sessions)
    for number in range(urgent):
        task = Planned(f"urgent-{number:03d}", 0, "plain", round(chance.uniform(*MILLISECONDS), 1), priority=9)
        planned.insert(chance.randint(len(planned) // 2, len(planned)), task)
    return planned


def _urgent(planned: Sequence[Planned]) -> str:
    count = sum(task.priority > 0 for task in planned)
    return f"{_failing(planned)}\n{count:,} are urgent, and come when at least half of the others wait already."


def check_priorities(planned: Sequence[Planned], entries: Sequence[Entry], _letters: Sequence[Record]) -> list[Fact]:
    """Check that urgent tasks overtake the others.

    They are sent last: if they waited for their turn, they would wait longer than most.
    """
    urgent, others = _waits(planned, entries)
    if not urgent or not others:
        return [Fact("urgent tasks come first", False, f"{len(urgent):,} urgent attempts, {len(others):,} others")]
    of_urgent, of_others = _mean(urgent), _mean(others)
    found = f"{_seconds(of_urgent)} on average in the queue; the others {_seconds(of_others)}"
    return [Fact("urgent tasks come first", of_urgent < of_others, found)]


def figures_of_priorities(planned: Sequence[Planned], entries: Sequence[Entry]) -> list[Figure]:
    """Return the waiting times of urgent tasks, and of the others."""
    urgent, others = _waits(planned, entries)
    return [Figure("wait of urgent tasks", percentiles(urgent)), Figure("wait of the others", percentiles(others))]


def _waits(planned: Sequence[Planned], entries: Sequence[Entry]) -> tuple[list[float], list[float]]:
    """Return the seconds from the record's timestamp to the first attempt, for urgent tasks, and for the others."""
    urgent = {task.session for task in planned if task.priority}
    first = [entry for entry in entries if entry.attempt == 1]
    return (
        [entry.waited for entry in first if entry.session in urgent],
        [entry.waited for entry in first if entry.session not in urgent],
    )


# --- delayed tasks before all others -----------------------------------------------------------------


def plan_delays(tasks: int, sessions: int) -> list[Planned]:
    """Return a load that begins with delayed tasks, each followed by another one of its session without a delay."""
    chance = random.Random(3)
    count = max(1, tasks // DELAYED_ONE_IN)
    planned = []
    for number in range(count):
        session = f"delayed-{number:03d}"
        delay = round(chance.uniform(*DELAY_SECONDS), 2)
        planned.append(Planned(session, 0, "plain", MILLISECONDS[0], delay=delay))
        if number % EXPIRED_ONE_IN:
            planned.append(Planned(session, 1, "plain", MILLISECONDS[0]))
        else:
            planned.append(Planned(session, 1, "expired", MILLISECONDS[0], expires_in=EXPIRES_IN_SECONDS))
    return planned + plan(max(1, tasks - len(planned)), sessions)


def _delayed(planned: Sequence[Planned]) -> str:
    count, expired = sum(task.delay is not None for task in planned), sum(task.fate == "expired" for task in planned)
    low, high = DELAY_SECONDS
    return (
        f"{_failing(planned)}\n{count:,}, the first, must not begin for {low:g} to {high:g} seconds; "
        f"{expired:,} behind these will have expired by then."
    )


def check_delays(planned: Sequence[Planned], entries: Sequence[Entry], letters: Sequence[Record]) -> list[Fact]:
    """Check that delayed tasks begin when they may, that others do not wait for them, and that late ones expire."""
    delayed = [entry for entry in entries if entry.overdue is not None]
    early = sum((entry.overdue or 0.0) < 0 for entry in delayed)
    found = f"{len(delayed):,} delayed" + (f", {early:,} early" if early else "")
    expired = sum(task.fate == "expired" for task in planned)
    errors = [header_of(letter, "dlq-error-type") for letter in letters]
    as_expired = errors.count("processor.Expired")
    return [
        Fact("no task before its time", bool(delayed) and not early, found),
        _others_go_on(entries, delayed),
        Fact("expired tasks are not begun", as_expired == expired, f"{as_expired:,} of {expired:,} expired"),
    ]


def _others_go_on(entries: Sequence[Entry], delayed: Sequence[Entry]) -> Fact:
    """Check that other tasks begin while a delayed task waits for its time.

    A delay counts from when the task was sent. On a busy machine all may be due before the fleet begins anything.
    """
    sessions = {entry.session for entry in delayed}
    others = [entry.began for entry in entries if entry.session not in sessions]
    last_due = max((entry.began - (entry.overdue or 0.0) for entry in delayed), default=0.0)
    if others and min(entry.began for entry in entries) >= last_due:
        return Fact("no other session waits for them", True, "not seen: all were due before the first attempt")
    before = sum(began < last_due for began in others)
    found = f"{before:,} of {len(others):,} attempts of others before the last of them was due"
    return Fact("no other session waits for them", before > 0, found)


def figures_of_delays(_planned: Sequence[Planned], entries: Sequence[Entry]) -> list[Figure]:
    """Return the times from the end of the delays to the start of the delayed tasks."""
    return [Figure("delayed tasks, late by", percentiles([e.overdue for e in entries if e.overdue is not None]))]


SHOWS: Final[Mapping[ShowName, Show]] = {
    "failures": Show(4000, plan, _failing, lambda *_: [], lambda *_: []),
    "priorities": Show(4000, plan_priorities, _urgent, check_priorities, figures_of_priorities),
    "delays": Show(800, plan_delays, _delayed, check_delays, figures_of_delays),
    "batches": Show(8000, plan_batches, summary_of_batches, check_batches, figures_of_batches),
}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _seconds(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"
