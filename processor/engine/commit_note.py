"""What a commit's metadata notes of its partition for some minutes, behind the skip map: `p2:…;4@1764403600`.

Up to that moment, in epoch seconds, the partition counts as begun when its topic had four partitions and the group had
committed nothing: then a partition below that number is not new, whichever member begins it last. `;0@…` notes that
the partition itself was new, and is watched until then, also by the consumer that gets it next.
"""

from __future__ import annotations

from typing import NamedTuple

DIGITS = 12
"""The longest number in a note."""


class Note(NamedTuple):
    """One partition's note."""

    begun_with: int
    """Partitions of the topic when the group began it; 0 for a partition that was new."""
    until: int
    """Epoch seconds."""

    def __str__(self) -> str:
        return f";{self.begun_with}@{self.until}"


def split(metadata: str) -> tuple[str, Note | None]:
    """Return the skip map in a commit's metadata, and the note behind it; what is not a note is left in the former."""
    skip_map, mark, text = metadata.rpartition(";")
    numbers = text.split("@")
    if mark and len(numbers) == 2 and all(map(_is_number, numbers)):
        return skip_map, Note(*map(int, numbers))
    return metadata, None


def _is_number(text: str) -> bool:
    return len(text) <= DIGITS and text.isascii() and text.isdecimal()
