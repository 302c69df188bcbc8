"""What a commit's metadata notes behind the skip map."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.engine import skipmap
from processor.engine.commit_note import Note, split

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
def test_what_is_not_a_note_is_left_as_it_is(text: str) -> None:
    assert split(text) == (text, None)
