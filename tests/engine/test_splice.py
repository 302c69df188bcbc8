"""`Splice`: each record once and in order, however two readers of a partition interleave."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from processor.engine.splice import Splice

PLACES = ("a", "b")


class Reader:
    """Delivers the records of a log in order, and its end whenever that has moved."""

    def __init__(self, log: list[int], end: Callable[[], int], position: int) -> None:
        self._log = log
        self._end = end
        self._reported = -1
        self.position = position

    def read(self) -> tuple[int, int] | None:
        """Return the next record or end, as its offset and the lowest one that may follow; None if nothing is new."""
        record = next((offset for offset in self._log if offset >= self.position), None)
        if record is not None:
            self.position = record + 1
            return record, record + 1
        end = self._end()
        if end == self._reported:
            return None
        self._reported, self.position = end, end
        return end, end


class Partition:
    """A log with holes, and what was taken from it."""

    def __init__(self) -> None:
        self.log: list[int] = []
        self.end = 0
        self.taken: list[int] = []
        self.member = self.reader(0)
        self.second: Reader | None = None

    def reader(self, position: int) -> Reader:
        return Reader(self.log, lambda: self.end, position)

    def take(self, offset: int, after: int) -> None:
        """Take a record, or an end, below which everything must have been taken."""
        if after > offset:
            self.taken.append(offset)
        else:
            assert self.taken == [place for place in self.log if place < offset]


class Splicing(RuleBasedStateMachine):
    """A member that reads, is stopped, is replaced by a second reader, and continues, again and again."""

    @initialize()
    def begin(self) -> None:
        self.partitions = {name: Partition() for name in PLACES}
        self.splice: Splice[str] = Splice({})
        self.may_fetch = True

    @rule(name=st.sampled_from(PLACES), holes=st.integers(0, 3), count=st.integers(1, 4))
    def produce(self, name: str, holes: int, count: int) -> None:
        partition = self.partitions[name]
        partition.log += range(partition.end + holes, partition.end + holes + count)
        partition.end += holes + count

    @rule(name=st.sampled_from(PLACES), holes=st.integers(1, 3))
    def leave_holes_at_the_end(self, name: str, holes: int) -> None:
        self.partitions[name].end += holes

    @rule(name=st.sampled_from(PLACES), count=st.integers(1, 6))
    def member_reads(self, name: str, count: int) -> None:
        """The member may also read while it may not fetch: responses in transit may still arrive."""
        partition = self.partitions[name]
        for _ in range(count):
            if (read := partition.member.read()) is not None and self.splice.is_taken_from_member(
                name, read[0], after=read[1]
            ):
                partition.take(*read)

    @rule(name=st.sampled_from(PLACES), count=st.integers(1, 6))
    def second_reads(self, name: str, count: int) -> None:
        partition = self.partitions[name]
        for _ in range(count if partition.second else 0):
            assert partition.second is not None
            if (read := partition.second.read()) is not None and self.splice.is_taken_from_second(
                name, read[0], after=read[1]
            ):
                partition.take(*read)

    @precondition(lambda self: self.may_fetch)
    @rule(opens=st.booleans())
    def stop(self, opens: bool) -> None:
        """`opens` is whether there is a second reader: its client may find no broker."""
        starts = {name: partition.member.position for name, partition in self.partitions.items()}
        starts |= self.splice.next
        self.may_fetch, self.splice = False, Splice(starts)
        for name, partition in self.partitions.items():
            partition.second = partition.reader(starts[name]) if opens else None

    @precondition(lambda self: not self.may_fetch)
    @rule(seeks=st.booleans())
    def go_on(self, seeks: bool) -> None:
        """A seek may fail: then the member continues where it was."""
        for name, partition in self.partitions.items():
            if seeks and name in self.splice.next:
                partition.member.position = max(partition.member.position, self.splice.next[name])
        self.splice.end()
        self.may_fetch = True

    @invariant()
    def each_record_once_in_order(self) -> None:
        for partition in getattr(self, "partitions", {}).values():
            assert partition.taken == partition.log[: len(partition.taken)]

    def teardown(self) -> None:
        """In the end the member has everything, and nothing is left to splice."""
        if not hasattr(self, "partitions"):
            return
        self.splice.end()
        for name in PLACES:
            self.member_reads(name, 10_000)
            self.leave_holes_at_the_end(name, 1)
            self.member_reads(name, 1)
        assert not self.splice
        self.each_record_once_in_order()
        assert all(partition.taken == partition.log for partition in self.partitions.values())


TestSplicing = Splicing.TestCase
TestSplicing.settings = settings(max_examples=60)


@given(st.integers(0, 100))
def test_a_partition_that_is_not_spliced_is_delivered_by_the_member_only(offset: int) -> None:
    splice = Splice({"other": 5})
    assert splice.is_taken_from_member("a", offset, after=offset + 1)
    assert not splice.is_taken_from_second("a", offset, after=offset + 1)


def test_while_both_read_a_record_is_taken_from_the_reader_that_delivers_it_first() -> None:
    splice = Splice({"a": 7})
    assert not splice.is_taken_from_member("a", 6, after=7)
    assert splice.is_taken_from_second("a", 7, after=8)
    assert not splice.is_taken_from_member("a", 7, after=8)
    assert splice.is_taken_from_member("a", 8, after=9)
    assert not splice.is_taken_from_second("a", 8, after=9)
    splice.end()
    assert splice.next == {"a": 9}
    assert splice.is_taken_from_member("a", 9, after=10)
    assert not splice


def test_a_partition_that_is_given_up_is_taken_from_the_member_from_its_first_record_on() -> None:
    """The partition may return, and begin below what the second reader had."""
    splice = Splice({"a": 7, "b": 0})
    splice.forget(["a", "never spliced"])
    assert splice.is_taken_from_member("a", 3, after=4)
    assert not splice.is_taken_from_second("a", 9, after=10)
    assert splice
