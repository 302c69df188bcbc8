"""`processor run --reload`, as a developer uses it: a real fleet, on the embedded broker and on Kafka."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from processor.kafka.dispatcher import Dispatcher
from processor.kafka.embedded import EmbeddedBroker
from tests.conftest import MakeTopic
from tests.support.broker import Broker
from tests.support.run import Fleet
from tests.support.until import until

HANDLER = """
import os

def handle(task):
    os.write(1, f"{word} {{task.payload}}\\n".encode())  # one write: print makes two, and threads come in between
"""


def send(servers: str, topic: str, numbers: range) -> None:
    with Dispatcher(servers, topic, value_format="json") as dispatcher:
        for number in numbers:
            dispatcher.submit(f"session-{number % 5}", number)


def shown(fleet: Fleet, word: str, count: int) -> list[int]:
    """The tasks that the version of the handler called `word` has shown, once there are so many."""

    def numbers() -> list[int]:
        return [int(line.split()[1]) for line in fleet.stdout.splitlines() if line.startswith(f"{word} ")]

    until(lambda: len(numbers()) >= count, f"{count} tasks of {word}", seconds=60)
    return sorted(numbers())


def test_saved_code_handles_what_comes_next_and_nothing_is_handled_twice(
    start_fleet: Callable[..., Fleet], tmp_path: Path
) -> None:
    with EmbeddedBroker() as broker:
        broker.create_topics(["orders"])
        work_through_three_versions(broker.bootstrap_servers, "orders", "consumer", start_fleet, tmp_path)


def test_the_same_holds_for_a_classic_group_on_kafka(
    broker: Broker, topic: MakeTopic, start_fleet: Callable[..., Fleet], tmp_path: Path
) -> None:
    work_through_three_versions(broker.bootstrap_servers, topic(), "classic", start_fleet, tmp_path)


def work_through_three_versions(
    servers: str, topic: str, protocol: str, start_fleet: Callable[..., Fleet], folder: Path
) -> None:
    def save(text: str) -> None:
        """Saves as editors do: no consumer can load half of it."""
        (folder / "shop.new").write_text(text)
        (folder / "shop.new").rename(folder / "shop.py")

    save(HANDLER.format(word="one"))
    options = ("-b", servers, "-t", topic, "-g", topic, "--group-protocol", protocol, "--value-format", "json")
    fleet = start_fleet("shop:handle", *options, "--processes", "2", "--reload")
    send(servers, topic, range(20))
    assert shown(fleet, "one", 20) == list(range(20))

    save(HANDLER.format(word="two"))
    assert fleet.wait_for("fleet.reloading")["files"] == ["shop.py"]
    send(servers, topic, range(20, 40))
    assert shown(fleet, "two", 20) == list(range(20, 40))

    save("def handle(task:\n")
    until(lambda: fleet.lines, "a line about the code that does not load", seconds=60)
    send(servers, topic, range(40, 60))
    save(HANDLER.format(word="six"))
    assert shown(fleet, "six", 20) == list(range(40, 60))

    fleet.signal()
    assert fleet.wait() == 0
    [line] = fleet.lines
    place = f"({folder / 'shop.py'}:1)"
    assert line.startswith("processor: importing 'shop' for APP failed: SyntaxError: ")
    assert line.endswith(f"{place}; waiting for a Python file to change")
    assert len(fleet.stdout.splitlines()) == 60
    assert [event["files"] for event in fleet.heard("fleet.reloading")] == [["shop.py"]] * 3
    assert not (folder / "__pycache__").exists(), "bytecode of one version may pass for the next"
