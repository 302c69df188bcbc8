"""A dead letter is the record that it was, and is sent again as that."""

from __future__ import annotations

import pytest

from processor.operate.letters import ADDED, Place, letter_of
from tests.engine.record import FakeRecord
from tests.operate.dead_letter import Headers, headers_of_a_failure, letter


def test_the_removed_headers_are_those_that_dead_lettering_adds() -> None:
    assert tuple(name for name, _ in headers_of_a_failure()) == ADDED


def test_a_dead_letter_has_the_key_value_and_headers_of_its_record() -> None:
    one = letter([("trace", b"\xff"), ("via", b"a"), ("via", None)])
    assert (one.topic(), one.partition(), one.offset(), one.key(), one.value()) == ("t", 0, 7, b"anna", b"value")
    assert one.headers() == [("trace", b"\xff"), ("via", b"a"), ("via", None)]
    assert (one.error_type, one.error_message, one.attempts, one.group) == ("builtins.ValueError", "no use", 3, "g")
    assert one.place == Place(0, 7)
    assert str(one.place) == "0:7"
    assert one.failed_at > 1_700_000_000_000
    assert one.timestamp() == (1, 0)


@pytest.mark.parametrize(
    ("headers", "replays", "sent"),
    [
        ([], 0, [("dlq-replays", b"1")]),
        ([("a", b"b")], 0, [("a", b"b"), ("dlq-replays", b"1")]),
        ([("dlq-replays", b"2"), ("a", b"b")], 2, [("a", b"b"), ("dlq-replays", b"3")]),
        ([("dlq-replays", b"x"), ("dlq-replays", None)], 0, [("dlq-replays", b"1")]),
        ([("dlq-replays", b"1"), ("dlq-replays", b"4")], 4, [("dlq-replays", b"5")]),
    ],
)
def test_replays_are_counted_in_one_header(headers: Headers, replays: int, sent: Headers) -> None:
    one = letter(headers)
    assert one.replays == replays
    assert one.replayed_headers() == sent


def test_an_arrival_is_replayed_into_the_partition_where_its_join_waits() -> None:
    assert letter([("task-arrival", b"{}")]).replayed_partition() == letter([]).partition()
    assert letter([("task-then", b"[]")]).replayed_partition() is None


@pytest.mark.parametrize(
    ("header", "partition"), [(b"2147483647", 2147483647), (b"2147483648", -1), (b"99999999999", -1), (b"-1", -1)]
)
def test_a_number_that_no_partition_can_have_is_not_sent_to(header: bytes, partition: int) -> None:
    """The Kafka client raises an OverflowError for it."""
    found = letter_of(FakeRecord(7, headers=[("task-arrival", b"{}"), ("dlq-topic", b"t"), ("dlq-partition", header)]))
    assert found is not None
    assert found.partition() == partition
    assert found.replayed_partition() == (partition if partition >= 0 else None)


def test_a_letter_of_a_letter_becomes_the_first_letter_again() -> None:
    """A group that consumes a dead-letter topic dead-letters to one of its own."""
    first = [("a", b"b"), *headers_of_a_failure(3, "first")]
    assert letter(first).headers() == first


def test_headers_that_were_added_behind_those_of_the_failure_stay() -> None:
    found = letter_of(FakeRecord(7, headers=[*headers_of_a_failure(), ("copied-by", b"mirror")]))
    assert found is not None
    assert found.headers() == [("copied-by", b"mirror")]


def test_a_record_without_an_original_topic_is_not_a_letter() -> None:
    assert letter_of(FakeRecord(7)) is None
    assert letter_of(FakeRecord(7, headers=[("dlq-topic", b"")])) is None


def test_fields_that_a_dead_letter_does_not_have_are_unknown() -> None:
    found = letter_of(FakeRecord(7, headers=[("dlq-topic", b"t"), ("dlq-offset", b"-3"), ("dlq-failed-at", b"now")]))
    assert found is not None
    assert (found.partition(), found.offset(), found.failed_at, found.attempts) == (-1, -1, -1, -1)
    assert found.timestamp() == (0, -1)


def test_the_size_counts_key_value_and_headers() -> None:
    found = letter_of(FakeRecord(7, b"key", b"value", [("dlq-topic", b"t"), ("x", None)]))
    assert found is not None
    assert found.size == 3 + 5 + len("dlq-topict") + 1
