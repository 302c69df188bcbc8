"""Marks of letters: none is lost, whichever letters are picked and wherever a write is cut off."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from processor.engine import skipmap
from processor.operate.marks import Marks, Page, further_pages

LIMIT = 60
"""Characters of a page in these tests: a few ranges."""


class Broker:
    """Holds the pages as the groups of a store do."""

    def __init__(self) -> None:
        self.pages: dict[int, tuple[int, str]] = {}

    def write(self, marks: Marks, limit: int = LIMIT, most: int | None = None) -> None:
        """Write the pages that changed, or only the first ones."""
        for page in marks.changed(limit)[:most]:
            assert len(page.metadata) <= limit
            self.pages[page.number] = (page.offset, page.metadata)

    def read(self) -> Marks:
        """Only the pages that page 0 counts."""
        if 0 not in self.pages:
            return Marks()
        return Marks([self.pages[number] for number in range(further_pages(self.pages[0][1]) + 1)])


def marked(marks: Marks, most: int = 300) -> set[int]:
    return {offset for offset in range(most) if offset in marks}


def test_without_marks_a_page_is_written_only_where_all_are_asked_for() -> None:
    assert Marks().changed(every=True) == [Page(0, 0, "")]


def test_without_pages_nothing_is_marked_and_nothing_is_written() -> None:
    marks = Marks()
    assert (marks.base, marked(marks), marks.changed()) == (0, set(), [])


def test_touching_ranges_become_one() -> None:
    marks = Marks()
    for low, high in [(5, 6), (7, 9), (6, 7), (20, 30), (0, 5), (9, 9)]:
        marks.add(low, high)
    assert (marks.base, marks.count(0, 100), marks.count(8, 22)) == (9, 19, 3)
    assert marked(marks) == {*range(9), *range(20, 30)}


def test_marks_in_one_page_are_a_commit_with_a_skip_map() -> None:
    marks, broker = Marks(), Broker()
    marks.add(0, 10)
    marks.add(12, 15)
    broker.write(marks)
    assert broker.pages[0][0] == 10
    assert skipmap.decode(broker.pages[0][1], 10) == [(12, 15)]
    assert marks.changed() == []
    assert [page.number for page in marks.changed(every=True)] == [0]
    assert marked(broker.read()) == {*range(10), *range(12, 15)}


def test_metadata_of_another_program_leaves_the_offset() -> None:
    assert marked(Marks([(5, "something else")])) == set(range(5))


def test_letters_without_a_pattern_need_few_pages() -> None:
    """What one skip map cannot hold: each third of 100,000 letters, at random."""
    chance, marks, broker = random.Random(1), Marks(), Broker()
    chosen = [offset for offset in range(100_000) if chance.random() < 0.3]
    for index, offset in enumerate(chosen):
        marks.add(offset, offset + 1)
        if index % 5000 == 0:
            broker.write(marks, skipmap.MAX_CHARACTERS)
    broker.write(marks, skipmap.MAX_CHARACTERS)
    assert marked(broker.read(), 100_000) == set(chosen)
    assert 1 < len(broker.pages) < 20


Steps = st.lists(
    st.tuples(st.lists(st.tuples(st.integers(0, 250), st.integers(1, 12)), max_size=12), st.none() | st.integers(0, 3)),
    max_size=12,
)


@given(Steps)
def test_a_write_that_is_cut_off_loses_no_mark_of_an_earlier_one(
    steps: list[tuple[list[tuple[int, int]], int | None]],
) -> None:
    """Each step marks some letters and writes all pages, or dies after a few of them and begins with what is there."""
    broker, marks = Broker(), Marks()
    wanted: set[int] = set()
    written: set[int] = set()
    for ranges, dies_after in steps:
        for low, length in ranges:
            marks.add(low, low + length)
            wanted |= set(range(low, low + length))
        broker.write(marks, most=dies_after)
        if dies_after is None:
            written = set(wanted)
        else:
            marks = broker.read()
        assert written <= marked(broker.read()) <= wanted
        wanted = wanted if dies_after is None else marked(marks) | written
