"""Tasks that follow from tasks, on a real broker: through kill -9, and through a replay of dead letters."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from processor import Dispatcher, Step
from processor.options.value_formats import ValueFormat
from tests.conftest import MakeTopic
from tests.support import cluster
from tests.support.broker import Broker
from tests.support.run import Fleet, environment
from tests.support.until import until

APP = """
import json, os, time
from processor import Processor, Reject

app = Processor()
note = os.open(os.environ["NOTES"], os.O_APPEND | os.O_CREAT | os.O_WRONLY)

def write(task):
    line = {"id": task.id, "session": task.session_id, "name": task.name, "inputs": task.inputs, "topic": task.topic}
    os.write(note, json.dumps(line).encode() + b"\\n")

@app.default
def work(task):
    time.sleep(0.01)
    if task.name == "charge" and not os.path.exists("open"):
        raise Reject("the bank is closed")
    write(task)
    return {"by": task.id}
"""

StartFleet = Callable[..., Fleet]


def notes_in(path: Path) -> list[dict[str, Any]]:
    """What handlers wrote so far. The last line may still be written."""
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


@pytest.mark.parametrize("value_format", ["avro", "json"])
def test_every_chain_runs_to_its_end_in_order_despite_kills(
    broker: Broker,
    topic: MakeTopic,
    group: str,
    start_fleet: StartFleet,
    tmp_path: Path,
    value_format: ValueFormat,
) -> None:
    first, other, notes, chains = topic(4), topic(3), tmp_path / "notes", 60
    with Dispatcher(broker.bootstrap_servers, first, value_format=value_format) as dispatcher:
        for n in range(chains):
            step = Step(f"order-{n % 20}", n, "reserve", id=f"o-{n}")
            pack = Step(f"store-{n % 3}", n, "pack", topic=other)
            dispatcher.submit(step.then(pack).then(Step(f"order-{n % 20}", n, "ship")))
    options = (
        *("-b", broker.bootstrap_servers, "-t", first, "-t", other, "-g", group, "--value-format", value_format),
        *("-w", "4", "--commit-interval", "0.3", "-X", "session.timeout.ms=6000"),
    )
    env = {"NOTES": str(notes)}
    fleet = start_fleet("chains:app", *options, modules={"chains": APP}, env=env)
    until(lambda: len(notes_in(notes)) >= 80, seconds=60)
    fleet.kill()
    fleet = start_fleet("chains:app", *options, modules={"chains": APP}, env=env)
    fleet.wait_for("fleet.started")  # the killed one may have done all
    ids = {f"o-{n}{depth}" for n in range(chains) for depth in ("", "/1", "/1/1")}
    until(lambda: {note["id"] for note in notes_in(notes)} >= ids, seconds=90)
    assert fleet.stop() == 0

    ran = notes_in(notes)
    begun: dict[str, int] = {}
    for number, note in enumerate(ran):
        begun.setdefault(note["id"], number)
    assert set(begun) == ids
    for n in range(chains):
        assert begun[f"o-{n}"] < begun[f"o-{n}/1"] < begun[f"o-{n}/1/1"]
    for note in ran:
        parent = note["id"].rpartition("/")[0]
        assert note["inputs"] == ([{"by": parent}] if parent else [])
        assert note["topic"] == (first if note["name"] == "reserve" else other)
        assert note["session"].split("-")[1].isdigit()


def test_with_exactly_once_each_follow_up_task_is_committed_once(
    broker: Broker, topic: MakeTopic, group: str, start_fleet: StartFleet, tmp_path: Path
) -> None:
    first, packed, shipped, notes, chains = topic(3), topic(2), topic(2), tmp_path / "notes", 150
    with Dispatcher(broker.bootstrap_servers, first, value_format="json") as dispatcher:
        for n in range(chains):
            step = Step(f"order-{n % 20}", n, "reserve", id=f"o-{n}")
            dispatcher.submit(step.then(Step("x", n, "pack", topic=packed)).then(Step("y", n, topic=shipped)))
    options = (
        *("-b", broker.bootstrap_servers, "-t", first, "-t", packed, "-g", group, "--value-format", "json"),
        *("-w", "4", "--delivery", "exactly-once", "-X", "session.timeout.ms=6000"),
    )

    def ids(name: str) -> list[str]:
        return sorted(cluster.headers_of(record)["task-id"].decode() for record in cluster.read_all(servers, name))

    servers = broker.bootstrap_servers
    fleet = start_fleet("chains:app", *options, modules={"chains": APP}, env={"NOTES": str(notes)})
    until(lambda: len(notes_in(notes)) >= 60, seconds=60)
    fleet.kill()
    fleet = start_fleet("chains:app", *options, modules={"chains": APP}, env={"NOTES": str(notes)})
    fleet.wait_for("fleet.started")  # the killed one may have done all
    until(lambda: len(ids(shipped)) >= chains, seconds=90, pause=0.5)
    assert fleet.stop() == 0
    assert ids(packed) == sorted(f"o-{n}/1" for n in range(chains))
    assert ids(shipped) == sorted(f"o-{n}/1/1" for n in range(chains))


def test_a_replay_of_all_dead_letters_runs_each_task_of_the_chain_once(
    broker: Broker, topic: MakeTopic, group: str, start_fleet: StartFleet, tmp_path: Path
) -> None:
    name, notes = topic(2), tmp_path / "notes"
    lines = [
        {
            "session_id": f"s{n}", "name": "charge", "payload": n, "id": f"o-{n}",
            "then": {"session_id": f"p{n}", "name": "pack", "payload": n, "then": {"session_id": "x", "payload": n}},
        }
        for n in range(3)
    ]  # fmt: skip
    to = ("-b", broker.bootstrap_servers, "--value-format", "json")
    processor("produce", *to, "-t", name, text="\n".join(map(json.dumps, lines)))
    options = (*to, "-t", name, "-g", group, "--stop-at-end")

    def run() -> None:
        fleet = start_fleet("chains:app", *options, modules={"chains": APP}, env={"NOTES": str(notes)})
        assert fleet.wait() == 0

    run()
    letters = cluster.read_all(broker.bootstrap_servers, f"{name}.dlq")
    errors: list[Any] = [dict(letter.headers() or ())["dlq-error-type"] for letter in letters]
    assert sorted(errors) == [b"processor.DependencyFailed"] * 6 + [b"processor.Reject"] * 3
    assert not notes_in(notes)

    (tmp_path / "open").touch()
    notes_of_replay = ("--progress-group", f"{group}-dlq")
    replayed = processor("dlq", "replay", *to, "-t", f"{name}.dlq", *notes_of_replay, "--execute")
    assert "replayed 3 letters" in replayed
    assert "6 follow from other letters" in replayed
    for _ in range(3):  # a run ends at the end that was there when it began
        run()
    expected = [(f"o-{n}{depth}", inputs) for n in range(3) for depth, inputs in (
        ("", []), ("/1", [{"by": f"o-{n}"}]), ("/1/1", [{"by": f"o-{n}/1"}])
    )]  # fmt: skip
    assert sorted((note["id"], note["inputs"]) for note in notes_in(notes)) == sorted(expected)
    assert len(cluster.read_all(broker.bootstrap_servers, f"{name}.dlq")) == 9
    left = processor("dlq", "list", *to, "-t", f"{name}.dlq", *notes_of_replay, "-o", "json")
    assert json.loads(left)["letters"] == 0


def processor(*arguments: str, text: str = "") -> str:
    """What the command prints."""
    ended = subprocess.run(
        [sys.executable, "-m", "processor", *arguments],
        input=text,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
        env=environment(Path.cwd(), {}),
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout + ended.stderr
