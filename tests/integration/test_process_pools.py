"""Handlers that work in processes of their own: how long a stop takes, and what is left of them after it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import psutil
import pytest

from tests.conftest import MakeTopic, Produce
from tests.support.broker import Broker
from tests.support.processes import descendants, lives
from tests.support.run import Fleet
from tests.support.until import until

BOUND = 60.0

GRACE_SECONDS = 5.0
"""A stop waits for that long for a process that does not end."""

POOL = """
import concurrent.futures, multiprocessing, os, time
from pathlib import Path

pool = concurrent.futures.ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(os.environ["TEST_CONTEXT"]))

def handle(task):
    pool.submit(abs, -1).result()
    Path("worked").touch()

def handle_long(task):
    busy = pool.submit(time.sleep, 600)
    Path("worked").touch()
    busy.result()
"""


class AtWork(Protocol):
    """Starts a fleet whose only consumer has processes at work, and returns both."""

    def __call__(self, handler: str, context: str, *options: str) -> tuple[Fleet, list[psutil.Process]]: ...


@pytest.fixture
def at_work(
    broker: Broker,
    topic: MakeTopic,
    group: str,
    produce: Produce,
    tmp_path: Path,
    start_fleet: Callable[..., Fleet],
) -> Iterator[AtWork]:
    started: list[psutil.Process] = []

    def start(handler: str, context: str, *options: str) -> tuple[Fleet, list[psutil.Process]]:
        name = topic(1)
        produce(name, [(b"s", b"1")])
        fleet = start_fleet(
            f"pool:{handler}",
            *("-b", broker.bootstrap_servers, "-t", name, "-g", group, "--value-format", "bytes", *options),
            modules={"pool": POOL},
            env={"TEST_CONTEXT": context},
        )
        until((tmp_path / "worked").exists, "the handler has put its pool to work", BOUND)
        (consumer,) = fleet.consumers()
        workers = descendants(consumer)
        assert workers
        started.extend(workers)
        return fleet, workers

    yield start
    for worker in started:
        with suppress(psutil.NoSuchProcess):
            worker.kill()


def assert_all_end(processes: list[psutil.Process]) -> None:
    until(lambda: not any(lives(process) for process in processes), "each process of the pool has ended", BOUND)


@pytest.mark.parametrize("context", ["fork", "spawn", "forkserver"])
def test_a_stop_does_not_wait_for_an_idle_process_pool(at_work: AtWork, context: str) -> None:
    fleet, workers = at_work("handle", context)
    assert fleet.stop() == 0
    assert fleet.seconds_between("consumer.stopping", "fleet.stopped") < GRACE_SECONDS
    assert_all_end(workers)


def test_a_pool_that_does_not_shut_down_is_terminated_with_its_consumer(at_work: AtWork) -> None:
    fleet, workers = at_work("handle_long", "fork", "--drain-timeout", "1", "--timeout", "60")
    assert fleet.stop() == 3
    assert_all_end(workers)


def test_a_killed_consumer_leaves_none_of_its_pool_processes_running(at_work: AtWork) -> None:
    """The task that they work on runs again in the consumer that follows."""
    fleet, workers = at_work("handle_long", "fork")
    os.kill(fleet.consumers()[0], signal.SIGKILL)
    assert_all_end(workers)


def test_a_consumer_whose_parent_is_killed_leaves_none_of_its_pool_processes_running(at_work: AtWork) -> None:
    fleet, workers = at_work("handle_long", "fork", "--drain-timeout", "1")
    os.kill(fleet.pid, signal.SIGKILL)
    assert_all_end(workers)
