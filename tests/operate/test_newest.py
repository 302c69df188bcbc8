"""The newest records of all partitions, found by reading as little as possible backwards."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from processor.operate.newest import FIRST_STEP, Newest
from processor.runtime.ports import Partition
from tests.engine.record import FakeRecord


class At(FakeRecord):
    """A record of a partition, with a time."""

    def __init__(self, partition: int, offset: int, timestamp: int) -> None:
        super().__init__(offset)
        self._partition, self._timestamp = partition, timestamp

    def partition(self) -> int:
        return self._partition

    def timestamp(self) -> tuple[int, int]:
        return (1, self._timestamp) if self._timestamp >= 0 else (0, -1)


Logs = dict[int, list[At]]


def find(logs: Logs, wanted: int, chosen: set[tuple[int, int]] | None = None) -> tuple[list[tuple[int, int]], int]:
    """The newest records, by partition and offset, and how many were read."""
    bounds = {
        Partition("t", n): (log[0].offset() if log else 0, log[-1].offset() + 1 if log else 0)
        for n, log in logs.items()
    }
    newest, read = Newest(wanted, bounds), 0
    while ranges := newest.step():
        for (_, number), (low, high) in ranges.items():
            for record in logs[number]:
                if low <= record.offset() < high:
                    read += 1
                    newest.note(record, matches=chosen is None or (number, record.offset()) in chosen)
    return [(record.partition(), record.offset()) for record in newest.records()], read


def test_the_newest_of_two_partitions_are_in_the_order_of_time() -> None:
    logs: Logs = {0: [At(0, n, 10 * n) for n in range(50)], 1: [At(1, n, 10 * n + 5) for n in range(40)]}
    assert find(logs, 3)[0] == [(0, 47), (0, 48), (0, 49)]
    assert find({**logs, 0: logs[0][:40]}, 3)[0] == [(1, 38), (0, 39), (1, 39)]


def test_only_the_ends_are_read_where_everything_matches() -> None:
    logs: Logs = {n: [At(n, offset, offset) for offset in range(10_000)] for n in range(4)}
    found, read = find(logs, 10)
    assert len(found) == 10
    assert read == 4 * FIRST_STEP


def test_a_rare_record_is_found_at_the_beginning() -> None:
    logs: Logs = {0: [At(0, n, n) for n in range(5000)], 1: []}
    assert find(logs, 3, chosen={(0, 7), (0, 4000)})[0] == [(0, 7), (0, 4000)]


def test_nothing_is_found_in_an_empty_topic() -> None:
    assert find({0: [], 1: []}, 10) == ([], 0)


def test_what_is_older_than_a_time_is_neither_found_nor_read() -> None:
    logs: Logs = {0: [At(0, n, n) for n in range(10_000)]}
    newest, read = Newest(1000, {Partition("t", 0): (0, 10_000)}, since=9_950), 0
    while ranges := newest.step():
        for low, high in ranges.values():
            read += high - low
            for record in logs[0][low:high]:
                newest.note(record, matches=True)
    assert [record.offset() for record in newest.records()] == list(range(9_950, 10_000))
    assert (read, newest.left_out) == (1000, False)


def test_the_newest_records_report_whether_others_were_left_out() -> None:
    newest = Newest(2, {Partition("t", 0): (0, 3)})
    newest.step()
    for record in (At(0, 0, 1), At(0, 1, 2)):
        newest.note(record, matches=True)
    assert (newest.left_out, newest.step()) == (False, {})
    newest.note(At(0, 2, 3), matches=True)
    assert newest.left_out is True
    assert [record.offset() for record in newest.records()] == [1, 2]
    long = Newest(FIRST_STEP, {Partition("t", 0): (0, 1000)})
    long.step()
    assert long.left_out


@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 3), st.integers(1, 9), st.booleans()), max_size=300), min_size=1, max_size=3
    ),
    st.integers(1, 20),
)
def test_the_newest_records_equal_the_last_of_all_sorted_by_time(
    steps: list[list[tuple[int, int, bool]]], wanted: int
) -> None:
    """With holes between offsets; the timestamps of a partition ascend, strictly, as ties may go either way."""
    logs: Logs = {}
    chosen: set[tuple[int, int]] = set()
    for number, log in enumerate(steps):
        offset, at, logs[number] = 0, 0, []
        for hole, later, matches in log:
            offset, at = offset + hole + 1, at + later
            logs[number].append(At(number, offset, at * 10 + number))
            if matches:
                chosen.add((number, offset))
    every = sorted(
        (r.timestamp()[1], n, r.offset()) for n, log in logs.items() for r in log if (n, r.offset()) in chosen
    )
    assert find(logs, wanted, chosen)[0] == [(number, offset) for _, number, offset in every[-wanted:]]
