"""A `Processor` run and stopped from Python, on a real broker."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from processor import Processor, Task
from processor.errors import LoadError, SettingsError
from tests.conftest import MakeTopic, Produce
from tests.support.broker import Broker

SECONDS = 60.0


def collector() -> tuple[Processor, list[bytes], threading.Event]:
    app, seen, first = Processor(), list[bytes](), threading.Event()

    @app.default
    def handle(task: Task) -> None:
        seen.append(task.payload)
        first.set()

    return app, seen, first


class Running(threading.Thread):
    """`app.run` in a thread of its own."""

    def __init__(self, app: Processor, *args: Any, **settings: Any) -> None:
        super().__init__(daemon=True)
        self._call = lambda: app.run(*args, value_format="bytes", workers=4, **settings)
        self.exit_code: int | None = None

    def run(self) -> None:
        self.exit_code = self._call()


def test_a_processor_runs_to_the_end_of_a_topic(broker: Broker, topic: MakeTopic, group: str, produce: Produce) -> None:
    name = topic()
    produce(name, [(b"s%d" % (n % 5), b"%d" % n) for n in range(50)])
    app, seen, _ = collector()
    servers = broker.bootstrap_servers
    assert app.run(name, group, servers, value_format="bytes", workers=4, stop_at_end=True, log_level="error") == 0
    assert sorted(map(int, seen)) == list(range(50))


def test_stop_from_another_thread_ends_the_run_and_done_tasks_do_not_run_again(
    broker: Broker, topic: MakeTopic, group: str, produce: Produce
) -> None:
    name = topic()
    produce(name, [(b"s", b"1")])
    app, seen, first = collector()
    running = Running(app, [name], group, broker.bootstrap_servers)
    running.start()
    assert first.wait(SECONDS)
    app.stop()
    running.join(SECONDS)
    assert running.exit_code == 0

    produce(name, [(b"s", b"2")])
    assert app.run(name, group, broker.bootstrap_servers, value_format="bytes", stop_at_end=True) == 0
    assert seen == [b"1", b"2"]


def test_a_stop_before_the_consumer_is_up_is_not_lost(broker: Broker, topic: MakeTopic, group: str) -> None:
    app, _, _ = collector()
    app.stop()
    running = Running(app, topic(), group, broker.bootstrap_servers)
    running.start()
    running.join(SECONDS)
    assert running.exit_code == 0


def test_invalid_settings_are_reported_before_a_connection_is_opened() -> None:
    app, _, _ = collector()
    with pytest.raises(SettingsError, match="--workers"):
        app.run("t", "g", workers=0)
    with pytest.raises(SettingsError, match="--processes"):
        app.run("t", "g", processes=2)
    with pytest.raises(SettingsError, match="use processor run --reload"):
        app.run("t", "g", reload=True)
    with pytest.raises(SettingsError, match="at least one"):
        app.run([], "g")


def test_a_topic_that_does_not_exist_is_named(broker: Broker, group: str) -> None:
    app, _, _ = collector()
    with pytest.raises(LoadError, match="no-such-topic"):
        app.run("no-such-topic", group, broker.bootstrap_servers)


def test_a_processor_without_handlers_is_refused(broker: Broker, group: str) -> None:
    with pytest.raises(LoadError, match="no handlers"):
        Processor().run("t", group, broker.bootstrap_servers)
