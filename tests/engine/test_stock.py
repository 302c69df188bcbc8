"""What was fetched and not admitted yet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from processor.engine.stock import NOTHING, Run, Stock, Usage
from tests.engine.record import FakeRecord


def records(first: int, count: int) -> list[FakeRecord]:
    return [FakeRecord(first + n, b"k") for n in range(count)]


class Mark(NamedTuple):
    name: str
    offset: int


END, RESET = Mark("end", 2), Mark("reset", 9)


def offsets(taken: Sequence[Run | Mark]) -> list[int | str]:
    return [each for entry in taken for each in ([entry.name] if isinstance(entry, Mark) else _of(entry))]


def _of(run: Run) -> list[int | str]:
    return [record.offset() for record in run.records]


def test_records_come_out_in_the_order_in_which_they_went_in() -> None:
    stock: Stock[int, Mark] = Stock()
    assert not stock
    stock.put(0, records(0, 3), 30)
    stock.put(1, records(7, 1), 5)
    stock.put(0, records(3, 2), 10)
    assert stock
    assert stock.partitions == [0, 1]
    assert stock.usages() == {0: Usage(5, 40), 1: Usage(1, 5)}
    assert offsets(stock.take(0, 4)) == [0, 1, 2, 3]
    assert stock.usage(0) == Usage(1, 5)
    assert offsets(stock.take(0, 4)) == [4]
    assert 0 not in stock
    assert stock.usage(0) == NOTHING
    assert stock.take(0, 4) == []
    assert stock.taken == {0: 5}


def test_a_mark_comes_out_when_all_before_it_has_and_not_earlier() -> None:
    stock: Stock[int, Mark] = Stock()
    stock.put(0, records(0, 2), 2)
    stock.mark(0, END)
    stock.put(0, records(2, 1), 1)
    assert offsets(stock.take(0, 1)) == [0]
    assert offsets(stock.take(0, 1)) == [1, "end"]
    assert offsets(stock.take(0, 9)) == [2]


def test_a_mark_alone_is_handed_out_without_any_quota() -> None:
    stock: Stock[int, Mark] = Stock()
    stock.mark(3, RESET)
    assert 3 in stock
    assert stock.take(3, 0) == [RESET]
    assert not stock


def test_a_gate_holds_records_at_it_and_above_and_marks_above_it() -> None:
    stock: Stock[int, Mark] = Stock()
    stock.put(0, records(0, 4), 4)
    stock.mark(0, Mark("end", 4))
    assert not stock.is_blocked(0, 2)
    assert offsets(stock.take(0, 9, 2)) == [0, 1]
    assert stock.is_blocked(0, 2)
    assert offsets(stock.take(0, 9, 2)) == []
    assert stock.usage(0) == Usage(2, 2)
    assert offsets(stock.take(0, 9, 3)) == [2]
    assert offsets(stock.take(0, 9, 4)) == [3, "end"]
    assert not stock.is_blocked(0, 4)
    stock.mark(0, Mark("end", 0))
    assert stock.is_blocked(0, -1)
    assert offsets(stock.take(0, 9, -1)) == []
    assert offsets(stock.take(0, 0, 0)) == ["end"]


def test_a_forgotten_partition_has_no_records() -> None:
    stock: Stock[int, Mark] = Stock()
    stock.put(0, records(0, 2), 2)
    stock.take(0, 1)
    stock.forget(0)
    stock.forget(1)
    assert (stock.take(0, 5), stock.taken, bool(stock)) == ([], {}, False)


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 5)), max_size=30))
def test_nothing_is_lost_repeated_or_reordered(steps: list[tuple[bool, int]]) -> None:
    stock: Stock[int, Mark] = Stock()
    put, taken, size = 0, [], 0
    for is_put, count in steps:
        if is_put:
            stock.put(0, records(put, count), count * 7)
            put += count
            size += count * 7
        else:
            taken += offsets(stock.take(0, count))
    assert stock.usage(0).tasks == put - len(taken)
    taken += offsets(stock.take(0, put))
    assert taken == list(range(put))
    assert stock.usage(0) == NOTHING
