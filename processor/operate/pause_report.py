"""The document of `processor control list`."""

from __future__ import annotations

from typing import Literal

import msgspec

from processor.engine.pauses import Kind


class InForce(msgspec.Struct, frozen=True, kw_only=True):
    """One pause in the report of `processor control list`."""

    kind: Kind
    """kind of the target"""
    what: str
    """the session, the task name, or TOPIC:PARTITION; empty for all"""
    since: int
    """when it was paused, in milliseconds since the epoch"""
    by: str
    """the user who paused it, as USER@HOST"""


class WorkersInForce(msgspec.Struct, frozen=True, kw_only=True):
    """The number of workers that `processor control workers` has ordered."""

    workers: int
    """of each consumer"""
    since: int
    """when it was ordered, in milliseconds since the epoch"""
    by: str
    """the user who ordered it, as USER@HOST"""


class CancelInForce(msgspec.Struct, frozen=True, kw_only=True):
    """One cancellation in the report of `processor control list`."""

    kind: Literal["task", "session"]
    """kind of the target"""
    what: str
    """the task's ID, or the session"""
    name: str | None
    """the name of the session's tasks that are cancelled; null for all"""
    since: int
    """when the command was given, in milliseconds since the epoch"""
    until: int
    """when it ends, in milliseconds since the epoch"""
    dead_letter: bool
    """whether the tasks become dead letters"""
    by: str
    """the user who gave the command, as USER@HOST"""


class PausesReport(msgspec.Struct, frozen=True, kw_only=True):
    """What `processor control list -o json` prints."""

    group: str
    paused: list[InForce]
    """the oldest first"""
    workers: WorkersInForce | None = None
    """null where each consumer has the number that it was started with"""
    cancelled: list[CancelInForce]
    """the oldest first"""
