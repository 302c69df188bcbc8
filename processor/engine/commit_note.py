"""Notes about a partition in the metadata of its commit, behind the skip map: `p2:…;4@1764403600`.

`;4@…` notes that the topic had four partitions when the group, which had committed nothing, began it. Until that
moment, in epoch seconds, a partition with a number below four is not new, whichever member begins it.

`;0@…` notes that the partition itself was new. The consumer that gets it next also watches it until that moment. The
note stays until the last cut of the partition is reached (`growth.py`).

`;+12`, in front of these, notes that every task among the twelve offsets from the committed one on is settled. Only
records of joins are unsettled there, such as arrivals that wait. So a skip map that is cut short among them loses no
settled task. The note counts only behind a skip map, or a reference to one, that belongs to the committed offset:
`noted_until` checks this.
"""

from __future__ import annotations

from typing import NamedTuple

DIGITS = 12
"""The longest number in a note."""

KEPT = ";+"
"""The prefix of a number of offsets."""

KEPT_CHARACTERS = len(KEPT) + DIGITS
"""The longest note of that kind."""


class Note(NamedTuple):
    """One partition's note."""

    begun_with: int
    """How many partitions the topic had when the group began it; 0 for a partition that was new."""
    until: int
    """Epoch seconds."""

    @property
    def expires(self) -> bool:
        """Whether the note is void once its time is over."""
        return self.begun_with > 0

    def __str__(self) -> str:
        return f";{self.begun_with}@{self.until}"


def kept_note(count: int) -> str:
    """Return the note that only records of joins are unsettled among the next `count` offsets; empty for none."""
    return f"{KEPT}{count}" if count > 0 else ""


def kept_in(metadata: str) -> int:
    """Return the number of offsets among which only records of joins are unsettled, as a commit's metadata notes it."""
    return _split_kept(_split_note(metadata)[0])[1]


def split(metadata: str) -> tuple[str, Note | None]:
    """Return the skip map in a commit's metadata, and the note behind it. Text that is not a note stays in the map."""
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
