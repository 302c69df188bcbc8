"""A session with very many tasks, most of them set aside, during faults of retention, brokers, group and producers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from tests.chaos.scenes import NOTICED_SOON, PATIENT
from tests.chaos.test_topics import delete_records
from tests.conftest import MakeBroker
from tests.support import cluster
from tests.support.ledger import Place
from tests.support.run import Fleet
from tests.support.scenario import OUTLASTING, MakeScenario, Scenario
from tests.support.until import until

EACH = 1_000
"""The number of tasks of the hot session, and also that of all other sessions together."""

SMALL = ("-w", "8", "--max-in-flight", "100", "--commit-interval", "0.2", "--timeout", "600")


def mixed(tasks: int) -> list[cluster.Row]:
    """Return tasks of which every second one belongs to the hot session."""
    return [(b"slow" if n % 2 == 0 else b"s%d" % (n % 50), b"") for n in range(tasks)]


def with_a_hot_session_set_aside(work: Scenario, *options: str, first: Iterable[cluster.Row] | None = None) -> Fleet:
    """Produces the tasks, and runs a fleet until all tasks of other sessions are done, and none of the hot session."""
    work.produce(mixed(2 * EACH) if first is None else first)
    fleet = work.run("wait_if_slow", *SMALL, *options)
    fleet.wait_for("consumer.set_aside")
    work.wait_done(EACH)
    return fleet


def offsets_in(events: Iterable[dict[str, object]]) -> list[int]:
    """Return the missed offsets that the events list: each event lists only its first ones."""
    spans = [str(span).split("-") for event in events for span in event["offsets"]]  # type: ignore[attr-defined]
    return [offset for span in spans for offset in range(int(span[0]), int(span[-1]) + 1)]


def test_records_of_a_hot_session_deleted_by_retention_are_reported_and_the_rest_runs_in_order(
    scenario: MakeScenario, admin: AdminClient
) -> None:
    work = scenario(partitions=1)
    fleet = with_a_hot_session_set_aside(work)
    delete_records(admin, work.topic, 0, 1_501)
    work.go()
    work.wait_lag(0, 60)
    assert fleet.stop() == 0
    ran = {entry.offset for entry in work.ledger.entries() if entry.succeeded}
    missed = set(range(0, 1_501, 2)) - ran
    assert missed
    assert sum(event["missed_offsets"] for event in fleet.heard("consumer.offsets_missed")) == len(missed)
    assert set(offsets_in(fleet.heard("consumer.offsets_missed"))) <= missed
    assert work.faults(Place(work.topic, 0, offset) for offset in missed) == {}
    assert work.repeated() == []


def test_a_hot_session_between_aborted_transactions_loses_no_task_and_runs_no_aborted_one(
    scenario: MakeScenario,
) -> None:
    """The log has gaps, markers, and a transaction that is open while records below it are read again."""
    work = scenario(partitions=1)
    producer = Producer(
        {
            "bootstrap.servers": work.servers,
            "transactional.id": work.group,
            "partitioner": "murmur2_random",
            "transaction.timeout.ms": 280_000,  # the last one stays open while a fleet starts and runs
        }
    )
    producer.init_transactions(30)
    kept = 0
    for n in range(40):
        places = in_transaction(producer, work.topic, mixed(2 * EACH // 20))
        if n % 2:
            producer.abort_transaction(30)
        else:
            producer.commit_transaction(30)
            work.places += places
            kept += len(places)
    assert kept == 2 * EACH
    late = in_transaction(producer, work.topic, mixed(10))
    fleet = with_a_hot_session_set_aside(work, first=())
    work.go()
    work.wait_done(2 * EACH)
    producer.commit_transaction(30)
    work.places += late
    work.wait_done(2 * EACH + 10)
    work.wait_lag(0)
    assert fleet.stop() == 0
    assert work.faults() == {}
    assert work.repeated() == []
    assert {entry.place for entry in work.ledger.entries()} == set(work.places)
    assert not fleet.heard("consumer.offsets_missed")


def in_transaction(producer: Producer, topic: str, rows: Iterable[cluster.Row]) -> list[Place]:
    """Begins a transaction and writes the records. Returns their places."""
    places: list[Place] = []

    def keep(error: object, message: object) -> None:
        assert error is None
        places.append(Place(topic, message.partition(), message.offset()))  # type: ignore[attr-defined]

    producer.begin_transaction()
    for key, value, *_ in rows:
        producer.produce(topic, key=key, value=value, on_delivery=keep)
    assert producer.flush(30) == 0
    return places


def test_no_task_set_aside_from_a_deleted_topic_runs_after_the_topic_is_recreated(scenario: MakeScenario) -> None:
    work = scenario(partitions=1)
    fleet = with_a_hot_session_set_aside(work, "-X", "topic.metadata.refresh.interval.ms=500")
    cluster.delete(work.servers, work.topic)
    cluster.create_topic(work.servers, work.topic, 1)
    anew = time.monotonic_ns()
    work.places.clear()
    work.produce(mixed(400))

    def done() -> list[int]:
        """Return the offsets of the tasks that have succeeded since then."""
        return [entry.offset for entry in work.ledger.entries() if entry.succeeded and entry.at > anew]

    until(lambda: len(done()) >= 200, lambda: f"{len(done())} of 200 tasks of the others are done", 60, pause=0.1)
    work.go()
    work.wait_lag(0, 60)
    assert fleet.stop() == 0
    # The first offset is the task of the old topic that was running all the time; the session waited for it.
    assert [offset for offset in done() if offset % 2 == 0] == [0, *range(0, 400, 2)]
    assert sorted(offset for offset in done() if offset % 2) == list(range(1, 400, 2))
    assert work.faults(replays_in_process=True) == {}
    assert not fleet.heard("consumer.offsets_missed")


def test_a_consumer_suspended_past_its_session_runs_no_task_that_it_had_set_aside(
    scenario: MakeScenario,
) -> None:
    work = scenario(partitions=1)
    sleeper = with_a_hot_session_set_aside(work, *NOTICED_SOON)
    until(lambda: len(work.known_done()) == EACH, "the group knows what is done", 60, pause=0.1)
    (paused,) = map(psutil.Process, sleeper.consumers())
    paused.suspend()
    try:
        work.go()
        other = work.run("wait_if_slow", *SMALL, *PATIENT)
        work.wait_done(EACH + EACH // 4)
    finally:
        work.wake(paused)
    work.wait_done(2 * EACH)
    work.wait_lag(0)
    assert [sleeper.stop(), other.stop()] == [0, 0]
    assert work.faults(replays_in_process=True) == {}
    assert {finding.place for finding in work.repeated()} <= {work.places[0]}


def test_an_unavailable_broker_only_delays_tasks_that_must_be_read_again(
    own_broker: MakeBroker, group: str, tmp_path: Path, start_fleet: Callable[..., Fleet]
) -> None:
    broker = own_broker()
    topic = cluster.create_topic(broker.bootstrap_servers, "work", 1)
    work = Scenario(broker, topic, group, tmp_path, start_fleet)
    fleet = with_a_hot_session_set_aside(work, *OUTLASTING, "-X", "reconnect.backoff.max.ms=500")
    fleet.wait_for("consumer.stats")
    broker.kill()
    work.go()
    set_aside = lambda: fleet.heard("consumer.stats")[-1]["set_aside"]  # noqa: E731 — a condition
    waiting = lambda: fleet.heard("consumer.stats")[-1]["waiting"]  # noqa: E731 — a condition
    until(lambda: waiting() == 0 and set_aside() > 0, "the tasks that are here have run", 60, pause=0.1)
    broker.restart()
    work.wait_done(2 * EACH)
    work.wait_lag(0, 60)
    assert fleet.stop() == 0
    assert work.faults() == {}
    assert work.repeated() == []
    assert not fleet.heard("consumer.offsets_missed")
