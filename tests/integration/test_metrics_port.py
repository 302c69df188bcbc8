"""`--metrics-port` on a real fleet."""

from __future__ import annotations

import os
import signal
import threading

from processor.boot.in_process import run_in_process
from processor.handlers.task import Task
from processor.processor import Processor
from processor.settings import Settings
from tests.conftest import MakeTopic, Produce
from tests.support.addresses import free_ports, listens
from tests.support.broker import Broker
from tests.support.scenario import MakeScenario
from tests.support.until import until
from tests.telemetry.test_prometheus import scraped


def total(port: int, name: str) -> float:
    return sum(value for _, value in scraped(port).get(name, []))


def test_one_port_serves_the_whole_fleet_and_outlives_its_consumers(scenario: MakeScenario) -> None:
    work = scenario(partitions=4)
    (port,) = free_ports(1)
    serve = ("--metrics-port", str(port), "--metrics-host", "127.0.0.1", "--stats-interval", "0.2")
    fleet = work.run("note", "-p", "2", *serve)
    until(lambda: [len(fleet.partitions_of(n)) for n in (0, 1)] == [2, 2], "the consumers share the partitions")
    work.produce_sessions(400, 40)
    work.wait_done(400)
    until(lambda: total(port, "processor_succeeded_tasks_total") == 400)
    found = scraped(port)
    assert {labels["consumer"] for labels, _ in found["processor_succeeded_tasks_total"]} == {"0", "1"}
    assert {labels["partition"] for labels, _ in found["processor_partition_commit_point"]} == {"0", "1", "2", "3"}
    until(lambda: total(port, "processor_partition_commit_point") == 400)
    os.kill(fleet.consumers()[0], signal.SIGKILL)
    fleet.wait_for("fleet.consumer_exited")
    until(lambda: total(port, "processor_fleet_restarts_total") == 1)
    assert fleet.stop() == 0
    assert not listens(port)


def test_a_port_in_use_is_one_error_line_and_the_exit_code_of_wrong_usage(scenario: MakeScenario) -> None:
    work = scenario(partitions=1)
    (port,) = free_ports(1)
    serve = ("--metrics-port", str(port), "--metrics-host", "127.0.0.1")
    first = work.run("note", *serve)
    first.wait_for("consumer.assigned")
    second = work.run("note", *serve)
    assert second.wait() == 2
    where = f"--metrics-host 127.0.0.1, --metrics-port {port}"
    assert second.lines == [f"processor: metrics cannot be served at {where}: Address already in use"]
    assert first.stop() == 0


def test_a_processor_started_from_python_serves_metrics(
    broker: Broker, topic: MakeTopic, group: str, produce: Produce
) -> None:
    name, (port,) = topic(partitions=1), free_ports(1)
    produce(name, [(b"s", b"%d" % n) for n in range(7)])
    app = Processor()
    app.default(ignore)
    settings = Settings(
        topics=(name,), group=group, bootstrap_servers=broker.bootstrap_servers, value_format="bytes", workers=2,
        stats_interval=0.2, metrics_port=port, metrics_host="127.0.0.1",
    )  # fmt: skip
    running: list[object] = []
    thread = threading.Thread(
        target=lambda: run_in_process(app, settings, emit=lambda event: None, on_consumer=running.append)
    )
    thread.start()
    until(lambda: listens(port) and total(port, "processor_succeeded_tasks_total") == 7)
    running[0].request_stop("the test is over")  # type: ignore[attr-defined]
    thread.join(30)
    assert not thread.is_alive()


def ignore(task: Task) -> None:
    pass
