"""Which session has the most of what is left of a partition, from records that are read in order."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from processor.engine import skipmap
from processor.operate.census import JUMP, Census, Share
from processor.operate.partition_view import PartitionView
from processor.runtime.ports import Partition

KEYS = (b"a", b"b", None)


def view(committed: int, end: int, ranges: list[tuple[int, int]] | None = None) -> PartitionView:
    return PartitionView(Partition("t", 0), 0, end, committed, skipmap.encode(committed, ranges or [])[0])


def read(census: Census, records: list[tuple[int, bytes | None]]) -> int:
    """Reads records as a client does that knows where each jump leads. Return how many it has read."""
    count, at = 0, census.next_offset
    for offset, key in records:
        if not census.is_done and offset >= at:
            count += 1
            at = census.next_offset if census.take(offset, key) else at
    return count


@given(
    st.lists(st.tuples(st.integers(1, 3), st.sampled_from(KEYS)), max_size=30),
    st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), max_size=4),
    st.integers(0, 20),
    st.integers(1, 40),
)
def test_the_share_is_that_of_a_count_by_hand(
    distances: list[tuple[int, bytes | None]], settled: list[tuple[int, int]], committed: int, most: int
) -> None:
    records, offset = [], -1
    for distance, key in distances:
        offset += distance
        records.append((offset, key))
    ranges, at = [], committed
    for gap, length in settled:
        ranges.append((at + gap, at + gap + length))
        at += gap + length
    done = {each for low, high in ranges for each in range(low, high)}
    census = Census(view(committed, offset + 1, ranges), most)
    read(census, records)
    left = [key for offset, key in records if offset >= committed and offset not in done]
    counts = Counter(key for key in left[:most] if key is not None)
    share = census.share()
    if not counts:
        assert share is None
    else:
        assert share is not None
        assert (share.tasks, share.read) == (max(counts.values()), len(left[:most]))
        assert counts[share.key] == share.tasks
        assert not share.is_all or len(left) == share.read
    assert census.is_done


def test_of_sessions_with_equally_many_tasks_the_oldest_counts() -> None:
    census = Census(view(0, 4), 10)
    read(census, [(0, b"a"), (1, b"b"), (2, b"b"), (3, b"a")])
    assert census.share() == Share(b"a", 2, 4, is_all=True)


def test_a_long_range_that_is_done_is_jumped_over_once() -> None:
    far = 10 * JUMP
    census = Census(view(0, far + 2, [(1, far)]), 10)
    assert census.take(0, b"a")
    assert census.next_offset == far
    assert not census.take(1, b"b"), "it is on its way in the client"
    assert not census.take(far, b"a")
    assert not census.take(far + 1, b"b")
    assert census.share() == Share(b"a", 2, 3, is_all=True)


def test_a_short_range_is_read_over() -> None:
    census = Census(view(0, 40, [(1, 39)]), 10)
    assert read(census, [(offset, b"a" if offset % 39 == 0 else b"b") for offset in range(40)]) == 40
    assert census.share() == Share(b"a", 2, 2, is_all=True)


def test_an_open_transaction_is_not_mistaken_for_the_end() -> None:
    census = Census(view(0, 10), 10)
    read(census, [(0, b"a"), (1, b"a")])
    census.cut(2)
    assert census.is_done
    assert census.share() == Share(b"a", 2, 2, is_all=False)


def test_markers_at_the_end_are_passed() -> None:
    census = Census(view(0, 10), 10)
    read(census, [(0, b"a")])
    census.cut(10)
    assert census.share() == Share(b"a", 1, 1, is_all=True)


def test_a_record_delivered_twice_counts_once() -> None:
    census = Census(view(0, 3), 10)
    read(census, [(0, b"a"), (1, b"a")])
    census.take(0, b"b")
    census.take(1, b"b")
    census.take(2, b"a")
    assert census.share() == Share(b"a", 3, 3, is_all=True)
