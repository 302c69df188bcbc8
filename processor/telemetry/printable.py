"""Text from outside, made fit for a line of a log, a header or a terminal."""

from __future__ import annotations


def printable(text: str, most: int) -> str:
    r"""`text` with whatever could move a cursor or break a line as \uNNNN, and cut after `most` characters."""
    cut = f"{text[:most]}…" if len(text) > most else text
    return "".join(letter if letter.isprintable() else f"\\u{ord(letter):04x}" for letter in cut)
