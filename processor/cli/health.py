"""`processor health`: the answer to a probe, from the heartbeat files of a fleet on the same machine."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from processor.health.verdict import Check, judge_fleet
from processor.options.option import SECONDS, Option


def health(
    heartbeat_file: Annotated[str, Option("The --heartbeat-file of processor run.", metavar="PATH")],
    check: Annotated[
        list[Check],
        Option("Check that must pass: alive, ready or progressing; repeatable.", metavar="CHECK", default_shown="all"),
    ] = [],  # noqa: B006 — read only
    max_age: Annotated[
        float,
        Option(
            "Maximum heartbeat age; an assignment may take half a minute while no broker answers.",
            metavar=SECONDS,
            above=0,
        ),
    ] = 60,
) -> int:
    """Report in one line of JSON whether a fleet is alive, ready and progressing.

    The exit code is 0 if every --check passes, else 1. The command sends no request to a broker: a fleet that waits for
    its broker is alive.

    alive: every consumer has polled within --max-age.
    ready: every consumer has partitions, or is in the group and none is left for it.
    progressing: no handler runs beyond its timeout and the grace after it.
    """
    checks = check or list(Check)
    found = judge_fleet(Path(heartbeat_file), max_age)
    holds = found.holds(checks)
    answer = {"healthy": holds, "checks": checks, **msgspec.structs.asdict(found)}
    typer.echo(msgspec.json.encode(answer).decode())
    return 0 if holds else 1
