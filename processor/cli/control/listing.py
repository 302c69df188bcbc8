"""`processor control list`: lists the pauses, cancellations and numbers of workers that are in force."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Final

from processor.boot.tokens import with_tokens
from processor.cli.control.selection import ControlOptions
from processor.cli.output import note
from processor.cli.tables import Output, print_json, print_lines, table
from processor.errors import BrokerError, LoadError
from processor.kafka.control_topic import commands_of
from processor.kafka.group_view import GroupView
from processor.operate.pause_report import CancelInForce, InForce, PausesReport, WorkersInForce
from processor.options.connection import ConnectionOptions

HEADINGS = ("command", "what", "since", "by", "until")

NAMED: Final = 5
"""The most other groups that the error names."""


def list_commands(connection: ConnectionOptions, control: ControlOptions, output: Output = "table") -> int:
    """Show pauses, cancellations and the number of workers, each with its start and author."""
    connection = with_tokens(connection, lambda _: None)
    found = commands_of(connection, control.control_topic, control.group)
    if control.group not in found.groups:
        _require_group(connection, control, found.groups)
    in_force = sorted(found.pauses.in_force.items(), key=lambda each: each[1].since)
    cancelled = sorted(found.cancels.items(), key=lambda each: each[1].since)
    order = found.workers
    report = PausesReport(
        group=control.group,
        paused=[InForce(kind=to.kind, what=to.text, since=pause.since, by=pause.by) for to, pause in in_force],
        cancelled=[
            CancelInForce(kind=to.kind, what=to.text, name=to.name, **cancel._asdict()) for to, cancel in cancelled
        ],
        workers=None if order is None else WorkersInForce(workers=order.workers, since=order.since, by=order.by),
    )
    if output == "json":
        print_json(report)
        return 0
    rows = _rows(report)
    print_lines(table(HEADINGS, rows))
    if not rows:
        note(f"nothing is in force for group {control.group}")
    return 0


def _require_group(connection: ConnectionOptions, control: ControlOptions, others: Collection[str]) -> None:
    """Reject a group that neither the control topic nor the group's coordinator knows: its name may be mistyped.

    Raises:
        LoadError: the group does not exist.
    """
    with GroupView(connection, control.group) as view:
        try:
            state = view.describe()
        except BrokerError:  # this principal may not be allowed to describe the group: it may exist
            return
    if state is None or state.state != "dead":
        return
    named = sorted(others)[:NAMED]
    only = f", only for {', '.join(named)}{', …' if len(others) > NAMED else ''}" if named else ""
    raise LoadError(
        f"group {control.group} does not exist at {connection.bootstrap_servers}, and {control.control_topic} has no "
        f"command for it{only}"
    )


def _rows(report: PausesReport) -> list[list[str]]:
    rows = [[f"pause {one.kind}", one.what, _time(one.since), one.by, ""] for one in report.paused]
    for each in report.cancelled:
        what = each.what if each.name is None else f"{each.what}, name {each.name}"
        rows.append([f"cancel {each.kind}", what, _time(each.since), each.by, _time(each.until)])
    if (order := report.workers) is not None:
        rows.append(["workers", str(order.workers), _time(order.since), order.by, ""])
    return rows


def _time(milliseconds: int) -> str:
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(" ", "seconds").replace("+00:00", " UTC")
    except (OverflowError, ValueError, OSError):  # the record can hold any number
        return str(milliseconds)
