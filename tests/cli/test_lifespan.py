"""A lifespan in a fleet, as `processor run` has it: on the embedded broker."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from processor.kafka.dispatcher import Dispatcher
from processor.kafka.embedded import EmbeddedBroker
from tests.support.run import Fleet

SHOP = """
import os
from pathlib import Path
from processor import Processor

app = Processor()

@app.lifespan
def opened():
    if Path("away").exists():
        raise ConnectionError("no route to the database")
    print_line("opened")
    yield "shared"
    print_line("closed")

@app.default
def handle(task):
    print_line(task.state)

def print_line(text):
    os.write(1, f"{text}\\n".encode())  # one write: print makes two, and threads come in between
"""


def test_each_consumer_opens_the_lifespan_before_its_first_task_and_closes_it_after_its_last(
    start_fleet: Callable[..., Fleet], tmp_path: Path
) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    with EmbeddedBroker() as broker:
        broker.create_topics(["orders"])
        with Dispatcher(broker.bootstrap_servers, "orders", value_format="json") as dispatcher:
            for number in range(20):
                dispatcher.submit(f"s{number}", number)
        fleet = start_fleet("shop:app", *options(broker), "--processes", "2", "--stop-at-end")
        assert fleet.wait() == 0
    lines = fleet.stdout.splitlines()
    assert sorted(set(lines)) == ["closed", "opened", "shared"]
    assert (lines.count("opened"), lines.count("shared"), lines.count("closed")) == (2, 20, 2)
    assert lines.index("opened") < lines.index("shared")


def test_a_lifespan_that_fails_is_one_line_and_exit_code_5_and_no_consumer_joins_the_group(
    start_fleet: Callable[..., Fleet], tmp_path: Path
) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    (tmp_path / "away").touch()
    with EmbeddedBroker() as broker:
        broker.create_topics(["orders"])
        fleet = start_fleet("shop:app", *options(broker))
        assert fleet.wait() == 5
    [line] = fleet.lines
    assert "the lifespan opened failed: ConnectionError: no route to the database" in line
    assert "shop.py:11)" in line
    assert fleet.heard("consumer.started") == []


def options(broker: EmbeddedBroker) -> tuple[str, ...]:
    to = ("-b", broker.bootstrap_servers, "-t", "orders", "-g", "shop")
    return (*to, "--group-protocol", "consumer", "--value-format", "json")
