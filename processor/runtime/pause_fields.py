"""The fields of log events about a pause, as `PauseOrder` in `telemetry/events/control.py` declares them."""

from __future__ import annotations

from typing import Any

from processor.engine.pauses import Pause, Target


def pause_target(target: Target) -> dict[str, Any]:
    """Return the fields about the target of a pause."""
    names = {"session": "", "name": "", "partition": "", target.kind: target.text}
    return {
        "kind": target.kind,
        "session_id": names["session"],
        "task_name": names["name"],
        "partition": names["partition"],
    }


def pause_order(target: Target, pause: Pause) -> dict[str, Any]:
    """Return these fields, and the time and the author of the pause."""
    return {**pause_target(target), "since": pause.since, "by": pause.by}
