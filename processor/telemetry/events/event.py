"""`Event`: the base class of log events. The code that observes something passes such a value to an `Emit`.

An `Emit` writes a log line on the command line, and appends to a list in a test. Names are stable. A name ends in its
unit; durations are in seconds, times in milliseconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Literal

import msgspec

LOG_VERSION = 1
"""Version of the log contract, on every JSON line. Within a version, events and fields are only added, and readers
ignore what they do not know. Renaming, removing or redefining one requires the next version."""

Level = Literal["debug", "info", "warning", "error"]


class Event(msgspec.Struct, kw_only=True):
    """An event that is logged."""

    event: ClassVar[str]
    level: ClassVar[Level] = "info"
    console_level: ClassVar[Level | None] = None
    """The level in the console format, where it differs."""


Emit = Callable[[Event], None]
