"""What the log says of a pause: the fields that `PauseOrder` in `telemetry/events/control.py` has."""

from __future__ import annotations

from typing import Any

from processor.engine.pauses import Pause, Target


def pause_target(target: Target) -> dict[str, Any]:
    """Return what a pause is about."""
    names = {"session": "", "name": "", "partition": "", target.kind: target.text}
    return {
        "kind": target.kind,
        "session_id": names["session"],
        "task_name": names["name"],
        "partition": names["partition"],
    }


def pause_order(target: Target, pause: Pause) -> dict[str, Any]:
    """Return the same, and who has ordered it."""
    return {**pause_target(target), "since": pause.since, "by": pause.by}
