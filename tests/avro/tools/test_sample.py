"""Random samples are valid values of their schema."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import fastavro
import pytest
from hypothesis import given

from processor.avro.tools.sample import Sampler
from processor.errors import LoadError
from tests.avro.avro_types import schemas
from tests.avro.tools.test_classes import ORDER, schema_of


@given(schemas(depth=3))
def test_a_sample_survives_encoding_and_decoding(document: Any) -> None:
    (schema,) = schema_of(document)
    value = Sampler(schema, seed=1).value()
    stream = BytesIO()
    fastavro.schemaless_writer(stream, schema.parsed, value)
    assert schema.read(stream.getvalue(), 0) == value


def test_samples_of_every_logical_type_survive_encoding_and_decoding() -> None:
    (schema,) = schema_of(ORDER)
    sampler = Sampler(schema, seed=2)
    for _ in range(50):
        value = sampler.value()
        stream = BytesIO()
        fastavro.schemaless_writer(stream, schema.parsed, value)
        assert schema.read(stream.getvalue(), 0) == value


def test_a_type_may_be_defined_in_a_branch_that_is_not_chosen() -> None:
    suit = {"type": "enum", "name": "Suit", "symbols": ["HEARTS"]}
    fields = [{"name": "first", "type": ["null", suit]}, {"name": "second", "type": "Suit"}]
    (schema,) = schema_of({"type": "record", "name": "R", "fields": fields})
    samples = [Sampler(schema, seed).value() for seed in range(10)]
    assert {sample["first"] for sample in samples} == {None, "HEARTS"}
    assert {sample["second"] for sample in samples} == {"HEARTS"}


@pytest.mark.parametrize("kind", [[], {"type": "enum", "name": "E", "symbols": []}])
def test_a_type_without_values_is_one_line(kind: Any) -> None:
    (schema,) = schema_of({"type": "record", "name": "R", "fields": [{"name": "x", "type": kind}]})
    with pytest.raises(LoadError, match="R contains an enum or a union of nothing"):
        Sampler(schema).value()


def test_the_same_seed_gives_the_same_samples() -> None:
    (schema,) = schema_of(ORDER)
    first, second, other = (Sampler(schema, seed) for seed in (1, 1, 2))
    assert [first.value(), first.value()] == [second.value(), second.value()]
    assert other.value() != Sampler(schema, 1).value()


def test_samples_of_a_recursive_type_are_finite() -> None:
    tree = {
        "type": "record",
        "name": "Tree",
        "fields": [
            {"name": "left", "type": ["null", "Tree"]},
            {"name": "others", "type": {"type": "array", "items": "Tree"}},
        ],
    }
    (schema,) = schema_of(tree)
    Sampler(schema, 1).value()


def test_a_type_without_finite_values_is_rejected() -> None:
    (schema,) = schema_of({"type": "record", "name": "Endless", "fields": [{"name": "self", "type": "Endless"}]})
    with pytest.raises(LoadError, match="Endless always contains itself: no finite value of it exists"):
        Sampler(schema).value()
