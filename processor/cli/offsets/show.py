"""`processor offsets show`: shows the committed offsets of a group."""

from __future__ import annotations

from processor.boot.tokens import with_tokens
from processor.cli.offsets.selection import GroupOption, SelectionOption, selected
from processor.cli.tables import Output, print_json, print_lines, table
from processor.kafka.group_view import GroupView
from processor.operate.lag import size
from processor.operate.partition_view import PartitionView
from processor.operate.resets import GroupOffset, OffsetsReport
from processor.options.connection import ConnectionOptions

HEADINGS = ("partition", ">start", ">committed", ">end", ">lag", ">done ahead", ">ranges", ">metadata")


def show(
    connection: ConnectionOptions,
    group: GroupOption,
    topic: SelectionOption = [],  # noqa: B006 — read only
    output: Output = "table",
) -> int:
    """Show the offsets that a group has committed, and the skip map in each commit."""
    with GroupView(with_tokens(connection, lambda _: None), group) as view:
        report = OffsetsReport(group=group, partitions=[_offset(one) for one in selected(view, topic)])
    if output == "json":
        print_json(report)
    else:
        print_lines(table(HEADINGS, [_cells(one) for one in report.partitions]))
    return 0


def _offset(view: PartitionView) -> GroupOffset:
    ranges = view.settled_ranges()
    return GroupOffset(
        topic=view.partition.topic,
        partition=view.partition.number,
        start=view.start,
        committed=view.committed,
        end=view.end,
        lag=view.lag,
        done_ahead=size(ranges),
        ranges=len(ranges),
        metadata_characters=len(view.metadata),
    )


def _cells(one: GroupOffset) -> list[str]:
    committed = "–" if one.committed is None else f"{one.committed:,}"
    numbers = (one.end, one.lag, one.done_ahead, one.ranges, one.metadata_characters)
    return [f"{one.topic}[{one.partition}]", f"{one.start:,}", committed, *(f"{number:,}" for number in numbers)]
