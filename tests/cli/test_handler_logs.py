"""What handlers log, in the log of a real fleet on the embedded broker."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from processor.kafka.dispatcher import Dispatcher
from processor.kafka.embedded import EmbeddedBroker
from processor.telemetry.redaction import hashed
from tests.support.lifeline import die_with_parent
from tests.support.run import Fleet, environment
from tests.support.until import until

TASKS = 4

DOCS = Path(__file__).parents[2] / "docs" / "LOGS.md"

SHOP = """
import asyncio, logging, os
import structlog
from processor import Processor

log = structlog.get_logger("shop").bind(service="shop")
app = Processor()
logging.getLogger("shop").warning("importing")  # before anything is heard

@app.task("plain")
def charge(task):
    logging.info("charging %d cents", task.payload)
    if task.payload == 3 and task.attempt == 1:
        try:
            raise ConnectionError("the bank does not respond")
        except ConnectionError:
            log.exception("not charged", cents=task.payload)
            raise
    os.write(1, b"printed\\n")

@app.task("async")
async def notify(task):
    await asyncio.sleep(0)
    log.info("notifying", cents=task.payload)
    os.write(1, b"printed\\n")
"""


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as embedded:
        embedded.create_topics(["orders", "orders.dlq"], partitions=1)
        yield embedded


def options(broker: EmbeddedBroker, *more: str) -> tuple[str, ...]:
    to = ("-b", broker.bootstrap_servers, "-t", "orders", "-g", "shop", "--value-format", "json")
    return (*to, "--group-protocol", "consumer", "--stop-at-end", *more)


def send(broker: EmbeddedBroker, name: str = "", tasks: int = TASKS) -> None:
    with Dispatcher(broker.bootstrap_servers, "orders", value_format="json") as dispatcher:
        for number in range(tasks):
            dispatcher.submit(f"session-{number}", number, name)


@pytest.mark.parametrize("name", ["plain", "async"])
def test_lines_of_handlers_are_events_of_the_same_log(
    name: str, broker: EmbeddedBroker, start_fleet: Callable[..., Fleet]
) -> None:
    send(broker, name)
    fleet = start_fleet("shop:app", *options(broker, "--backoff", "0"), modules={"shop": SHOP})
    assert fleet.wait() == 0
    lines = fleet.heard("handler.log", level="info")
    by_session = {line["session_id"]: line for line in lines}
    assert set(by_session) == {hashed(f"session-{number}") for number in range(TASKS)}
    (consumer,) = fleet.heard("consumer.started")
    for line in lines:
        same = {field: consumer[field] for field in ("log_version", "host", "pid", "group", "fleet", "consumer")}
        assert line.items() >= same.items()
        assert (line["task_name"], line["topic"], line["task_id"]) == (name, "orders", f"orders-0-{line['offset']}")
    assert fleet.stdout == "printed\n" * TASKS
    assert fleet.lines == ["importing"]
    if name == "plain":
        assert sorted(line["message"] for line in lines) == sorted(
            f"charging {number} cents" for number in (*range(TASKS), 3)
        )
        (failed,) = fleet.heard("handler.log", level="error")
        assert (failed["message"], failed["attempt"]) == ("not charged", 1)
        assert failed["fields"] == {"service": "shop", "cents": 3}
        assert (failed["error_type"], failed["error"]) == ("builtins.ConnectionError", "the bank does not respond")
        assert "in charge" in failed["traceback"]
        assert sorted(line["attempt"] for line in lines) == [1] * TASKS + [2]
    else:
        assert sorted(line["fields"]["cents"] for line in lines) == list(range(TASKS))


OWN = """
import logging, sys
import structlog

logging.basicConfig(level="INFO", format="own: %(message)s", stream=sys.stderr)
structlog.configure([structlog.processors.KeyValueRenderer()])

def charge(task):
    logging.getLogger("shop").info("charging")
    structlog.get_logger("shop").info("charging")
"""


def test_the_logging_of_an_application_that_configures_it_is_not_changed(
    broker: EmbeddedBroker, start_fleet: Callable[..., Fleet]
) -> None:
    send(broker)
    fleet = start_fleet("shop:charge", *options(broker), modules={"shop": OWN})
    assert fleet.wait() == 0
    assert fleet.lines == ["own: charging"] * TASKS
    assert sorted(fleet.stdout.split()) == ["event='charging'"] * TASKS
    assert fleet.heard("handler.log") == []


def test_with_no_log_handlers_logging_is_not_changed(broker: EmbeddedBroker, start_fleet: Callable[..., Fleet]) -> None:
    send(broker)
    source = "import logging\ndef charge(task):\n    logging.getLogger('shop').warning('charging')\n"
    fleet = start_fleet("shop:charge", *options(broker, "--no-log-handlers"), modules={"shop": source})
    assert fleet.wait() == 0
    assert fleet.lines == ["charging"] * TASKS
    assert fleet.heard("handler.log") == []


def test_the_example_of_the_page_logs_what_the_page_shows(
    broker: EmbeddedBroker, start_fleet: Callable[..., Fleet]
) -> None:
    page = DOCS.read_text().partition("## What handlers log\n")[2]
    source = page.partition("```python\n")[2].partition("```")[0]
    with Dispatcher(broker.bootstrap_servers, "orders", value_format="json") as dispatcher:
        dispatcher.submit("anna", {"cents": 1200})
    fleet = start_fleet("shop:charge", *options(broker), modules={"shop": source})
    assert fleet.wait() == 0
    first, second = fleet.heard("handler.log")
    assert (first["logger"], first["message"], first["fields"]) == ("shop", "charging", {"cents": 1200})
    assert (first["session_id"], first["attempt"]) == (hashed("anna"), 1)
    assert (second["level"], second["logger"]) == ("warning", "shop.limits")
    assert second["message"] == "1200 cents is a lot"


LIBRARY = """
import logging, sys
from processor import Processor

app = Processor()

@app.default
def charge(task):
    logging.getLogger("shop").info("charging")

options = {"group_protocol": "consumer", "value_format": "json", "stop_at_end": True, "log_format": "json"}
assert app.run("orders", group="shop", bootstrap_servers=sys.argv[1], **options) == 0
assert logging.root.handlers == []
logging.getLogger("shop").info("not shown")
logging.getLogger("shop").warning("afterwards")
"""


def test_a_program_that_runs_a_processor_has_its_own_logging_back_afterwards(
    broker: EmbeddedBroker, tmp_path: Path
) -> None:
    send(broker)
    ended = subprocess.run(
        [sys.executable, "-c", LIBRARY, broker.bootstrap_servers],
        env=environment(tmp_path, {}),
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=die_with_parent(),
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    *log, last = ended.stderr.splitlines()
    lines = [event for event in map(json.loads, log) if event["event"] == "handler.log"]
    assert [line["message"] for line in lines] == ["charging"] * TASKS
    assert {line["offset"] for line in lines} == set(range(TASKS))
    assert last == "afterwards"


POOL = """
import logging, multiprocessing, os
from concurrent.futures import ProcessPoolExecutor

pool = ProcessPoolExecutor(1, multiprocessing.get_context("fork"))

def work():
    logging.info("in the pool")
    return os.getpid()

def charge(task):
    logging.info("%d", pool.submit(work).result())
"""


def test_a_pool_process_logs_with_its_own_id_and_as_no_task(
    broker: EmbeddedBroker, start_fleet: Callable[..., Fleet]
) -> None:
    """It was forked while a handler ran, and works for the others as well."""
    send(broker)
    fleet = start_fleet("shop:charge", *options(broker), modules={"shop": POOL})
    assert fleet.wait() == 0
    lines = fleet.heard("handler.log", message="in the pool")
    own = [line for line in fleet.heard("handler.log") if line["message"] != "in the pool"]
    assert len(lines) == len(own) == TASKS
    assert {str(line["pid"]) for line in lines} == {line["message"] for line in own}
    assert {(line["task_id"], line["offset"]) for line in lines} == {(None, None)}
    assert {line["offset"] for line in own} == set(range(TASKS))


TALKATIVE = """
import logging, os

def charge(task):
    for _ in range(20):
        logging.info("x" * 4000)
    os.write(1, b"done\\n")
"""


def test_a_handler_goes_on_when_its_lines_are_not_read(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """As with every line: one that the reader does not take within a second is lost, and counted."""
    send(broker, tasks=30)
    (tmp_path / "shop.py").write_text(TALKATIVE)
    wanted = [option for option in options(broker) if option != "--stop-at-end"]
    with (tmp_path / "out.txt").open("w+") as out:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "processor", "run", "shop:charge", *wanted],
            cwd=tmp_path,
            env=environment(tmp_path, {}),
            stdout=out,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=die_with_parent(),
        )
        lines: list[str] = []
        try:
            until(lambda: (tmp_path / "out.txt").read_text().count("done") == 30, "30 tasks", seconds=60)
            assert process.stderr is not None
            reader = threading.Thread(target=lines.extend, args=(process.stderr,), daemon=True)
            reader.start()
            process.terminate()  # what is logged from now on is read, and so the count of what was lost
            assert process.wait(60) == 0
            reader.join(60)
        finally:
            process.kill()
            process.communicate()
    events = []
    for line in lines:
        with contextlib.suppress(json.JSONDecodeError):  # it was torn, and one of the fleet's other process follows
            events.append(json.loads(line))
    lost = sum(event["lines"] for event in events if event["event"] == "log.lines_lost")
    read = sum(event["event"] == "handler.log" for event in events)
    assert 0 < read < 600
    assert read + lost >= 590  # all, but for a line that was torn
