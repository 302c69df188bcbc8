"""The names that Kafka allows for topics."""

from typing import Final

LONGEST: Final = 249
"""Characters of a topic's name; a partition's folder adds '-' and a number, and file names end at 255."""

DEAD_LETTER_SUFFIX: Final = ".dlq"


def topic_fault(topic: str) -> str | None:
    """What is wrong with a topic's name, in the words that follow an option's name; None where nothing is."""
    is_legal = topic.isascii() and all(c.isalnum() or c in "._-" for c in topic)
    if is_legal and 0 < len(topic) <= LONGEST and topic not in (".", ".."):
        return None
    return f"{topic!r} is not a valid topic name: use letters, digits, '.', '_' and '-', at most {LONGEST} of them"
