"""Notes behind the skip map in a commit's metadata."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.engine import skipmap
from processor.engine.commit_note import DIGITS, KEPT_CHARACTERS, Note, kept_in, kept_note, split

notes = st.builds(Note, begun_with=st.integers(0, 200_000), until=st.integers(0, 10**11))


@given(st.integers(0, 10**12), st.lists(st.integers(1, 50), max_size=20), notes)
def test_a_note_and_its_skip_map_are_read_as_they_were_written(base: int, gaps: list[int], note: Note) -> None:
    ranges = [(base + 100 * n, base + 100 * n + gap) for n, gap in enumerate(gaps, 1)]
    text, _ = skipmap.encode(base, ranges)
    assert split(f"{text}{note}") == (text, note)
    assert skipmap.decode(f"{text}{note}", base) == ranges


@pytest.mark.parametrize(
    "text", ["", "p1:abc", "p1:abc;", ";4", "theirs;x@1", ";-4@1", ";٤@1", ";4@", ";1@2@3", f";4@{'9' * 13}"]
)
def test_text_that_is_not_a_note_is_left_unchanged(text: str) -> None:
    assert split(text) == (text, None)


@given(st.integers(0, 10**DIGITS - 1), st.one_of(st.none(), notes), st.sampled_from(["", "p2:abc"]))
def test_how_far_only_arrivals_wait_is_read_beside_the_skip_map_and_the_other_note(
    count: int, note: Note | None, skip_map: str
) -> None:
    metadata = f"{skip_map}{kept_note(count)}{note or ''}"
    assert (split(metadata), kept_in(metadata)) == ((skip_map, note), count)
    assert len(kept_note(count)) <= KEPT_CHARACTERS


@pytest.mark.parametrize("text", ["", "p2:abc", ";+", ";+x", ";+-1", "p2:abc;+1;", f";+{'9' * 13}"])
def test_text_without_the_bound_of_waiting_arrivals_is_left_unchanged(text: str) -> None:
    assert (split(text), kept_in(text)) == ((text, None), 0)


def test_the_bound_of_waiting_arrivals_stands_between_the_skip_map_and_the_note() -> None:
    assert (kept_note(0), kept_note(7)) == ("", ";+7")
    assert kept_in("p2:abc;+7;4@9") == 7


def test_only_the_note_of_a_group_that_began_means_nothing_after_its_time() -> None:
    assert Note(4, 0).expires
    assert not Note(0, 0).expires
