"""A consumer and a producer with a real schema registry, together with Confluent's own clients."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.schema_registry import Schema as Registered
from confluent_kafka.schema_registry import SchemaReference, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from processor import Dispatcher, Processor, RegistrySettings
from tests.integration.test_failures import dead_letters, header_texts
from tests.support import cluster
from tests.support.ledger import Place
from tests.support.registry_gate import RegistryGate
from tests.support.registry_server import RegistryServer
from tests.support.run import Fleet, environment
from tests.support.scenario import MakeScenario, Scenario
from tests.support.until import until

ORDER = {
    "type": "record",
    "name": "Order",
    "namespace": "shop",
    "fields": [{"name": "sku", "type": "string"}, {"name": "amount", "type": "int"}],
}

HANDLERS = """
import os
from processor import Processor
from tests.support.ledger import Ledger

ledger = Ledger(os.environ["TEST_LEDGER"])
app = Processor()

@app.task("shop.Order")
def order(task):
    with ledger.attempt(task):
        assert isinstance(task.payload["sku"], str) and isinstance(task.payload["amount"], int)
        return {"amount": task.payload["amount"]}

@app.default
def other(task):
    with ledger.attempt(task):
        assert task.name == "charge" and task.payload == {"cents": 5}, task
"""


def run(work: Scenario, url: str, start: Callable[..., Fleet], *options: str) -> Fleet:
    return start(
        "registered:app",
        *("-b", work.servers, "-t", work.topic, "-g", work.group, "--schema-registry", url, "-w", "8"),
        *("--stats-interval", "1"),
        *options,
        modules={"registered": HANDLERS},
        env={"TEST_LEDGER": str(work.ledger.path)},
    )


@pytest.fixture
def client(registry_server: RegistryServer) -> Iterator[SchemaRegistryClient]:
    """Confluent's own client."""
    with SchemaRegistryClient({"url": registry_server.url}) as client:
        yield client


def serializer(client: SchemaRegistryClient, schema: object = ORDER) -> Any:
    return AvroSerializer(client, json.dumps(schema))


def orders(work: Scenario, serialize: Any, tasks: int, sessions: int = 7) -> list[cluster.Row]:
    context = SerializationContext(work.topic, MessageField.VALUE)
    return [(f"s{n % sessions}", serialize({"sku": f"A-{n}", "amount": n}, context)) for n in range(tasks)]


def test_a_consumer_interoperates_with_confluents_producer_and_consumer(
    scenario: MakeScenario,
    registry_server: RegistryServer,
    client: SchemaRegistryClient,
    start_fleet: Callable[..., Fleet],
) -> None:
    work = scenario()
    work.produce(orders(work, serializer(client), 200))
    results = f"{work.topic}-results"
    fleet = run(work, registry_server.url, start_fleet, "--stop-at-end", "--results-topic", results)
    assert fleet.wait() == 0
    assert work.faults() == {}
    assert {entry.attempt for entry in work.ledger.entries()} == {1}
    assert dead_letters(work.servers, work.topic) == {}
    read: Any = AvroDeserializer(client)
    outcomes = [
        read(message.value(), SerializationContext(results, MessageField.VALUE))
        for message in cluster.read_all(work.servers, results)
    ]
    assert sorted(json.loads(result["result"])["amount"] for result in outcomes) == list(range(200))
    assert {result["name"] for result in outcomes} == {"shop.Order"}


def test_an_unknown_schema_and_random_bytes_are_dead_lettered_and_the_session_continues(
    scenario: MakeScenario,
    registry_server: RegistryServer,
    client: SchemaRegistryClient,
    start_fleet: Callable[..., Fleet],
) -> None:
    work = scenario(partitions=1)
    (good,) = orders(work, serializer(client), 1)
    unknown = b"\x00\x7f\xff\xff\x01" + b"\x02a\x02"
    impossible = b"\x00\xff\xff\xff\xff" + b"\x02a\x02"
    work.produce([(b"unknown", unknown), (b"impossible", impossible), (b"unknown", good[1]), (b"empty", b"\x00\x00")])
    assert run(work, registry_server.url, start_fleet, "--stop-at-end").wait() == 0
    letters = dead_letters(work.servers, work.topic)
    assert {key: letter.value() for key, letter in letters.items()} == {
        b"unknown": unknown,
        b"impossible": impossible,
        b"empty": b"\x00\x00",
    }
    for letter in letters.values():
        assert header_texts(letter)["dlq-attempts"] == "0"
        assert header_texts(letter)["dlq-error-type"] == "processor.errors.DecodeError"
    assert "does not have schema 2147483393" in header_texts(letters[b"unknown"])["dlq-error-message"]
    assert {entry.place for entry in work.ledger.entries() if entry.succeeded} == {Place(*work.places[2])}
    work.wait_lag(0)


def test_a_ten_second_registry_outage_only_delays_tasks(
    scenario: MakeScenario,
    registry_server: RegistryServer,
    client: SchemaRegistryClient,
    start_fleet: Callable[..., Fleet],
) -> None:
    """Tasks with a cached schema continue meanwhile; tasks with a new schema wait without using up an attempt."""
    work = scenario()
    known = serializer(client)
    new = serializer(client, {**ORDER, "doc": f"not asked for before {work.topic}"})
    work.produce(orders(work, known, 50))
    with RegistryGate(registry_server.url) as gate:
        fleet = run(work, gate.url, start_fleet, "--max-attempts", "1")
        work.wait_done(50)
        gate.shut()
        work.produce([(f"new-{row[0]!r}", row[1]) for row in orders(work, new, 100)])
        work.produce(orders(work, known, 50))
        work.wait_done(100)
        event = fleet.wait_for("registry.unavailable", registry=gate.url)
        noticed_at = time.monotonic()
        assert "Connection refused" in event["error"]
        until(
            lambda: any(
                "no response from the schema registry" in str(event) for event in fleet.heard("partition.stats")
            )
        )
        time.sleep(max(0.0, 10 - (time.monotonic() - noticed_at)))  # time is tested
        assert len(work.wait_done(100)) == 200, "something ran whose schema nobody could know"
        gate.open()
        work.wait_done(200)
        assert fleet.wait_for("registry.available")["unavailable_seconds"] > 8
        assert len(fleet.heard("registry.unavailable")) == 1
        work.wait_lag(0)
        assert fleet.stop() == 0
    assert work.faults() == {}
    assert work.repeated() == []
    assert {entry.attempt for entry in work.ledger.entries()} == {1}
    assert dead_letters(work.servers, work.topic) == {}


def test_a_consumer_starts_and_stops_during_a_registry_outage(
    scenario: MakeScenario,
    registry_server: RegistryServer,
    client: SchemaRegistryClient,
    start_fleet: Callable[..., Fleet],
) -> None:
    work = scenario(partitions=1)
    work.produce(orders(work, serializer(client), 20))
    gate = RegistryGate(registry_server.url)
    results = ("--results-topic", f"{work.topic}-results")
    fleet = run(work, gate.url, start_fleet, *results)
    fleet.wait_for("registry.unavailable")
    fleet.wait_for("consumer.assigned")
    fleet.wait_for("consumer.stats", in_flight=20)
    began = time.monotonic()
    assert fleet.stop() == 0
    assert time.monotonic() - began < 15
    assert work.ledger.entries() == []
    assert work.lag == 20
    fleet = run(work, gate.url, start_fleet, *results, "--stop-at-end")
    fleet.wait_for("registry.unavailable")
    with gate:
        assert fleet.wait() == 0
    assert work.faults() == {}
    assert len(cluster.read_all(work.servers, results[1])) == 20


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://u:hunter2@{host}/apis/ccompat/v7", "denies access: HTTP 401, Unauthorized"),
        ("http://{host}/apis", "does not respond as a schema registry"),
    ],
)
def test_an_unusable_registry_is_reported_in_one_line_at_the_start(
    scenario: MakeScenario,
    registry_server: RegistryServer,
    start_fleet: Callable[..., Fleet],
    url: str,
    message: str,
) -> None:
    work = scenario(partitions=1)
    authorization = "Basic dTpy" if "@" in url else None
    with RegistryGate(registry_server.url, authorization=authorization) as gate:
        fleet = run(work, url.format(host=gate.url.split("/")[2]), start_fleet)
        assert fleet.wait() == 4
        assert message in str(fleet.events[-2:]) + str(fleet.lines)
        assert "hunter2" not in str(fleet.events) + str(fleet.lines)
        assert produced(work, "--schema-registry", url.format(host=gate.url.split("/")[2]))[0] == 4


def command(*arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "processor", *arguments],
        input=text,
        capture_output=True,
        text=True,
        env=environment(Path(), {}),
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done


def produced(work: Scenario, *options: str, text: str = "") -> tuple[int, str]:
    done = command("produce", "-b", work.servers, "-t", work.topic, *options, text=text)
    return done.returncode, done.stderr


LINE = '{"session_id": "s1", "name": "charge", "id": "t-1", "payload": {"cents": 5}}\n'


def read_by_confluent(work: Scenario, client: SchemaRegistryClient) -> list[dict[str, Any]]:
    read: Any = AvroDeserializer(client)
    context = SerializationContext(work.topic, MessageField.VALUE)
    return [read(message.value(), context) for message in cluster.read_all(work.servers, work.topic)]


def test_confluents_consumer_and_ours_read_what_produce_writes(
    scenario: MakeScenario,
    registry_server: RegistryServer,
    client: SchemaRegistryClient,
    start_fleet: Callable[..., Fleet],
) -> None:
    work = scenario()
    url = ("--schema-registry", registry_server.url)
    assert produced(work, *url, text=LINE * 3) == (0, "")
    with Dispatcher(
        work.servers,
        work.topic,
        schema_registry=RegistrySettings(url=registry_server.url, auto_register=False),
    ) as dispatcher:
        dispatcher.submit("s1", {"cents": 5}, "charge")
    tasks = read_by_confluent(work, client)
    assert [(task["session_id"], task["name"], task["id"]) for task in tasks] == [("s1", "charge", "t-1")] * 3 + [
        ("s1", "charge", "")
    ]
    assert {task["payload"] for task in tasks} == {b'{"cents":5}'}
    messages = cluster.read_all(work.servers, work.topic)
    work.places = [Place(work.topic, m.partition() or 0, m.offset() or 0) for m in messages]
    assert run(work, registry_server.url, start_fleet, "--stop-at-end").wait() == 0
    assert work.faults() == {}


def test_schemas_are_registered_under_the_strategys_subject(
    scenario: MakeScenario, registry_server: RegistryServer, client: SchemaRegistryClient
) -> None:
    work = scenario()
    url = ("--schema-registry", registry_server.url)
    assert produced(work, *url, "--subject-name-strategy", "topic-record", text=LINE)[0] == 0
    assert produced(work, *url, "--subject-name-strategy", "record", text=LINE)[0] == 0
    subjects = client.get_subjects()
    assert f"{work.topic}-processor.Task" in subjects
    assert "processor.Task" in subjects
    assert f"{work.topic}-value" not in subjects


def test_a_missing_schema_is_exit_code_5_without_auto_register(
    scenario: MakeScenario, registry_server: RegistryServer
) -> None:
    work = scenario()
    url = ("--schema-registry", registry_server.url)
    code, message = produced(work, *url, "--no-auto-register", text=LINE)
    assert code == 5
    assert f"does not have processor.Task under {work.topic}-value" in message
    code, message = produced(work, *url, "--use-latest-version", text=LINE)
    assert code == 5
    assert f"does not have the latest schema of {work.topic}-value" in message
    assert cluster.read_all(work.servers, work.topic) == []


def test_the_latest_schema_is_used_if_it_is_a_valid_replacement_of_the_shipped_one(
    scenario: MakeScenario, registry_server: RegistryServer, client: SchemaRegistryClient
) -> None:
    work = scenario()
    options = ("--schema-registry", registry_server.url, "--use-latest-version")
    task = json.loads((Path(__file__).parents[2] / "schemas" / "task.avsc").read_text())
    task["fields"].append({"name": "priority", "type": "int", "default": 3})
    client.register_schema(f"{work.topic}-value", Registered(json.dumps(task), "AVRO"))
    assert produced(work, *options, text=LINE) == (0, "")
    assert [task["priority"] for task in read_by_confluent(work, client)] == [3]

    task["fields"] = [field for field in task["fields"] if field["name"] != "payload"]
    client.register_schema(f"{work.topic}-value", Registered(json.dumps(task), "AVRO"))
    code, message = produced(work, *options, text=LINE)
    assert code == 5
    assert "cannot replace processor.Task: it would lose payload" in message


def test_a_producer_fails_without_waiting_during_a_registry_outage(
    scenario: MakeScenario, registry_server: RegistryServer
) -> None:
    work = scenario()
    code, message = produced(work, "--schema-registry", RegistryGate(registry_server.url).url, text=LINE)
    assert code == 4
    assert "no response from the schema registry" in message
    assert len(message.splitlines()) == 1


def test_referenced_types_are_fetched(
    scenario: MakeScenario,
    registry_server: RegistryServer,
    client: SchemaRegistryClient,
    start_fleet: Callable[..., Fleet],
) -> None:
    work = scenario()
    sku = {"type": "record", "name": "Amount", "namespace": "shop", "fields": [{"name": "value", "type": "int"}]}
    subject = f"{work.topic}-amount"
    client.register_schema(subject, Registered(json.dumps(sku), "AVRO"))
    fields = [{"name": "sku", "type": "string"}, {"name": "amount", "type": "int"}, {"name": "of", "type": "Amount"}]
    order = Registered(json.dumps({**ORDER, "fields": fields}), "AVRO", [SchemaReference("shop.Amount", subject, 1)])
    serialize: Any = AvroSerializer(client, order)
    context = SerializationContext(work.topic, MessageField.VALUE)
    value = serialize({"sku": "a", "amount": 1, "of": {"value": 2}}, context)
    work.produce([(b"s", value)])
    assert run(work, registry_server.url, start_fleet, "--stop-at-end").wait() == 0
    assert work.faults() == {}


def test_decode_uses_the_registry_and_reports_a_missing_schema(
    scenario: MakeScenario, registry_server: RegistryServer, client: SchemaRegistryClient
) -> None:
    work = scenario(partitions=1)
    work.produce([*orders(work, serializer(client), 1), (b"s", b"\x00\x7f\xff\xff\x01\x02a")])
    options = ("-b", work.servers, "--schema-registry", registry_server.url)
    found = command("decode", f"{work.topic}:0:0", *options)
    assert found.returncode == 0
    shown = json.loads(found.stdout)
    assert (shown["framing"], shown["schema"], shown["value"]) == (
        "confluent",
        "shop.Order",
        {"sku": "A-0", "amount": 0},
    )
    unknown = command("decode", f"{work.topic}:0:1", *options)
    assert unknown.returncode == 1
    assert json.loads(unknown.stdout)["schema_id"] == 2147483393
    assert "does not have schema 2147483393" in unknown.stderr


def test_a_program_with_a_registry_closes_its_connections(
    scenario: MakeScenario, registry_server: RegistryServer, client: SchemaRegistryClient
) -> None:
    work = scenario(partitions=1)
    work.produce(orders(work, serializer(client), 5))
    seen: list[int] = []
    app = Processor()
    app.default(lambda task: seen.append(task.payload["amount"]))
    ended = app.run(work.topic, work.group, work.servers, schema_registry=registry_server.url, stop_at_end=True)
    assert ended == 0
    assert sorted(seen) == list(range(5))
    gc.collect()  # a connection left open would now emit a ResourceWarning and fail this test
