"""How often the log is read for sessions that are set aside, from a run of the engine with a simulated clock."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

import pytest

from processor.engine.assignment import Assignment
from processor.engine.ledger import Loan
from processor.engine.record import Record
from processor.engine.stock import Usage
from processor.engine.sweep import Sweep
from tests.engine.record import FakeRecord

HOT = 20
EACH = 500
TASKS = HOT * EACH * 5 // 4
"""One in five is of another session."""
WORKERS = 64

Seconds = Callable[[bytes, random.Random], float]
"""How long a task of a session takes."""


def alike(_: bytes, chance: random.Random) -> float:
    return chance.expovariate(20)


def unlike(key: bytes, _: random.Random) -> float:
    """The slowest session takes ninety times as long as the fastest."""
    return 0.001 if key.startswith(b"other") else 0.0005 * (1 + int(key)) ** 1.5


class Cost(NamedTuple):
    """What a run has cost."""

    passed: int
    """Records that were read again, those that were not wanted included."""
    recalled: int
    most_in_flight: int


def worked_off(most: int, seconds: Seconds) -> Cost:
    """Work off one partition with `most` tasks in flight. Each session must run in its order."""
    chance, limits = random.Random(1), Usage(most, 10**9)
    keys = [b"%d" % n for n in range(HOT) for _ in range(EACH)]
    keys += [b"other%d" % n for n in range(TASKS - len(keys))]
    chance.shuffle(keys)
    log = [FakeRecord(n, key, b"v") for n, key in enumerate(keys)]
    assignment: Assignment[int] = Assignment()
    ledger = assignment.assign(0, 0)
    running: list[tuple[float, int, Loan]] = []
    reached = dict.fromkeys(keys, -1)
    fetched = done = passed = recalled = most_in_flight = numbers = 0
    clock = next_look = 0.0
    while done < TASKS:
        batch = log[fetched : fetched + min(50, most - assignment.in_flight)]
        if batch:
            assignment.admit(0, batch, clock)
            fetched += len(batch)
        if assignment.in_flight >= 0.9 * most and clock >= next_look:
            next_look = clock + 0.1
            assignment.make_room(0, limits, TASKS, clock)
        most_in_flight = max(most_in_flight, assignment.in_flight)
        for _, asked, offsets in assignment.ask(limits):
            records = read(log, offsets)
            passed, recalled = passed + len(records), recalled + len(offsets)
            assignment.read_again(asked, records)
        while len(running) < WORKERS and (loans := assignment.lend(1)):
            for loan in loans:
                numbers += 1
                heapq.heappush(running, (clock + seconds(loan.records[0].key() or b"", chance), numbers, loan))
        if not running:
            clock += 0.3  # nothing is ready: the oldest task has to wait before tasks are set aside
            continue
        clock, _, loan = heapq.heappop(running)
        (record,) = loan.records
        assert reached[record.key() or b""] < record.offset()
        reached[record.key() or b""] = record.offset()
        loan.done = 1
        done += 1
        assignment.release(loan)
    assert ledger.offsets.commit_point == TASKS
    return Cost(passed, recalled, most_in_flight)


def read(log: list[FakeRecord], offsets: Sequence[int]) -> list[Record]:
    """Return what a sweep for these offsets passes."""
    sweep, at, passed = Sweep(offsets), offsets[0], list[Record]()
    while not sweep.is_done:
        at = sweep.jump() if sweep.should_jump else at
        passed.append(log[at])
        sweep.take([log[at]])
        at += 1
    return passed


@pytest.mark.parametrize(
    ("most", "seconds", "times"),
    [(2_000, alike, 10), (2_000, unlike, 14), (500, alike, 25), (500, unlike, 35)],
)
def test_the_log_is_read_again_a_bounded_number_of_times_however_unlike_the_sessions_are(
    most: int, seconds: Seconds, times: int
) -> None:
    """Sessions of different speed are read at different places, and the less may be in flight the more often.

    Nearly all of it is read over on the way from one session's next tasks to another's.
    """
    cost = worked_off(most, seconds)
    assert cost.recalled > 0
    assert cost.passed <= times * TASKS
    assert cost.most_in_flight <= 1.5 * most
