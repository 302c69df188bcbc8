"""The programs in `examples/` run as their documentation states."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from processor.testing import run
from tests.conftest import MakeTopic, Produce
from tests.support.broker import Broker
from tests.support.run import Fleet
from tests.support.until import until

PROJECT = Path(__file__).parents[1]
SECONDS = 90


def started(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PROCESSOR_")}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def test_the_basic_handler_greets_and_rejects_payloads_without_a_name() -> None:
    from examples.basic import greet

    report = run(greet, [("anna", {"name": "Anna"}), ("anna", {}), ("bob", {"name": "Bob"})])
    assert sorted(report.results) == ["greeted Anna", "greeted Bob"]
    assert [letter.session_id for letter in report.dead_letters] == ["anna"]


def test_the_basic_example_runs_as_documented(broker: Broker, topic: MakeTopic, group: str, produce: Produce) -> None:
    name = topic()
    produce(name, [(b"anna", b'{"payload": {"name": "Anna"}}')])
    options = ("-b", broker.bootstrap_servers, "-t", name, "-g", group, "--value-format", "json", "--stop-at-end")
    ended = started("-m", "processor", "run", "examples.basic:greet", *options)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "Hello, Anna! (session anna, attempt 1)\n"


def test_orders_are_converted_to_their_class_and_a_negative_total_is_rejected() -> None:
    from examples.orders import app

    good = {"id": "o-1", "total": "12.50"}
    tasks = [
        {"session_id": "anna", "name": "shop.Order", "payload": order} for order in (good, {**good, "total": "-1"})
    ]
    report = run(app, tasks, schemas=str(PROJECT / "examples" / "schemas"))
    assert report.results == ["o-1"]
    assert [letter.error for letter in report.dead_letters] == ["order o-1 has a total of -1"]


def test_the_class_of_the_orders_example_is_the_generated_one() -> None:
    made = started("-m", "processor", "schema", "generate", "--schemas", "examples/schemas")
    assert made.returncode == 0, made.stderr
    written = (PROJECT / "examples" / "orders.py").read_text()
    assert made.stdout[made.stdout.index("@dataclass") :].strip() in written


def test_the_orders_example_runs_as_documented(broker: Broker, topic: MakeTopic, group: str) -> None:
    name = topic()
    to = ("-b", broker.bootstrap_servers, "-t", name)
    sample = started("-m", "processor", "schema", "sample", "--schemas", "examples/schemas", "-n", "4", "--seed", "1")
    lines = subprocess.run(
        [sys.executable, "-m", "processor", "produce", *to], input=sample.stdout, text=True, check=True, timeout=SECONDS
    )
    assert lines.returncode == 0
    options = (*to, "-g", group, "--schemas", "examples/schemas", "--stop-at-end")
    ended = started("-m", "processor", "run", "examples.orders:app", *options)
    assert ended.returncode == 0, ended.stderr
    assert len(ended.stdout.splitlines()) == 4


def test_the_advanced_example_keeps_every_order_on_a_real_broker(broker: Broker, topic: MakeTopic) -> None:
    ended = started("examples/advanced.py", broker.bootstrap_servers, "--topic", topic(partitions=8))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "1,999 once each: True" in ended.stdout
    assert "kept in 100 sessions, without overlap: True" in ended.stdout
    assert "workers       10," in ended.stdout


def test_the_advanced_example_runs_on_the_embedded_broker() -> None:
    ended = started("examples/advanced.py")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "without overlap: True" in ended.stdout


def test_an_order_is_shipped_and_one_that_cannot_be_charged_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    from examples.order import app, order

    report = run(app, [order(1, "anna", "tea", 500), order(2, "ben", "jam", 0)])
    assert capsys.readouterr().out == "order 1 is on its way to anna with receipt-order-1/1\n"
    assert sorted(done.name for done in report.done) == ["charge", "pack", "reserve", "reserve", "ship"]
    assert [(letter.session_id, letter.error_type) for letter in report.dead_letters] == [
        ("ben", "processor.Reject"),
        ("warehouse-2", "processor.DependencyFailed"),
        ("ben", "processor.DependencyFailed"),
    ]


def test_an_order_that_is_a_group_ships_when_all_is_done_and_waits_where_it_is_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from examples.fan_out import app, order

    report = run(app, [order(1, "anna", "tea", 500), order(2, "ben", "jam", 0)])
    assert capsys.readouterr().out == "order 1 with tea is on its way, receipt-1\n"
    assert [done.name for done in report.done].count("ship") == 1
    letters = sorted((letter.headers["task-id"], letter.error_type) for letter in report.dead_letters)
    assert letters == [(b"order-2/2", "processor.Reject"), (b"order-2/then", "processor.DependencyFailed")]


def test_every_order_is_shipped_although_the_fleet_is_killed(
    broker: Broker, topic: MakeTopic, group: str, start_fleet: Callable[..., Fleet]
) -> None:
    name, orders = topic(4), 200
    sent = started("examples/order.py", broker.bootstrap_servers, "--topic", name, "--orders", str(orders))
    assert sent.returncode == 0, sent.stderr
    options = (
        *("-b", broker.bootstrap_servers, "-t", name, "-g", group, "--value-format", "json"),
        *("-p", "2", "-X", "session.timeout.ms=6000"),
    )
    shipped: set[str] = set()

    def all_shipped(fleet: Fleet, count: int) -> bool:
        shipped.update(re.findall(r"order \d+ is on its way to customer-\d with receipt-order-\d+/1", fleet.stdout))
        return len(shipped) >= count  # two threads may print into one line

    fleet = start_fleet("examples.order:app", *options)
    until(lambda: all_shipped(fleet, 1), seconds=60)
    fleet.kill()
    all_shipped(fleet, 0)  # it has gone on until it was dead, and what it has committed runs nowhere else
    fleet = start_fleet("examples.order:app", *options)
    fleet.wait_for("fleet.started")  # the killed one may have done all
    until(lambda: all_shipped(fleet, orders), lambda: f"{len(shipped)} of {orders} orders are shipped", seconds=90)
    assert fleet.stop() == 0
    assert shipped == {f"order {n} is on its way to customer-{n % 10} with receipt-order-{n}/1" for n in range(orders)}
