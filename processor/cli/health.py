"""`processor health`: what a probe asks, answered from the heartbeat files of a fleet on the same machine."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from processor.cli import options
from processor.errors import SettingsError
from processor.health.verdict import Check, look

HeartbeatFile = Annotated[
    str,
    typer.Option(
        "--heartbeat-file", metavar="PATH", help="The file that `processor run` was given.", show_default=False
    ),
]
MaxAge = Annotated[
    float,
    typer.Option(
        "--max-age",
        metavar="SECONDS",
        help="How old a sign of life may be; an assignment may take half a minute while no broker answers.",
    ),
]
Checks = Annotated[
    list[Check],
    typer.Option(
        "--check",
        metavar="CHECK",
        help="alive, ready or progressing: what has to hold; repeatable.",
        show_default="all",
    ),
]


def health(
    heartbeat_file: HeartbeatFile,
    check: Checks = [],  # noqa: B006 — Typer copies it
    max_age: MaxAge = 60,
    config: options.Config = None,
) -> int:
    """Tell in one line of JSON whether a fleet is alive, ready and progressing.

    Exit code 0 if what was asked for holds, else 1. No broker is asked: a fleet that waits for one is alive.

    alive: every consumer has polled lately.
    ready: every consumer has partitions, or is in the group and none is left for it.
    progressing: no handler goes on after its time and its grace.
    """
    if not math.isfinite(max_age) or max_age <= 0:
        raise SettingsError(f"--max-age must be above 0 seconds, not {max_age:g}")
    checks = check or list(Check)
    found = look(Path(heartbeat_file), max_age)
    holds = found.holds(checks)
    answer = {"healthy": holds, "checks": checks, **msgspec.structs.asdict(found)}
    typer.echo(msgspec.json.encode(answer).decode())
    return 0 if holds else 1
