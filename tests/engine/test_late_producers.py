"""A producer that has not noticed that its topic has grown is found by a record in the wrong partition."""

from __future__ import annotations

import pytest

from processor.engine.extents import Extent
from processor.engine.late_producers import LateProducers, Stray
from processor.engine.murmur2 import murmur2, partition_of

T = "t"


def found(count: int, end: int = 10) -> dict[int, Extent]:
    return {number: Extent(0, end, 0) for number in range(count)}


def key_of(partition: int, partitions: int) -> bytes:
    return next(key for n in range(1000) if partition_of(key := b"s%d" % n, partitions) == partition)


@pytest.mark.parametrize(
    ("text", "known"), [("21", -973932308), ("foobar", -790332482), ("a-little-bit-long-string", -985981536)]
)
def test_the_hash_is_that_of_the_java_client(text: str, known: int) -> None:
    """The expected numbers, which are signed, are from the Java client's own test of `Utils.murmur2`."""
    assert murmur2(text.encode()) == known % 2**32


def test_a_record_behind_the_growth_in_the_partition_where_its_session_was_is_found_once() -> None:
    late = LateProducers()
    late.note(T, found(4))
    key = key_of(3, 4)
    assert late.check((T, 1), 9, key) is None  # it may be from before
    assert late.check((T, 1), 10, key) == Stray(3, 4)
    assert late.check((T, 1), 11, key) is None
    assert late.check((T, 0), 10, key) == Stray(3, 4)


def test_a_record_in_the_partition_of_its_session_and_one_without_a_key_are_accepted() -> None:
    late = LateProducers()
    late.note(T, found(4))
    assert late.check((T, 3), 10, key_of(3, 4)) is None
    assert late.check((T, 3), 10, None) is None


def test_no_record_of_a_topic_that_has_not_grown_is_examined() -> None:
    late = LateProducers()
    late.note("u", found(4))
    assert late.check((T, 1), 10, key_of(3, 4)) is None


def test_the_ends_are_those_of_the_first_look_and_a_further_growth_has_its_own() -> None:
    late = LateProducers()
    late.note(T, found(4, end=10))
    late.note(T, found(4, end=50))
    key = next(key for n in range(1000) if partition_of(key := b"s%d" % n, 4) == 1 and partition_of(key, 8) == 5)
    assert late.check((T, 0), 10, key) == Stray(1, 4)
    assert late.check((T, 1), 10, key) is None
    late.note(T, found(8, end=50))
    assert late.check((T, 0), 49, key) is None
    assert late.check((T, 0), 50, key) == Stray(5, 8)
    assert late.check((T, 1), 50, key) == Stray(5, 8)


def test_a_topic_of_which_nothing_is_watched_any_more_is_forgotten() -> None:
    late = LateProducers()
    late.note(T, found(4))
    late.keep([T])
    assert late.check((T, 0), 10, key_of(3, 4)) is not None
    late.keep([])
    assert late.check((T, 1), 10, key_of(3, 4)) is None
