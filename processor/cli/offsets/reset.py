"""`processor offsets reset`: moves the committed offsets of a group."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated

from processor.boot.tokens import with_tokens
from processor.cli.offsets.selection import GroupOption, SelectionOption, selected
from processor.cli.output import note
from processor.cli.tables import Output, print_json, print_lines, table
from processor.errors import ProcessorError
from processor.kafka.group_view import GroupView
from processor.observe.wording import many
from processor.operate.moments import Moment, Target, target_fault, target_of
from processor.operate.partition_view import PartitionView
from processor.operate.resets import OffsetChange, ResetReport, change_of
from processor.options.connection import ConnectionOptions
from processor.options.option import Option

Execute = Annotated[bool, Option("Make the change; without it, the command only shows what it would do.")]

HEADINGS = ("partition", ">before", ">after", ">run again", ">skipped", "")


def reset(
    connection: ConnectionOptions,
    group: GroupOption,
    to: Annotated[
        str,
        Option(
            "Where to go: earliest, latest, an offset, +N or -N from the committed offset, or the first record of a "
            "time (ISO 8601, UTC without a zone; milliseconds since the epoch; an age such as 2h).",
            metavar="TARGET",
            rule=target_fault,
        ),
    ],
    topic: SelectionOption = [],  # noqa: B006 — read only
    execute: Execute = False,
    output: Output = "table",
) -> int:
    """Move the committed offsets of a group that has no members.

    Without --execute, the command shows what it would do: the offsets before and after,
    how many settled offsets would run again, and how many would be skipped.
    A reset drops the skip maps: tasks that were done ahead of the commit run again.
    """
    target = target_of(to, time.time())
    with GroupView(with_tokens(connection, lambda _: None), group) as view:
        views = selected(view, topic)
        _refuse_members(view)
        changes = _changes(view, views, target)
        if execute:
            view.reset(changes)
    is_absolute = target.kind in ("earliest", "latest")
    report = ResetReport(
        group=group,
        executed=execute,
        target=target.kind,
        value=None if is_absolute else target.value,
        partitions=changes,
    )
    if target.kind == "time":
        note(f"processor: to {Moment(target.value)}{'' if target.has_zone else ', since a time without a zone is UTC'}")
    if output == "json":
        print_json(report)
    else:
        print_lines(table(HEADINGS, [_cells(one) for one in changes]))
    note(f"processor: {_summary(changes, executed=execute)}")
    return 0


def _refuse_members(view: GroupView) -> None:
    """Check that the group has no members. If its coordinator does not report them, the broker refuses the commit.

    Raises:
        ProcessorError: it has members.
    """
    state = view.describe()
    if state is not None and state.members:
        hosts = ", ".join(sorted({f"{member.client_id} at {member.host}" for member in state.members})[:3])
        raise ProcessorError(
            f"group {view.group} has {many(len(state.members), 'member')} ({hosts}): stop them first, since only the "
            "offsets of a group without members can be reset"
        )


def _changes(view: GroupView, views: Sequence[PartitionView], target: Target) -> list[OffsetChange]:
    """Return the changes. If the target is relative to the commit, partitions without one are left out."""
    if target.kind == "shift" and any(one.committed is not None for one in views):
        views = [one for one in views if one.committed is not None]
    offsets = view.offsets_at([one.partition for one in views], target.value) if target.kind == "time" else {}
    return [change_of(one, target, offsets.get(one.partition)) for one in views]


def _cells(one: OffsetChange) -> list[str]:
    before = "–" if one.before is None else f"{one.before:,}"
    clamped = "nearest offset that exists" if one.clamped else ""
    place = f"{one.topic}[{one.partition}]"
    return [place, before, f"{one.after:,}", f"{one.runs_again:,}", f"{one.skipped:,}", clamped]


def _summary(changes: Sequence[OffsetChange], *, executed: bool) -> str:
    again, skipped = sum(one.runs_again for one in changes), sum(one.skipped for one in changes)
    counts = f"{many(again, 'settled offset')} to run again, {many(skipped, 'offset')} skipped"
    if executed:
        return f"reset {many(len(changes), 'partition')}: {counts}"
    return f"nothing was changed; with --execute, this resets {many(len(changes), 'partition')}: {counts}"
