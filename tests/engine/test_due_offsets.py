"""The compact tables of tasks that are delayed for long, against plain dicts, and their size for a million tasks."""

from __future__ import annotations

import random
import tracemalloc
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from processor.engine import due_offsets, last_dues
from processor.engine.delays import Delays, Horizon
from processor.engine.due_offsets import MOST_DUE, DueOffsets, Entry
from processor.engine.last_dues import SHARDS, Last, LastDues
from processor.engine.stretch import merged

SMALL = 4
"""Entries in a chunk, so that there are many chunks."""

entries = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 12)), max_size=20)
operations = st.lists(
    st.one_of(
        st.tuples(st.just("put"), entries),
        st.tuples(st.just("take"), st.tuples(st.integers(0, 12), st.integers(0, 9))),
        st.tuples(st.just("below"), st.integers(0, 40)),
        st.tuples(st.just("hasten"), st.tuples(st.frozensets(st.integers(0, 60), max_size=9), st.integers(0, 12))),
    ),
    max_size=20,
)


@given(operations)
def test_what_is_put_in_is_taken_out_once_by_time_or_by_offset(operations: list[tuple[str, object]]) -> None:
    with patch.object(due_offsets, "CHUNK", SMALL):
        table, model = DueOffsets(), dict[int, int]()
        for kind, argument in operations:
            match kind, argument:
                case "put", list(pairs):
                    new = {offset: due for offset, due in pairs if offset not in model}
                    if new:
                        table.put([Entry(*pair) for pair in sorted(new.items())])
                    model |= new
                case "take", (int(until), int(most)):
                    due = sorted(pair for pair in model.items() if pair[1] <= until)
                    assert min(table.count(until, most), most + 1) == min(len(due), most + 1)
                    due = due[:most]
                    assert table.take(until, most) == due
                    for offset, _ in due:
                        del model[offset]
                case "hasten", (frozenset(offsets), int(until)):
                    table.hasten([Entry(offset, until) for offset in sorted(offsets)])
                    model |= {offset: min(model[offset], until) for offset in offsets & model.keys()}
                case "below", int(offset):
                    below = sorted(pair for pair in model.items() if pair[0] < offset)
                    assert table.take_below(offset) == below
                    for gone, _ in below:
                        del model[gone]
            assert len(table) == len(model)
            assert table.next_due == min(model.values(), default=None)
            assert table.oldest == min(model, default=None)
            assert [each for part in merged(table.stretches()) for each in part] == sorted(model)


def test_only_entries_of_the_named_offsets_are_due_earlier_and_none_is_due_later() -> None:
    with patch.object(due_offsets, "CHUNK", SMALL):
        table = DueOffsets()
        table.put([Entry(offset, 9) for offset in range(0, 20, 2)])
        table.hasten([Entry(2, 3), Entry(3, 1), Entry(4, 12)])  # all in the first of several chunks
        assert table.take(8, 100) == [(2, 3)]
        assert table.take(9, 100) == [(offset, 9) for offset in range(0, 20, 2) if offset != 2]


def test_what_a_stretch_names_stays_when_entries_come_and_go() -> None:
    with patch.object(due_offsets, "CHUNK", SMALL):
        table = DueOffsets()
        table.put([Entry(offset, offset) for offset in range(0, 20, 2)])
        stretches = table.stretches()
        table.put([Entry(offset, 1) for offset in range(1, 21, 2)])
        table.put([Entry(30, 1)])
        table.take(9, 100)
        assert [each for part in merged(stretches) for each in part] == list(range(0, 20, 2))


@given(st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 9), st.integers(0, MOST_DUE)), max_size=60))
def test_the_last_due_second_of_each_session_is_kept(notes: list[tuple[int, int]]) -> None:
    last, model = LastDues(), dict[int, int]()
    for session, due in notes:
        last.put(session, Last(due, 1), 0)
        model[session] = due
    assert {session: last.get(session) for session in model} == {each: Last(due, 1) for each, due in model.items()}
    assert len(last) == len(model)
    last.clear()
    assert not any(last.get(session) for session in model)


def test_sessions_that_are_over_are_dropped_when_others_need_their_place() -> None:
    last = LastDues()
    of_one_shard = [SHARDS * n for n in range(10 * last_dues.LEAST_PURGED)]
    for due, session in enumerate(of_one_shard):
        last.put(session, Last(due, 1), due - 10)
    assert len(last) <= 2 * last_dues.LEAST_PURGED
    assert [last.get(session) for session in of_one_shard[-10:]] == [
        Last(due, 1) for due in range(len(of_one_shard))[-10:]
    ]
    assert last.get(of_one_shard[0]) is None


def test_a_session_is_known_until_its_last_task_was_read_again() -> None:
    delays = Delays()
    delays.put([Entry(0, 5), Entry(1, 900), Entry(2, 900)])
    delays.note(b"first", 5)
    delays.note(b"second", 900, 2)
    delays.hasten([Entry(1, 1), Entry(2, 1)])
    assert delays.ask(Horizon(1.0, 1.0, 100), (), lambda _: ()) == [1, 2]
    delays.receive(b"second")
    assert delays.last_due(b"second") == 900
    delays.receive(b"second")
    assert (delays.last_due(b"first"), delays.last_due(b"second")) == (5, None)


def test_a_session_that_is_not_known_has_no_task_to_take() -> None:
    last = LastDues()
    last.put(SHARDS, Last(5, 1), 0)
    for session in (SHARDS, SHARDS, 2 * SHARDS, 1):
        last.take(session)
    assert [last.get(session) for session in (SHARDS, 2 * SHARDS, 1)] == [None] * 3


def fill(delays: Delays, offsets: range) -> None:
    """A task of a session of its own at each offset. The due seconds of half of them do not ascend."""
    dues = random.Random(offsets.start)
    entries = [Entry(n, 10**9 + (n if n % 2 else dues.randrange(3600))) for n in offsets]
    delays.put(entries)
    for offset, due in entries:
        delays.note(b"session %d" % offset, due)


def test_a_million_tasks_of_as_many_sessions_need_no_more_than_40_megabytes() -> None:
    """Measured with some of them, the tables that do not grow with their number included."""
    count, batch = 60_000, 5_000
    tracemalloc.start()
    try:
        delays = Delays()
        for first in range(0, count, batch):
            fill(delays, range(first, first + batch))
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(delays) == count
    assert used <= 40e6 * count / 1e6


def test_an_entry_that_is_put_among_others_goes_into_the_chunk_where_it_belongs() -> None:
    with patch.object(due_offsets, "CHUNK", SMALL):
        table = DueOffsets()
        table.put([Entry(offset, 5) for offset in range(0, 24, 2)])
        table.put([Entry(9, 1)])
        assert table.next_due == 1
        assert (table.count(4, 9), table.count(5, 2)) == (1, 4)
        assert [entry.offset for entry in table.take(5, 5)] == [0, 2, 4, 6, 8]
        assert [entry.offset for entry in table.take_below(13)] == [9, 10, 12]
        assert len(table) == 5
