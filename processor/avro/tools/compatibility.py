"""Checks whether one schema may replace another, at the compatibility levels of schema registries."""

from __future__ import annotations

from typing import Literal

from processor.avro.resolution import Resolution
from processor.avro.schema import Schema

Compatibility = Literal[
    "NONE", "BACKWARD", "BACKWARD_TRANSITIVE", "FORWARD", "FORWARD_TRANSITIVE", "FULL", "FULL_TRANSITIVE"
]
"""The levels of Confluent's registry.

BACKWARD: the new schema reads data of the old one; deploy consumers first. FORWARD: the old schema reads data of the
new one; deploy producers first. FULL: both. _TRANSITIVE: compare with every older version, not only with the latest.
"""


def incompatibilities(new: Schema, old: Schema, origin: str, compatibility: Compatibility) -> list[str]:
    """The reasons why `new` may not replace `old`, a sentence each; empty if it may.

    Args:
        new: the changed schema.
        old: the version that it replaces.
        origin: what the sentences call `old`, such as "git:HEAD".
        compatibility: the level. For a transitive one the caller repeats the check for each older version.
    """
    level = compatibility.removesuffix("_TRANSITIVE")
    found: list[str] = []
    if level in ("BACKWARD", "FULL"):
        unread = Resolution(old.definition, new.definition).mismatches
        found += [f"the new schema cannot read data written with {origin}: {mismatch}" for mismatch in unread]
    if level in ("FORWARD", "FULL"):
        unread = Resolution(new.definition, old.definition).mismatches
        found += [f"{origin} cannot read data written with the new schema: {mismatch}" for mismatch in unread]
    return list(dict.fromkeys(found))


def is_transitive(compatibility: Compatibility) -> bool:
    """Return whether the level compares with every older version."""
    return compatibility.endswith("_TRANSITIVE")
