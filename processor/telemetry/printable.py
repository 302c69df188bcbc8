"""Foreign text made safe for a log line, a header or a terminal."""

from __future__ import annotations


def printable(text: str, most: int) -> str:
    r"""Return `text` with unprintable characters as \uNNNN, cut after `most` characters."""
    cut = f"{text[:most]}…" if len(text) > most else text
    return "".join(letter if letter.isprintable() else f"\\u{ord(letter):04x}" for letter in cut)
