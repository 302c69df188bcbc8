"""Reading and writing values of registered schemas: with the client's own mock and Confluent's serializers."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest
from confluent_kafka.schema_registry import Schema as Registered
from confluent_kafka.schema_registry import SchemaReference, SchemaRegistryClient, header_schema_id_serializer
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from processor.avro.schemas import shipped_schemas
from processor.codec.avro_values import AvroCodec
from processor.codec.messages import Outgoing
from processor.engine.record import Record
from processor.errors import DecodeError, LoadError, NotReady
from processor.handlers.task import Content
from processor.kafka.registry.client import RegistryClient
from processor.kafka.registry.consumer import ConsumerRegistry, open_registry
from processor.registry_settings import RegistrySettings
from tests.codec.record import GivenRecord, as_content, given_task
from tests.support.until import until

TASK = shipped_schemas().by_name["processor.Task"]
RESULT = shipped_schemas().by_name["processor.TaskResult"]
ORDER = {"type": "record", "name": "shop.Order", "fields": [{"name": "sku", "type": "string"}]}


@pytest.fixture
def mock() -> Iterator[SchemaRegistryClient]:
    with SchemaRegistryClient.new_client({"url": "mock://"}) as client:
        yield client


def on(client: SchemaRegistryClient, **settings: Any) -> RegistryClient:
    return RegistryClient(RegistrySettings(url="http://mock", **settings), client)


def consumer_on(client: SchemaRegistryClient, **settings: Any) -> ConsumerRegistry:
    """Closes the mock after each burst of requests, which has no effect on a mock."""
    asked = RegistrySettings(url="http://mock", **settings)
    return ConsumerRegistry(asked, lambda event: None, lambda: RegistryClient(asked, client))


def decoded(codec: AvroCodec, record: Record) -> Content:
    """Decodes as a worker does: retries until the schema is available."""
    found: list[Content] = []

    def read() -> bool:
        try:
            found.append(as_content(codec.decode(record)))
        except NotReady:
            return False
        return True

    until(read)
    return found[0]


def test_a_value_of_a_confluent_producer_is_read_by_schema_id(mock: SchemaRegistryClient) -> None:
    serialize: Any = AvroSerializer(mock, json.dumps(ORDER))
    value = serialize({"sku": "A-1"}, SerializationContext("orders", MessageField.VALUE))
    assert value[0] == 0
    codec = AvroCodec(registry=consumer_on(mock))
    assert decoded(codec, GivenRecord(value)) == Content({"sku": "A-1"}, "shop.Order")


def test_a_value_of_a_confluent_producer_is_read_by_the_guid_in_its_header(mock: SchemaRegistryClient) -> None:
    """The value is an unframed datum, which may begin like another framing."""
    serialize: Any = AvroSerializer(mock, json.dumps(ORDER), conf={"schema.id.serializer": header_schema_id_serializer})
    headers: list[Any] = [("trace", b"1")]
    value = serialize({"sku": ""}, SerializationContext("orders", MessageField.VALUE, headers))
    assert value == b"\x00"
    assert [(name, len(header)) for name, header in headers] == [("trace", 1), ("__value_schema_id", 17)]
    codec = AvroCodec(registry=consumer_on(mock))
    assert decoded(codec, GivenRecord(value, headers=headers)) == Content({"sku": ""}, "shop.Order")


def test_a_header_may_contain_the_schema_id(mock: SchemaRegistryClient) -> None:
    schema_id = mock.register_schema("orders-value", Registered(json.dumps(ORDER), "AVRO"))
    header = b"\x00" + schema_id.to_bytes(4, "big")
    codec = AvroCodec(registry=consumer_on(mock))
    record = GivenRecord(b"\x02a", headers=[("__value_schema_id", header), ("__value_schema_id", b"the first counts")])
    assert decoded(codec, record) == Content({"sku": "a"}, "shop.Order")


@pytest.mark.parametrize("header", [b"", b"\x01", b"\x02" + bytes(16), b"\x01" + bytes(17), b"\x00\x00"])
def test_a_header_without_a_valid_schema_id_or_guid_is_rejected(mock: SchemaRegistryClient, header: bytes) -> None:
    record = GivenRecord(b"\x02a", headers=[("__value_schema_id", header)])
    with pytest.raises(DecodeError, match="must contain a schema ID or GUID"):
        AvroCodec(registry=consumer_on(mock)).decode(record)


def test_a_header_without_a_value_is_ignored(mock: SchemaRegistryClient) -> None:
    with pytest.raises(DecodeError, match="the value begins with 02 61"):
        AvroCodec(registry=consumer_on(mock)).decode(GivenRecord(b"\x02a", headers=[("__value_schema_id", None)]))


@pytest.mark.parametrize(
    ("value", "header", "reason"),
    [
        (b"\x00\x00\x00\x00\x63\x02a", None, "does not have schema 99"),
        (b"\x00\x00\x00\x00\x00\x02a", None, "schema 0 cannot exist"),
        (b"\x00\xff\xff\xff\xff\x02a", None, "schema 4294967295 cannot exist"),
        (b"\x02a", b"\x01" + bytes(16), f"does not have schema {UUID(int=0)}"),
    ],
)
def test_an_unknown_schema_is_a_decode_error(
    mock: SchemaRegistryClient, value: bytes, header: bytes | None, reason: str
) -> None:
    codec = AvroCodec(registry=consumer_on(mock))
    record = GivenRecord(value, headers=[("__value_schema_id", header)] if header else None)
    with pytest.raises(DecodeError, match=reason):
        decoded(codec, record)


@pytest.mark.parametrize(
    ("text", "kind", "reason"),
    [
        ('{"type": "object"}', "JSON", "schema 1 is JSON, not Avro"),
        ("{", "AVRO", "schema 1: not JSON"),
        (
            '{"type": "record", "name": "A", "fields": [{"name": "b", "type": "B"}]}',
            "AVRO",
            "type B is not defined",
        ),
        ('{"type": "array", "items": "null"}', "AVRO", "items encode to zero bytes"),
        ("[" * 100_000, "AVRO", "schema 1"),
    ],
)
def test_an_unusable_schema_is_a_decode_error(mock: SchemaRegistryClient, text: str, kind: str, reason: str) -> None:
    mock.register_schema("s", Registered(text, kind))
    with pytest.raises(LoadError, match=reason):
        on(mock).schema_by_id(1)


def test_references_are_resolved_transitively(mock: SchemaRegistryClient) -> None:
    def record(name: str, field: str) -> str:
        return json.dumps({"type": "record", "name": name, "fields": [{"name": "f", "type": field}]})

    mock.register_schema("a", Registered(record("a.A", "int"), "AVRO"))
    mock.register_schema("b", Registered(record("b.B", "a.A"), "AVRO", [SchemaReference("a.A", "a", 1)]))
    both = [SchemaReference("b.B", "b", 1), SchemaReference("a.A", "a", 1)]
    schema_id = mock.register_schema("c", Registered(record("c.C", "b.B"), "AVRO", both))
    assert on(mock).schema_by_id(schema_id).read(b"\x0a", 0) == {"f": {"f": {"f": 5}}}


def test_a_missing_reference_is_reported(mock: SchemaRegistryClient) -> None:
    text = '{"type": "record", "name": "c.C", "fields": [{"name": "f", "type": "b.B"}]}'
    mock.register_schema("c", Registered(text, "AVRO", [SchemaReference("b.B", "b", 1)]))
    with pytest.raises(LoadError, match="b version 1, which schema 1 references"):
        on(mock).schema_by_id(1)
    mock.register_schema("d", Registered(text, "AVRO", [SchemaReference("b.B", None, None)]))
    with pytest.raises(LoadError, match="references a schema without its subject or version"):
        on(mock).schema_by_id(2)


def test_a_confluent_consumer_reads_a_written_task(mock: SchemaRegistryClient) -> None:
    codec = AvroCodec(registry=on(mock), clock=lambda: 1000, task_topic="orders")
    value = codec.encode_task(Outgoing("s1", {"n": 1}, "charge", "t-1"))
    read: Any = AvroDeserializer(mock)
    fields = read(value, SerializationContext("orders", MessageField.VALUE))
    assert (fields["session_id"], fields["name"], fields["id"], fields["payload"]) == (
        "s1",
        "charge",
        "t-1",
        b'{"n":1}',
    )
    assert mock.get_subjects() == ["orders-value"]
    reading = AvroCodec(registry=consumer_on(mock))
    assert decoded(reading, GivenRecord(value)) == Content({"n": 1}, "charge", "t-1", "s1")


def test_a_task_is_not_decoded_before_its_result_could_be_written(mock: SchemaRegistryClient) -> None:
    codec = AvroCodec(registry=consumer_on(mock), results_topic="results")
    with pytest.raises(NotReady):
        codec.decode(GivenRecord(None))
    assert decoded(codec, GivenRecord(None)) == Content(None)
    read: Any = AvroDeserializer(mock)
    fields = read(codec.encode_result(given_task(), "done"), SerializationContext("results", MessageField.VALUE))
    assert (fields["task_id"], fields["result"]) == ("t-1", b'"done"')


def test_a_rejected_schema_of_results_delays_tasks_and_fails_none(mock: SchemaRegistryClient) -> None:
    codec = AvroCodec(registry=consumer_on(mock, auto_register=False), results_topic="results")
    errors: list[str] = []

    def refused() -> bool:
        with pytest.raises(NotReady) as put_off:
            codec.decode(GivenRecord(None))
        errors.append(str(put_off.value))
        return "results-value" in errors[-1]

    until(refused)
    assert "(--no-auto-register is set)" in errors[-1]


@pytest.mark.parametrize(
    ("strategy", "subject"),
    [("topic", "orders-value"), ("record", "processor.Task"), ("topic-record", "orders-processor.Task")],
)
def test_a_schema_is_registered_once_under_the_strategys_subject(
    mock: SchemaRegistryClient, strategy: str, subject: str
) -> None:
    client = on(mock, subject_name_strategy=strategy)
    framings = [client.framing_for("orders", TASK) for _ in range(3)]
    assert {framing.frame for framing in framings} == {b"\x00\x00\x00\x00\x01"}
    assert mock.get_subjects() == [subject]
    assert mock.get_versions(subject) == [1]
    assert on(mock, subject_name_strategy=strategy, auto_register=False).framing_for("orders", TASK) == framings[0]


def with_fields(change: Callable[[list[dict[str, Any]]], Any], name: str = "Task") -> Registered:
    definition = json.loads(json.dumps(TASK.definition))
    change(definition["fields"])
    definition["name"] = f"processor.{name}"
    return Registered(json.dumps(definition), "AVRO")


def test_the_latest_schema_may_have_more_fields_and_is_used_for_writing(mock: SchemaRegistryClient) -> None:
    more = {"name": "priority", "type": "int", "default": 7}
    mock.register_schema("orders-value", with_fields(lambda fields: fields.insert(0, more)))
    codec = AvroCodec(registry=on(mock, use_latest_version=True), task_topic="orders")
    value = codec.encode_task(Outgoing("s1", {"n": 1}, "charge"))
    read: Any = AvroDeserializer(mock)
    fields = read(value, SerializationContext("orders", MessageField.VALUE))
    assert (fields["priority"], fields["session_id"]) == (7, "s1")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda fields: fields.pop(1), "it would lose session_id"),
        (lambda fields: fields.append({"name": "must", "type": "int"}), "cannot replace processor.Task"),
        (lambda fields: fields[3].update(type=["null", "string"]), "cannot replace processor.Task"),
    ],
)
def test_a_latest_schema_that_would_lose_a_field_is_rejected(
    mock: SchemaRegistryClient, change: Callable[[list[dict[str, Any]]], Any], reason: str
) -> None:
    mock.register_schema("orders-value", with_fields(change))
    with pytest.raises(LoadError, match=reason) as refusal:
        on(mock, use_latest_version=True).framing_for("orders", TASK)
    assert "the latest schema of orders-value" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_latest_schema_of_another_record_is_rejected(mock: SchemaRegistryClient) -> None:
    mock.register_schema("orders-value", Registered(json.dumps(ORDER), "AVRO"))
    with pytest.raises(LoadError, match="cannot replace processor\\.Task"):
        on(mock, use_latest_version=True).framing_for("orders", TASK)


def test_results_may_be_written_with_the_latest_schema(mock: SchemaRegistryClient) -> None:
    on(mock).framing_for("results", RESULT)
    assert on(mock, use_latest_version=True).framing_for("results", RESULT).schema.name == "processor.TaskResult"


def test_a_missing_extra_is_reported_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "processor.kafka.registry.client")
    monkeypatch.setitem(sys.modules, "confluent_kafka.schema_registry", None)
    with pytest.raises(LoadError, match=r"pip install 'session-processor\[registry\]'"):
        open_registry(RegistrySettings(url="http://h"))
