"""`Processor.run` in the calling process, on a real broker."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import pytest

from processor.boot.assembly import target_partitions
from processor.boot.in_process import run_in_process
from processor.errors import LoadError
from processor.handlers.task import Task
from processor.processor import Processor
from processor.settings import Settings
from processor.telemetry.events import ConsumerTopicCreated, ConsumerTopicMissing, Event
from tests.conftest import MakeTopic, Produce
from tests.support.broker import Broker


def ignore(event: Event) -> None:
    """Discards an event."""


def settings(broker: Broker, topic: str, group: str, **options: Any) -> Settings:
    return Settings(
        topics=(topic,),
        group=group,
        bootstrap_servers=broker.bootstrap_servers,
        value_format="bytes",
        workers=4,
        **options,
    )


def collector() -> tuple[Processor, list[bytes]]:
    app, seen = Processor(), list[bytes]()

    @app.default
    def handle(task: Task) -> None:
        seen.append(task.payload)

    return app, seen


def test_a_consumer_stops_at_the_end_of_its_topics(
    broker: Broker, topic: MakeTopic, group: str, produce: Produce
) -> None:
    name = topic(partitions=2)
    produce(name, [(b"s%d" % (n % 5), b"%d" % n) for n in range(50)])
    app, seen = collector()
    assert run_in_process(app, settings(broker, name, group, stop_at_end=True), emit=ignore) == 0
    assert sorted(map(int, seen)) == list(range(50))


def test_in_the_main_thread_a_signal_stops_the_consumer_and_the_callers_handler_is_restored(
    broker: Broker, topic: MakeTopic, group: str, produce: Produce
) -> None:
    name = topic()
    produce(name, [(b"s", b"1")])
    app = Processor()
    app.default(lambda task: os.kill(os.getpid(), signal.SIGTERM))
    before = signal.getsignal(signal.SIGTERM)
    assert run_in_process(app, settings(broker, name, group), emit=ignore) == 0
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(("is_stopped", "exit_code"), [(False, 1), (True, 0)])
def test_a_handler_that_cannot_be_interrupted_ends_the_run_with_exit_code_1_unless_it_was_stopped_anyway(
    broker: Broker, topic: MakeTopic, group: str, produce: Produce, *, is_stopped: bool, exit_code: int
) -> None:
    name = topic()
    produce(name, [(b"s", b"1")])
    app, blocked = Processor(), threading.Lock()
    blocked.acquire()

    @app.default
    def handle(_: Task) -> None:
        if is_stopped:
            os.kill(os.getpid(), signal.SIGTERM)
        blocked.acquire()

    assert run_in_process(app, settings(broker, name, group, timeout=0.1), emit=ignore) == exit_code
    blocked.release()


def test_in_another_thread_request_stop_stops_the_consumer(
    broker: Broker, topic: MakeTopic, group: str, produce: Produce
) -> None:
    name = topic()
    produce(name, [(b"s", b"1")])
    app, seen = collector()
    consumers: list[Any] = []
    codes: list[int] = []
    done = threading.Event()
    app_settings = settings(broker, name, group)

    def run() -> None:
        codes.append(run_in_process(app, app_settings, emit=ignore, on_consumer=consumers.append))
        done.set()

    threading.Thread(target=run, daemon=True).start()
    while not seen and not done.wait(0.01):
        pass
    consumers[0].request_stop("enough")
    assert done.wait(60)
    assert codes == [0]


def test_missing_output_topics_are_created_with_the_partition_count_of_their_source(
    broker: Broker, topic: MakeTopic, group: str
) -> None:
    name = topic(partitions=3)
    app, _ = collector()
    events: list[Event] = []
    options = settings(broker, name, group, stop_at_end=True, results_topic=f"{name}.results")
    assert run_in_process(app, options, emit=events.append) == 0
    made = {event.topic: event.partitions for event in events if isinstance(event, ConsumerTopicCreated)}
    assert made == {f"{name}.dlq": 3, f"{name}.results": 3}


def test_with_no_create_topics_a_missing_topic_is_reported(broker: Broker, topic: MakeTopic, group: str) -> None:
    name = topic()
    app, _ = collector()
    events: list[Event] = []
    options = settings(broker, name, group, stop_at_end=True, create_topics=False)
    assert run_in_process(app, options, emit=events.append) == 0
    assert [event.topic for event in events if isinstance(event, ConsumerTopicMissing)] == [f"{name}.dlq"]


def test_a_missing_topic_to_consume_is_named(broker: Broker, group: str) -> None:
    app, _ = collector()
    with pytest.raises(LoadError, match="no-such-topic"):
        run_in_process(app, settings(broker, "no-such-topic", group), emit=ignore)


def test_an_output_topic_of_several_topics_has_the_largest_partition_count() -> None:
    both = Settings(topics=("a", "b"), group="g", dead_letter_topic="dead", results_topic="results")
    assert target_partitions(both, {"a": 2, "b": 8}) == {"dead": 8, "results": 8}
    own = Settings(topics=("a", "b"), group="g")
    assert target_partitions(own, {"a": 2, "b": 8}) == {"a.dlq": 2, "b.dlq": 8}
