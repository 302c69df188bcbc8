"""`processor run --reload`, as a developer uses it: a real fleet, on the embedded broker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from processor.kafka.dispatcher import Dispatcher
from processor.kafka.embedded import EmbeddedBroker
from tests.support.run import Fleet
from tests.support.until import until

HANDLER = """
import os

def handle(task):
    os.write(1, f"{word} {{task.payload}}\\n".encode())  # one write: print makes two, and threads come in between
"""


@pytest.fixture
def servers() -> Iterator[str]:
    with EmbeddedBroker() as broker:
        broker.create_topics(["orders"])
        yield broker.bootstrap_servers


def send(servers: str, numbers: range) -> None:
    with Dispatcher(servers, "orders", value_format="json") as dispatcher:
        for number in numbers:
            dispatcher.submit(f"session-{number % 5}", number)


def shown(fleet: Fleet, word: str, count: int) -> list[int]:
    """The tasks that the version of the handler called `word` has shown, once there are so many."""

    def numbers() -> list[int]:
        return [int(line.split()[1]) for line in fleet.stdout.splitlines() if line.startswith(f"{word} ")]

    until(lambda: len(numbers()) >= count, f"{count} tasks of {word}", seconds=60)
    return sorted(numbers())


def test_saved_code_handles_what_comes_next_and_nothing_is_handled_twice(
    servers: str, start_fleet: Callable[..., Fleet], tmp_path: Path
) -> None:
    def save(text: str) -> None:
        """Saves as editors do: no consumer can load half of it."""
        (tmp_path / "shop.new").write_text(text)
        (tmp_path / "shop.new").rename(tmp_path / "shop.py")

    save(HANDLER.format(word="one"))
    options = ("-b", servers, "-t", "orders", "-g", "shop", "--group-protocol", "consumer", "--value-format", "json")
    fleet = start_fleet("shop:handle", *options, "--processes", "2", "--reload")
    send(servers, range(20))
    assert shown(fleet, "one", 20) == list(range(20))

    save(HANDLER.format(word="two"))
    assert fleet.wait_for("fleet.reloading")["files"] == ["shop.py"]
    send(servers, range(20, 40))
    assert shown(fleet, "two", 20) == list(range(20, 40))

    save("def handle(task:\n")
    until(lambda: fleet.lines, "a line about the code that does not load", seconds=60)
    send(servers, range(40, 60))
    save(HANDLER.format(word="six"))
    assert shown(fleet, "six", 20) == list(range(40, 60))

    fleet.signal()
    assert fleet.wait() == 0
    [line] = fleet.lines
    place = f"({tmp_path / 'shop.py'}:1)"
    assert line.startswith("processor: importing 'shop' for APP failed: SyntaxError: ")
    assert line.endswith(f"{place}; waiting for a Python file to change")
    assert len(fleet.stdout.splitlines()) == 60
    assert [event["files"] for event in fleet.heard("fleet.reloading")] == [["shop.py"]] * 3
    assert not (tmp_path / "__pycache__").exists(), "bytecode of one version may pass for the next"
