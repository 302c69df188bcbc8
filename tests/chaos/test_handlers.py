"""Handlers that misbehave: only their own task fails."""

from __future__ import annotations

import pytest

from tests.support import cluster
from tests.support.scenario import MakeScenario

FATAL = {
    b"BaseException": "builtins.BaseException",
    b"KeyboardInterrupt": "builtins.KeyboardInterrupt",
    b"GeneratorExit": "builtins.GeneratorExit",
    b"sys.exit": "builtins.SystemExit",
    b"memory": "builtins.MemoryError",
    b"recursion": "builtins.RecursionError",
    b"an error that has no text": "handlers.Mute",
    b"an error that has much text": "builtins.ValueError",
    b"returns what has no encoding": "processor.EncodeError",
}
HARMLESS = (b"starts threads", b"leaks", b"changes the folder", b"changes signals")


def test_whatever_a_handler_raises_or_returns_fails_only_its_own_task(scenario: MakeScenario) -> None:
    work = scenario()
    harms = (*FATAL, *HARMLESS)
    work.produce([(harm, harm) for harm in harms])
    work.produce([(harm, b"works") for harm in harms])
    work.produce_sessions(200, 20)
    options = ("--stop-at-end", "-w", "8", "--max-attempts", "2", "--backoff", "0.01")
    fleet = work.run("hostile", *options, "--results-topic", f"{work.topic}-results")
    assert fleet.wait() == 0
    told = {}
    for letter in cluster.read_all(work.servers, f"{work.topic}.dlq"):
        headers = cluster.headers_of(letter)
        told[letter.value()] = headers["dlq-error-type"].decode()
        assert len(headers["dlq-error-message"]) < 10_000
    expected = dict(FATAL)
    del expected[b"returns what has no encoding"]
    assert {value: told[value] for value in expected} == expected
    assert set(told) == set(FATAL)
    assert not fleet.heard("fleet.consumer_exited")
    assert not fleet.heard("consumer.worker_error")
    assert work.faults(work.given_up()) == {}
    work.wait_lag(0)


@pytest.mark.parametrize("workers", [1, 4])
def test_a_worker_thread_that_ends_is_reported_and_replaced_and_its_task_is_not_lost(
    scenario: MakeScenario, workers: int
) -> None:
    work = scenario(partitions=1)
    for n in range(20):
        work.produce([(b"s%d" % n, b"ends its worker"), (b"s%d" % n, b"works")])
    fleet = work.run("hostile", "--stop-at-end", "-w", str(workers), "--max-attempts", "5", "--backoff", "0.01")
    assert fleet.wait() == 0
    assert work.faults(work.given_up()) == {}
    work.wait_lag(0)
