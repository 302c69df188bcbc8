"""What a commit's metadata notes of its partition for some minutes, behind the skip map: `p2:…;4@1764403600`.

Up to that moment, in epoch seconds, the partition counts as begun when its topic had four partitions and the group had
committed nothing: then a partition below that number is not new, whichever member begins it last. `;0@…` notes that
the partition itself was new, and is watched until then, also by the consumer that gets it next. It stays until the
last cut of that partition is reached (`growth.py`).

In front of that, `;+12` notes that of the twelve offsets from the committed one on, every task is settled. Only records
of joins are not, such as arrivals that wait. So a skip map that has no room for all of these tasks leaves nothing out.
It counts only behind a skip map, or a reference to one, that belongs to the committed offset: `noted_until` checks it.
"""

from __future__ import annotations

from typing import NamedTuple

DIGITS = 12
"""The longest number in a note."""

KEPT = ";+"
"""In front of a number of offsets."""

KEPT_CHARACTERS = len(KEPT) + DIGITS
"""The longest note of that kind."""


class Note(NamedTuple):
    """One partition's note."""

    begun_with: int
    """Partitions of the topic when the group began it; 0 for a partition that was new."""
    until: int
    """Epoch seconds."""

    @property
    def expires(self) -> bool:
        """Whether it means nothing any more once its time is over."""
        return self.begun_with > 0

    def __str__(self) -> str:
        return f";{self.begun_with}@{self.until}"


def kept_note(count: int) -> str:
    """Return the note that so many offsets hold nothing unsettled but records of joins; empty if there are none."""
    return f"{KEPT}{count}" if count > 0 else ""


def kept_in(metadata: str) -> int:
    """Return how many offsets a commit's metadata notes as holding nothing unsettled but records of joins."""
    return _split_kept(_split_note(metadata)[0])[1]


def split(metadata: str) -> tuple[str, Note | None]:
    """Return the skip map in a commit's metadata, and the note behind it; what is not a note is left in the former."""
    rest, note = _split_note(metadata)
    return _split_kept(rest)[0], note


def _split_kept(metadata: str) -> tuple[str, int]:
    skip_map, mark, text = metadata.rpartition(KEPT)
    return (skip_map, int(text)) if mark and _is_number(text) else (metadata, 0)


def _split_note(metadata: str) -> tuple[str, Note | None]:
    skip_map, mark, text = metadata.rpartition(";")
    numbers = text.split("@")
    if mark and len(numbers) == 2 and all(map(_is_number, numbers)):
        return skip_map, Note(*map(int, numbers))
    return metadata, None


def _is_number(text: str) -> bool:
    return len(text) <= DIGITS and text.isascii() and text.isdecimal()
