"""Handlers with every kind of policy in one consumer: nothing is lost, repeated or overtaken, and each limit holds."""

from __future__ import annotations

import random
import threading
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from processor import Processor, Reject, Retry, Task
from processor.telemetry.events import ConsumerWorkerError
from tests.runtime.fakes import PARTITION, FakeRecord
from tests.runtime.running import RunningConsumer
from tests.runtime.test_outputs import of_kind
from tests.support.until import until

NAMES = ("needs", "few", "slow", "picky", "plain")
TASKS, SESSIONS, CONCURRENCY = 150, 12, 2
QUICK = {"backoff": 0.0005, "backoff_max": 0.005}


class Away(Exception): ...


class Work:
    """Handlers that behave at random, and a ledger of what they did."""

    def __init__(self, seed: int) -> None:
        self.done: dict[str, list[int]] = defaultdict(list)
        self.rejected: set[int] = set()
        self.most: Counter[str] = Counter()
        self._chance = random.Random(seed)
        self._outage = 0
        self._running: Counter[str] = Counter()
        self._lock = threading.Lock()

    def handler(self, name: str) -> Callable[[Task], Any]:
        def handle(task: Task) -> None:
            with self._lock:
                self._running[name] += 1
                self.most[name] = max(self.most[name], self._running[name])
                error = self._error(name, task)
            try:
                if error is not None:
                    raise error
                self.done[task.session_id].append(task.offset)
            finally:
                with self._lock:
                    self._running[name] -= 1

        return handle

    def _error(self, name: str, task: Task) -> Exception | None:
        chance = self._chance.random()
        if name == "needs" and (self._outage or chance < 0.1):
            self._outage = self._outage - 1 if self._outage else self._chance.randrange(40)
            return Away("connection refused")
        if chance < 0.05:
            self.rejected.add(task.offset)
            return Reject("never")
        if chance < 0.2:
            return Retry(after=0.0005, counts=False)
        return ConnectionError("no") if chance < 0.25 else None


def app_of(kind: str, work: Work) -> Processor:
    app = Processor()
    policies: dict[str, dict[str, Any]] = {
        "needs": {"outage_on": Away, **QUICK},
        "few": {"concurrency": CONCURRENCY},
        "slow": {"rate": "300/s"},
        "picky": {"concurrency": CONCURRENCY, "rate": "500/s", "outage_on": Away, "expires": 1e12, **QUICK},
        "plain": {},
    }
    for number, name in enumerate(NAMES):
        own = ("plain", "async")[number % 2] if kind == "mixed" else kind
        app.task(name, **policies[name])(of_kind(own, work.handler(name)))
    return app


@pytest.mark.parametrize("kind", ["plain", "async", "mixed"])
@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(seed=st.integers(0, 10**6), workers=st.sampled_from([1, 3, 8]), revokes=st.integers(0, 3))
def test_every_task_is_done_once_in_the_order_of_its_session(kind: str, seed: int, workers: int, revokes: int) -> None:
    chance, work = random.Random(seed), Work(seed)
    records = [FakeRecord(n, b"s%d" % chance.randrange(SESSIONS), name=chance.choice(NAMES)) for n in range(TASKS)]
    with RunningConsumer(app_of(kind, work), workers=workers, max_attempts=10**6) as run:
        run.push(*records[: TASKS // 2])
        for _ in range(revokes):
            assert run.source.revoke(PARTITION).wait(60)
            assert run.source.assign(PARTITION).wait(60)
        run.push(*records[TASKS // 2 :])
        until(lambda: run.commit_point() == TASKS, "everything is settled", 60.0)
        assert run.stop().exit_code == 0
    done = [offset for offsets in work.done.values() for offset in offsets]
    assert sorted([*done, *work.rejected]) == list(range(TASKS))
    assert all(offsets == sorted(offsets) for offsets in work.done.values())
    assert max(work.most["few"], work.most["picky"]) <= CONCURRENCY
    assert len(run.sink.sent) == len(work.rejected)
    assert not run.of(ConsumerWorkerError)
