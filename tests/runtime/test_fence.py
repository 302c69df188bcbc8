"""The fence under fire: an interrupt lands in a handler, or nowhere."""

from __future__ import annotations

import random
import sys
import threading

from processor.events import ConsumerWorkerDied
from processor.runtime.workers import Worker
from processor.task import Task
from tests.runtime.fakes import FakeRecord
from tests.runtime.running import RunningConsumer

ATTEMPTS = 10_000


def test_an_interrupt_at_the_edge_of_an_attempt_never_leaks_out_of_it() -> None:
    """A second watchdog fires as soon as it sees an attempt, so that many ends and interrupts coincide."""
    over = threading.Event()
    finished: list[int] = []

    def handler(task: Task) -> None:
        for _ in range(random.randrange(200)):
            pass
        finished.append(task.offset)

    def hammer(worker: Worker) -> None:
        fence = worker.fence
        while not over.is_set():
            started = fence.started
            if started and fence.fired != started:
                for _ in range(random.randrange(100)):
                    pass
                fence.fire(started)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with RunningConsumer(handler, workers=1, max_attempts=1) as run:
            (worker,) = run.consumer._borrowers
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
    assert not run.of(ConsumerWorkerDied)
    interrupted = {int(sent.headers["dlq-offset"] or b"") for sent in run.sink.sent}
    assert interrupted
    assert finished
    assert interrupted | set(finished) == set(range(ATTEMPTS))
    assert run.consumer._desk.counts.done == ATTEMPTS - len(interrupted)
    assert run.commit_point() == ATTEMPTS
