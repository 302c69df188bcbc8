"""What a commit's metadata notes of its partition, behind the skip map: `p1:…;4` or `;w1764403600`.

A number says how many partitions the topic had when the group began it, with nothing committed: a partition below that
number is not new, whichever member begins it last. `w` and epoch seconds say until when a partition that was new is
watched, also by the consumer that gets it next.
"""

from __future__ import annotations

from typing import NamedTuple

LONGEST = 24
"""Characters that a note may have."""


class Note(NamedTuple):
    """At most one of the two is known."""

    begun_with: int | None = None
    """Partitions of the topic when the group began it."""
    watched_until: int | None = None
    """Epoch seconds."""

    def __str__(self) -> str:
        if self.begun_with is not None:
            return f";{self.begun_with}"
        return f";w{self.watched_until}" if self.watched_until is not None else ""


NOTHING = Note()


def split(metadata: str) -> tuple[str, Note]:
    """Return the skip map in a commit's metadata, and the note behind it; what is not a note is left in the former."""
    skip_map, mark, text = metadata.rpartition(";")
    digits = text.removeprefix("w")
    if not mark or len(text) >= LONGEST or not (digits.isascii() and digits.isdecimal()):
        return metadata, NOTHING
    return skip_map, Note(begun_with=int(digits)) if digits == text else Note(watched_until=int(digits))
