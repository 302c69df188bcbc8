"""The options for the group of a control command, and for the target of a pause."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from processor.engine.pauses import ALL, Target
from processor.errors import SettingsError
from processor.operate.resets import selection_fault, selection_of
from processor.options.names import group_fault, topic_fault
from processor.options.option import Option, Panel
from processor.options.option_set import OptionSet


@dataclass(frozen=True, kw_only=True)
class ControlOptions(OptionSet):
    """A group and its control topic."""

    control_topic: Annotated[
        str,
        Option("The group's control topic, as in its --control-topic.", Panel.KAFKA, metavar="TOPIC", rule=topic_fault),
    ]
    group: Annotated[str, Option("Consumer group.", Panel.KAFKA, short="-g", rule=group_fault)]


def _partition_fault(text: str) -> str | None:
    fault = selection_fault(text)
    if fault is None and selection_of(text).number is None:
        return f"{text!r} must be TOPIC:PARTITION"
    return fault


@dataclass(frozen=True, kw_only=True)
class TargetOptions(ControlOptions):
    """The target of a pause: exactly one session, name or partition, or the whole group."""

    session: Annotated[str | None, Option("The session with this record key, in all topics of the group.")] = None
    name: Annotated[str | None, Option("All tasks of this name.")] = None
    partition: Annotated[
        str | None, Option("All tasks of this partition.", metavar="TOPIC:PARTITION", rule=_partition_fault)
    ] = None
    all: Annotated[bool, Option("All tasks of the group.")] = False

    def check_together(self) -> None:
        """Refuse options that name no target, or several.

        Raises:
            SettingsError: the options name nothing, or more than one thing.
        """
        if len(self._targets()) != 1:
            raise SettingsError("give exactly one of --session, --name, --partition and --all")
        super().check_together()

    @property
    def target(self) -> Target:
        """The target that the options name."""
        return self._targets()[0]

    def _targets(self) -> list[Target]:
        targets = [Target("session", self.session)] if self.session is not None else []
        targets += [Target("name", self.name)] if self.name is not None else []
        if self.partition is not None:
            topic, number = selection_of(self.partition)
            targets.append(Target("partition", f"{topic}:{number}"))
        return [*targets, ALL] if self.all else targets
