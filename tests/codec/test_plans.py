"""Steps as headers: every format carries what follows, and what cannot be sent is refused before anything is."""

from __future__ import annotations

from typing import Any

import pytest

from processor import Step, group
from processor.avro.schema import Schema
from processor.avro.schemas import shipped_schemas
from processor.codec.plans import step_headers
from processor.codec.registry_port import Framing
from processor.codec.select import codec_for
from processor.errors import EncodeError
from processor.handlers.links import Planned, read_plan
from processor.options.value_formats import ValueFormat
from processor.runtime.ports import Partition
from processor.testing.memory.cluster import MemoryRecord

JSON = codec_for("json")


def plan_of(step: Step, codec: Any = JSON) -> list[Planned]:
    return read_plan(dict(step_headers(step, codec))["task-then"])


def test_a_step_is_never_changed_and_chains_have_the_same_order_however_they_are_put_together() -> None:
    a, b, c = Step("a", 1), Step("b", 2), Step("c", 3)
    assert a.then(b).then(c) == a.then(b.then(c))
    assert (a.following, b.following) == ((), ())
    assert a.then(b).then(c).following == (b, c)


@pytest.mark.parametrize("make", [Step("a", 1).then, group([Step("a", 1)]).then, lambda other: group([other])])
@pytest.mark.parametrize(("other", "kind"), [(5, "int"), ("b", "str"), (None, "NoneType")])
def test_only_steps_and_groups_can_be_put_together(make: Any, other: object, kind: str) -> None:
    with pytest.raises(TypeError, match=f"^a Step or a group is required here, not {kind}$"):
        make(other)


def test_a_step_alone_has_the_headers_of_its_terms_only() -> None:
    assert step_headers(Step("a", 1), JSON) == []
    assert step_headers(Step("a", 1, priority=3, expires=5), JSON) == [("task-priority", b"3"), ("task-expires", b"5")]


@pytest.mark.parametrize("value_format", ["avro", "json", "bytes"])
def test_a_step_that_follows_is_a_task_of_its_format_without_an_id(value_format: ValueFormat) -> None:
    codec = codec_for(value_format)
    payload: Any = b"\xff" if value_format == "bytes" else {"cents": 5}
    (planned,) = plan_of(Step("a", None).then(Step("é", payload, "ship", headers={"x": "ü", "n": None})), codec)
    record = MemoryRecord(Partition("t", 0), 0, planned.key.encode(), planned.value, planned.headers)
    content = codec.decode(record)
    assert (planned.key, content.payload, content.id) == ("é", payload, None)
    assert content.name or dict(planned.headers)["task-name"] == b"ship"
    assert planned.headers[-2:] == [("x", "ü".encode()), ("n", None)]


def test_a_step_that_follows_may_expire_in_less_time_than_remains_until_its_earliest_start() -> None:
    (planned,) = plan_of(Step("a", 1).then(Step("b", 2, not_before="2999-01-01T00:00:00Z", expires_in=60)))
    assert planned.expires_in == 60
    assert dict(planned.headers)["task-not-before"] == b"32472144000000"


@pytest.mark.parametrize(
    ("terms", "fault"),
    [
        ({"not_before": 5, "delay": 1, "expires_in": 1}, "either not_before or delay, not both"),
        ({"not_before": 5, "expires": 9, "expires_in": 1}, "either expires or expires_in, not both"),
        ({"not_before": 9, "expires": 5}, "could never begin"),
        ({"delay": 9, "expires_in": 5}, "could never begin"),
        ({"delay": 9, "expires": 5}, "could never begin"),
    ],
)
def test_terms_of_a_step_that_follows_are_refused_if_they_conflict(terms: Any, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        step_headers(Step("a", 1).then(Step("b", 2, **terms)), JSON)


class Registry:
    """A registry that has just given the shipped schema of tasks the ID 7."""

    def framing_for(self, topic: str, schema: Schema) -> Framing:
        assert topic == "tasks"
        return Framing(b"\x00\x00\x00\x00\x07", schema)

    def schema_by_id(self, schema_id: int) -> Schema:
        assert schema_id == 7
        return shipped_schemas().by_name["processor.Task"]

    def schema_by_guid(self, guid: bytes) -> Schema:
        raise AssertionError


def test_with_a_registry_follow_up_tasks_are_framed_like_the_first_task() -> None:
    codec = codec_for("avro", registry=Registry(), task_topic="tasks")
    (planned,) = plan_of(Step("a", 1).then(Step("b", {"n": 2}, "ship")), codec)
    assert (planned.value or b"").startswith(b"\x00\x00\x00\x00\x07")
    content = codec.decode(MemoryRecord(Partition("t", 0), 0, b"b", planned.value))
    assert (content.payload, content.name) == ({"n": 2}, "ship")


def test_times_from_when_it_is_sent_stay_so_and_fixed_ones_are_headers() -> None:
    (planned,) = plan_of(Step("a", 1).then(Step("b", 1, priority=2, delay=5, expires_in=9.5, topic="other")))
    assert (planned.delay, planned.expires_in, planned.topic) == (5.0, 9.5, "other")
    assert planned.headers == [("task-priority", b"2")]
    (planned,) = plan_of(Step("a", 1).then(Step("b", 1, not_before=7, expires=9)))
    assert planned.headers == [("task-not-before", b"7"), ("task-expires", b"9")]


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (Step("b", 1, id="x"), "takes no id"),
        (Step("", 1), "session_id of a step that follows must not be empty"),
        (Step("b", 1, priority=10), "priority must be"),
        (Step("b", 1, delay=-1), "delay must be"),
        (Step("b", 1, delay=1, not_before=1), "either not_before or delay"),
    ],
)
def test_a_step_that_cannot_follow_is_refused(step: Step, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        step_headers(Step("a", 1).then(step), JSON)


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (Step("b", object()), "the payload"),
        (Step("b", 1, headers={"x": "\ud800"}), "UTF-8"),
        (Step("b", 1, headers={"\ud800": "x"}), "UTF-8"),
        (Step("b", 1, topic="no/topic"), "the topic"),
        (Step("b", 1, topic="\ud800"), "UTF-8"),
        (Step("b", "x" * 300_000), "what follows from the task is too large"),
        (Step("\ud800", 1), "."),
    ],
)
def test_a_plan_that_cannot_be_encoded_is_refused(step: Step, reason: str) -> None:
    with pytest.raises(EncodeError, match=reason):
        step_headers(Step("a", 1).then(step), JSON)
