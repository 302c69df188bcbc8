"""The window under load: an interrupt arrives in a handler, or nowhere."""

from __future__ import annotations

import random
import sys
import threading
import time

import pytest

from processor.handlers.task import Task
from processor.runtime import interrupt
from processor.runtime.workers import Worker
from processor.telemetry.events import ConsumerStopped, ConsumerWorkerError
from tests.runtime.fakes import FakeRecord
from tests.runtime.running import RunningConsumer

ATTEMPTS = 10_000
POST = interrupt._post


def post_slowly(ident: int, error: type[BaseException] | None) -> None:
    """The real `_post`, with a switch to the worker before and after it: the two moments that the window protects."""
    if error is not None:
        time.sleep(0)
    POST(ident, error)
    if error is not None:
        time.sleep(0)


def test_an_interrupt_at_the_edge_of_an_attempt_never_leaks_out_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second watchdog fires as soon as it sees an attempt, so that many ends and interrupts coincide."""
    monkeypatch.setattr(interrupt, "_post", post_slowly)
    over = threading.Event()
    finished: list[int] = []
    fired: set[int] = set()

    def handler(task: Task) -> None:
        time.sleep(0)  # lets the other thread run, so that it decides while this attempt ends
        for _ in range(random.randrange(50)):
            pass
        finished.append(task.offset)

    def hammer(worker: Worker) -> None:
        window = worker.window
        while not over.is_set():
            started, task = window.started, worker.task
            if started and window.fired != started and task is not None:
                for _ in range(random.randrange(150)):
                    pass
                if window.fire(started):  # so the attempt that began then still ran, and was this task's
                    fired.add(task.offset)
            else:
                time.sleep(0)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with RunningConsumer(handler, workers=1, max_attempts=1) as run:
            (worker,) = run.consumer._crew.members
            assert isinstance(worker, Worker)
            thread = threading.Thread(target=hammer, args=(worker,), daemon=True)
            thread.start()
            run.push(*[FakeRecord(n, b"s%d" % (n % 7)) for n in range(ATTEMPTS)])
            run.settled(ATTEMPTS)
            over.set()
            thread.join(10)
            assert run.stop().exit_code == 0
    finally:
        over.set()
        sys.setswitchinterval(interval)
    assert not run.of(ConsumerWorkerError)
    interrupted = {int(sent.headers["dlq-offset"] or b"") for sent in run.sink.sent}
    assert interrupted
    assert interrupted <= fired, "an interrupt landed in another attempt"
    assert finished
    assert interrupted | set(finished) == set(range(ATTEMPTS))
    assert run.of(ConsumerStopped)[0].succeeded == ATTEMPTS - len(interrupted)
    assert run.commit_point() == ATTEMPTS
