"""The options that select a group, and topics and partitions of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from processor.cli.output import note
from processor.errors import LoadError
from processor.kafka.group_view import GroupView
from processor.operate.partition_view import PartitionView, unread
from processor.operate.resets import selection_fault, selection_of
from processor.options.names import group_fault
from processor.options.option import Option, Panel
from processor.runtime.ports import Partition

GroupOption = Annotated[str, Option("Consumer group.", Panel.KAFKA, short="-g", rule=group_fault)]

SelectionOption = Annotated[
    list[str],
    Option(
        "Topic, or one partition of it; repeatable.",
        Panel.KAFKA,
        short="-t",
        metavar="TOPIC[:PARTITION]",
        rule=selection_fault,
        default_shown="all that the group has committed",
    ),
]


def selected(view: GroupView, selections: Sequence[str]) -> list[PartitionView]:
    """Return the selected partitions; all of the group without a selection. Report skip maps that cannot be read.

    Raises:
        LoadError: a topic or a partition does not exist, or the group has committed nothing and none is named.
    """
    wanted = [selection_of(text) for text in selections]
    topics = list(dict.fromkeys(selection.topic for selection in wanted))
    counts = view.require(topics)
    for topic, number in wanted:
        if number is not None and number >= counts[topic]:
            raise LoadError(f"{topic} has no partition {number}: they are 0 to {counts[topic] - 1}")
    topics = topics or view.topics()
    if not topics:
        raise LoadError(f"group {view.group} has committed nothing at {view.servers}: name the topics with -t")
    whole = {topic for topic, number in wanted if number is None} if wanted else set(topics)
    single = {Partition(topic, number) for topic, number in wanted if number is not None}
    found = [one for one in view.look(topics) if one.partition.topic in whole or one.partition in single]
    for reason in unread(found):
        note(f"processor: {reason}")
    return found
