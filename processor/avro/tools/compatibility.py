"""Whether a schema may follow another: the levels that schema registries have."""

from __future__ import annotations

from typing import Literal

from processor.avro.resolution import Resolution
from processor.avro.schema import Schema

Compatibility = Literal[
    "NONE", "BACKWARD", "BACKWARD_TRANSITIVE", "FORWARD", "FORWARD_TRANSITIVE", "FULL", "FULL_TRANSITIVE"
]
"""The names are those of Confluent's registry.

BACKWARD: what is new reads what the old one wrote, so that consumers may be deployed first. FORWARD: the old one reads
what is new, so that producers may. TRANSITIVE: so for every older version, and not for the last one only.
"""


def breaks(new: Schema, old: Schema, origin: str, compatibility: Compatibility) -> list[str]:
    """Why `new` may not follow `old`, a sentence each; none where it may.

    Args:
        new: what is to be.
        old: what it follows.
        origin: what to call `old`.
        compatibility: the level; whether it is transitive is the caller's to ask with every old one.
    """
    level = compatibility.removesuffix("_TRANSITIVE")
    found: list[str] = []
    if level in ("BACKWARD", "FULL"):
        unread = Resolution(old.definition, new.definition).mismatches
        found += [f"it cannot read what {origin} wrote: {mismatch}" for mismatch in unread]
    if level in ("FORWARD", "FULL"):
        unread = Resolution(new.definition, old.definition).mismatches
        found += [f"{origin} cannot read what it writes: {mismatch}" for mismatch in unread]
    return list(dict.fromkeys(found))


def is_transitive(compatibility: Compatibility) -> bool:
    """Whether the level looks at every older version."""
    return compatibility.endswith("_TRANSITIVE")
