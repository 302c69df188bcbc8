"""Groups on a real broker: through kill -9 of everything, with both kinds of delivery."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from examples.fan_out import order
from processor import AsyncDispatcher, Dispatcher, Step
from processor import group as a_group
from tests.conftest import MakeTopic
from tests.support import cluster
from tests.support.broker import Broker
from tests.support.run import Fleet
from tests.support.until import until

APP = """
import json, os, time
from processor import Processor

app = Processor()
note = os.open(os.environ["NOTES"], os.O_APPEND | os.O_CREAT | os.O_WRONLY)

@app.default
def work(task):
    time.sleep(0.1 if os.path.exists(os.environ.get("SLOW", "")) else 0.005)
    payload = task.payload.decode() if isinstance(task.payload, bytes) else task.payload
    line = {"id": task.id, "pid": os.getpid(), "inputs": task.inputs, "payload": payload}
    os.write(note, json.dumps(line).encode() + b"\\n")
    return task.id
"""

StartFleet = Callable[..., Fleet]


def notes_in(path: Path) -> list[dict[str, Any]]:
    """What handlers wrote so far. The last line may still be written."""
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def send_groups(broker: Broker, topic: str, other: str, count: int) -> None:
    """Each has two branches, of which the second is a chain into the other topic, and what follows goes there."""
    with Dispatcher(broker.bootstrap_servers, topic, value_format="json") as dispatcher:
        for n in range(count):
            chain = Step(f"b{n % 9}", n, "b").then(Step(f"c{n % 5}", n, "c", topic=other))
            branches = [Step(f"a{n % 7}", n, "a"), chain, Step(f"x{n}", n, "x")]
            dispatcher.submit(a_group(branches, id=f"g-{n}").then(Step(f"d{n % 6}", n, "d", topic=other)))


def is_done(broker: Broker, group_id: str, *topics: str) -> bool:
    """Whether the group has committed the end of each partition, so that nothing is left waiting."""
    return all(cluster.lag(broker.bootstrap_servers, group_id, name) == 0 for name in topics)


def expected_ids(count: int) -> set[str]:
    return {f"g-{n}/{part}" for n in range(count) for part in ("1", "2", "2/1", "3", "then")}


def test_every_group_is_joined_despite_kills(
    broker: Broker, topic: MakeTopic, group: str, start_fleet: StartFleet, tmp_path: Path
) -> None:
    first, other, notes, count = topic(4), topic(3), tmp_path / "notes", 40
    send_groups(broker, first, other, count)
    options = (
        *("-b", broker.bootstrap_servers, "-t", first, "-t", other, "-g", group, "--value-format", "json"),
        *("-w", "4", "-p", "2", "--commit-interval", "0.3", "-X", "session.timeout.ms=6000"),
    )
    fleet = start_fleet("groups:app", *options, modules={"groups": APP}, env={"NOTES": str(notes)})
    until(lambda: any(note["id"].endswith("then") for note in notes_in(notes)), seconds=60)
    fleet.kill()
    fleet = start_fleet("groups:app", *options, modules={"groups": APP}, env={"NOTES": str(notes)})
    fleet.wait_for("fleet.started")  # the killed one may have done all
    until(lambda: {note["id"] for note in notes_in(notes)} >= expected_ids(count), seconds=90)
    until(lambda: is_done(broker, group, first, other), "nothing is left waiting", seconds=60, pause=0.5)
    assert fleet.stop() == 0
    check_joined(notes_in(notes), count)


def check_joined(ran: Sequence[dict[str, Any]], count: int) -> None:
    """Every task has run, and what follows a group after all of its branches, with what these returned."""
    assert {note["id"] for note in ran} == expected_ids(count)
    done: set[str] = set()
    for note in ran:
        name = note["id"].partition("/")[0]
        if note["id"].endswith("/then"):
            assert note["inputs"] == [f"{name}/1", f"{name}/2/1", f"{name}/3"]
            assert {f"{name}/1", f"{name}/2", f"{name}/2/1", f"{name}/3"} <= done
        done.add(note["id"])


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_groups_move_with_their_partitions_and_no_task_runs_twice(
    broker: Broker, topic: MakeTopic, group: str, start_fleet: StartFleet, tmp_path: Path, protocol: str
) -> None:
    """A second fleet comes while groups wait, and the first one stops. Until it has come, tasks take longer."""
    first, other, notes, slow, count = topic(4), topic(3), tmp_path / "notes", tmp_path / "slow", 400
    env = {"NOTES": str(notes), "SLOW": str(slow)}
    send_groups(broker, first, other, count)
    options = (
        *("-b", broker.bootstrap_servers, "-t", first, "-t", other, "-g", group, "--value-format", "json"),
        *("-w", "2", "--group-protocol", protocol),
    )
    leaves = start_fleet("groups:app", *options, modules={"groups": APP}, env=env)
    until(lambda: any(note["id"].endswith("then") for note in notes_in(notes)), seconds=60)
    slow.touch()
    stays = start_fleet("groups:app", *options, modules={"groups": APP}, env=env)
    stays.wait_for_partitions(60.0)
    slow.unlink()
    assert leaves.stop() == 0
    until(lambda: {note["id"] for note in notes_in(notes)} >= expected_ids(count), seconds=90)
    until(lambda: is_done(broker, group, first, other), "nothing is left waiting", seconds=60, pause=0.5)
    assert stays.stop() == 0
    ran = notes_in(notes)
    check_joined(ran, count)
    assert len(ran) == len(expected_ids(count))
    assert len({note["pid"] for note in ran}) == 2


def test_with_exactly_once_the_task_after_a_group_is_committed_once(
    broker: Broker, topic: MakeTopic, group: str, start_fleet: StartFleet, tmp_path: Path
) -> None:
    first, shipped, notes, count = topic(4), topic(2), tmp_path / "notes", 40
    with Dispatcher(broker.bootstrap_servers, first, value_format="json") as dispatcher:
        for n in range(count):
            dispatcher.submit(
                a_group([Step(f"{b}{n % 7}", n, b) for b in "abc"], id=f"g-{n}").then(Step("d", n, topic=shipped))
            )
    options = (
        *("-b", broker.bootstrap_servers, "-t", first, "-g", group, "--value-format", "json"),
        *("-w", "4", "--delivery", "exactly-once", "-X", "session.timeout.ms=6000"),
    )

    def ids() -> list[str]:
        return sorted(cluster.headers_of(each)["task-id"].decode() for each in cluster.read_all(servers, shipped))

    servers = broker.bootstrap_servers
    fleet = start_fleet("groups:app", *options, modules={"groups": APP}, env={"NOTES": str(notes)})
    until(lambda: len(notes_in(notes)) >= 40, seconds=60)
    fleet.kill()
    fleet = start_fleet("groups:app", *options, modules={"groups": APP}, env={"NOTES": str(notes)})
    fleet.wait_for("fleet.started")  # the killed one may have done all
    until(lambda: len(ids()) >= count, seconds=90, pause=0.5)
    until(lambda: is_done(broker, group, first), "nothing is left waiting", seconds=60, pause=0.5)
    assert fleet.stop() == 0
    assert ids() == sorted(f"g-{n}/then" for n in range(count))


@pytest.mark.parametrize("form", ["avro", "avro with a registry", "bytes"])
def test_groups_of_every_format_are_sent_by_both_dispatchers_and_by_produce(
    request: pytest.FixtureRequest,
    broker: Broker,
    topic: MakeTopic,
    group: str,
    start_fleet: StartFleet,
    tmp_path: Path,
    form: str,
) -> None:
    name, notes, servers = topic(4), tmp_path / "notes", broker.bootstrap_servers
    url = request.getfixturevalue("registry_server").url if form == "avro with a registry" else None
    options: dict[str, Any] = {"value_format": form.partition(" ")[0], "schema_registry": url}
    given = {way: a_group([Step("a", "x"), Step("b", "y")], id=way).then(Step("c", "z")) for way in ("first", "second")}

    async def submit() -> None:
        async with AsyncDispatcher(servers, name, **options) as dispatcher:
            await dispatcher.submit(given["second"])

    with Dispatcher(servers, name, **options) as dispatcher:
        dispatcher.submit(given["first"]).result(30)
    asyncio.run(submit())
    a, b, c = ({"session_id": session, "payload": payload} for session, payload in ("ax", "by", "cz"))
    command = ["-b", servers, "-t", name, "--value-format", options["value_format"]]
    command += ["--schema-registry", url] if url is not None else []
    line = json.dumps({"group": [a, b], "id": "third", "then": c})
    subprocess.run([sys.executable, "-m", "processor", "produce", *command], input=line, text=True, check=True)
    fleet = start_fleet("groups:app", *command, "-g", group, modules={"groups": APP}, env={"NOTES": str(notes)})
    ids = {f"{way}/{part}" for way in ("first", "second", "third") for part in ("1", "2", "then")}
    until(lambda: {note["id"] for note in notes_in(notes)} >= ids, lambda: f"only {notes_in(notes)}", seconds=60)
    assert fleet.stop() == 0
    of_way = {note["id"]: (note["payload"], note["inputs"]) for note in notes_in(notes)}
    for way in ("first", "second", "third"):
        assert of_way[f"{way}/1"] == ("x", [])
        assert of_way[f"{way}/then"] == ("z", [f"{way}/1", f"{way}/2"])


def test_every_order_ships_after_all_its_tasks_although_the_fleet_is_killed(
    broker: Broker, topic: MakeTopic, group: str, start_fleet: StartFleet
) -> None:
    """The example."""
    name, orders = topic(4), 40
    with Dispatcher(broker.bootstrap_servers, name, value_format="json") as dispatcher:
        for n in range(orders):
            dispatcher.submit(order(n, f"customer-{n % 10}", f"article-{n % 7}", 100 + n))
    options = ("-b", broker.bootstrap_servers, "-t", name, "-g", group, "--value-format", "json", "-p", "2")
    shipped: set[str] = set()

    def have_shipped(fleet: Fleet, count: int) -> bool:
        shipped.update(re.findall(r"order \d+ with article-\d is on its way, receipt-\d+", fleet.stdout))
        return len(shipped) >= count  # two threads may print into one line

    fleet = start_fleet("examples.fan_out:app", *options, "-X", "session.timeout.ms=6000")
    until(lambda: have_shipped(fleet, 5), seconds=60)
    fleet.kill()
    have_shipped(fleet, 0)
    fleet = start_fleet("examples.fan_out:app", *options, "-X", "session.timeout.ms=6000")
    fleet.wait_for("fleet.started")  # the killed one may have done all
    until(lambda: have_shipped(fleet, orders), seconds=90)
    assert fleet.stop() == 0
