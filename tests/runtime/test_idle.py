"""What a consumer does less often while it has nothing to do, and that this ends with the first task."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from itertools import pairwise
from time import monotonic

import pytest

from processor import Task
from processor.engine.lease import Lease
from processor.engine.record import Record
from processor.runtime import intake, watchdog
from processor.runtime.death_watch import DeathWatch
from processor.runtime.poller import QUIET_TICK_SECONDS
from processor.runtime.timers import Timers
from tests.runtime.fakes import FakeRecord
from tests.runtime.running import RunningConsumer
from tests.support.scripted_kafka import ScriptedSource
from tests.support.until import until


class Busy:
    """A handler that runs until it is released."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.let_go = threading.Event()

    def handle(self, _: Task) -> None:
        self.began.set()
        self.let_go.wait(60)


def test_a_quiet_poller_calls_its_ticks_less_often_until_something_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "QUIET_SECONDS", 0.1)
    ticked, looped = list[float](), list[float]()
    tick, renew = DeathWatch.tick, Lease.tick

    def note_tick(watch: DeathWatch, now: float) -> None:
        ticked.append(now)
        tick(watch, now)

    def note_loop(lease: Lease, now: float) -> float:
        looped.append(now)
        return renew(lease, now)

    monkeypatch.setattr(DeathWatch, "tick", note_tick)
    monkeypatch.setattr(Lease, "tick", note_loop)

    def loops_between(begin: float, end: float) -> int:
        return sum(begin < at < end for at in looped)

    busy = Busy()
    with RunningConsumer(busy.handle) as run:
        # it polls as often as before: there are several loops between two ticks
        until(lambda: any(b - a >= QUIET_TICK_SECONDS and loops_between(a, b) > 2 for a, b in pairwise(ticked)))
        run.push(FakeRecord(0, b"s1"))
        assert busy.began.wait(60)
        since = monotonic()
        until(lambda: any(b - a < QUIET_TICK_SECONDS for a, b in pairwise(at for at in ticked if at > since)))
        busy.let_go.set()


@pytest.mark.parametrize("delivery", ["at-least-once", "exactly-once"])
def test_a_quiet_poller_waits_longer_for_a_record_until_one_comes(
    delivery: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "QUIET_SECONDS", 0.1)
    waits, take = list[float](), ScriptedSource.take

    def note(source: ScriptedSource, limit: int, seconds: float) -> Sequence[Record]:
        waits.append(seconds)
        return take(source, limit, seconds)

    monkeypatch.setattr(ScriptedSource, "take", note)
    busy = Busy()
    with RunningConsumer(busy.handle, delivery=delivery) as run:
        until(lambda: waits[-1:] == [intake.QUIET_POLL_SECONDS])
        run.push(FakeRecord(0, b"s1"))
        assert busy.began.wait(60)
        begun = len(waits)
        until(lambda: len(waits) > begun + 2)
        assert max(waits[begun + 2 :]) <= intake.POLL_SECONDS < intake.QUIET_POLL_SECONDS
        busy.let_go.set()


def test_a_quiet_watchdog_sleeps_until_a_task_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    slept, sleep = list[float](), Timers.sleep

    def note(timers: Timers, longest: float, due: float | None) -> None:
        slept.append(longest)
        sleep(timers, longest, due)

    monkeypatch.setattr(Timers, "sleep", note)
    busy = Busy()
    with RunningConsumer(busy.handle, timeout=0.2, max_attempts=1) as run:
        until(lambda: watchdog.QUIET_SECONDS in slept)
        run.push(FakeRecord(0, b"s1"))
        assert busy.began.wait(60)
        until(lambda: slept[-1] < watchdog.IDLE_SECONDS)
        busy.let_go.set()
        run.settled(1)
        until(lambda: slept[-1] == watchdog.QUIET_SECONDS)


def test_a_task_that_waits_for_its_retry_keeps_the_watchdog_awake(monkeypatch: pytest.MonkeyPatch) -> None:
    slept, sleep = list[float](), Timers.sleep

    def note(timers: Timers, longest: float, due: float | None) -> None:
        slept.append(longest)
        sleep(timers, longest, due)

    monkeypatch.setattr(Timers, "sleep", note)
    failed = threading.Event()

    def fail(_: Task) -> None:
        failed.set()
        raise ValueError

    with RunningConsumer(fail, backoff=60.0, backoff_max=60.0) as run:
        until(lambda: watchdog.QUIET_SECONDS in slept)
        run.push(FakeRecord(0, b"s1"))
        assert failed.wait(60)
        until(lambda: slept[-1] == watchdog.IDLE_SECONDS)
