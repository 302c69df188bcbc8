"""`processor control list`: what is paused."""

from __future__ import annotations

from datetime import UTC, datetime

from processor.boot.tokens import with_tokens
from processor.cli.control.selection import ControlOptions
from processor.cli.tables import Output, print_json, print_lines, table
from processor.kafka.control_topic import pauses_of
from processor.operate.pause_report import InForce, PausesReport
from processor.options.connection import ConnectionOptions

HEADINGS = ("paused", "what", "since", "by")


def list_pauses(connection: ConnectionOptions, control: ControlOptions, output: Output = "table") -> int:
    """Show what is paused, since when, and who has paused it."""
    found = pauses_of(with_tokens(connection, lambda _: None), control.control_topic, control.group)
    in_force = sorted(found.in_force.items(), key=lambda each: each[1].since)
    report = PausesReport(
        group=control.group,
        paused=[InForce(kind=to.kind, what=to.text, since=pause.since, by=pause.by) for to, pause in in_force],
    )
    if output == "json":
        print_json(report)
    else:
        print_lines(table(HEADINGS, [[one.kind, one.what, _time(one.since), one.by] for one in report.paused]))
    return 0


def _time(milliseconds: int) -> str:
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(" ", "seconds").replace("+00:00", " UTC")
    except (OverflowError, ValueError, OSError):  # the record can hold any number
        return str(milliseconds)
