"""`processor control workers`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from processor.boot.tokens import with_tokens
from processor.cli.control.author import author, now
from processor.cli.control.selection import ControlOptions
from processor.cli.output import note
from processor.errors import SettingsError
from processor.kafka.control_topic import commands_of, send_command
from processor.observe.wording import many
from processor.options.connection import ConnectionOptions
from processor.options.option import Argument, Option
from processor.runtime.commands import WORKERS, WorkersOrder


@dataclass(frozen=True, kw_only=True)
class WorkersOptions(ControlOptions):
    """A number of workers, or the end of one that was set."""

    count: Annotated[int | None, Argument("Workers of each consumer.", metavar="N", at_least=1)] = None
    off: Annotated[bool, Option("Return to the number that each consumer was started with.")] = False

    def check_together(self) -> None:
        """Refuse options with neither or both of these.

        Raises:
            SettingsError: the options say nothing, or contradict each other.
        """
        if (self.count is not None) == self.off:
            raise SettingsError("give either N, the number of workers, or --off")
        super().check_together()


def workers(connection: ConnectionOptions, options: WorkersOptions) -> int:
    """Set the number of workers of each consumer of the group, in place of its --workers.

    The command acts at once and needs no rebalance. A worker that is removed first
    finishes the tasks that it has taken. The number survives restarts of the fleet
    until --off. The control topic is created if it is missing.
    """
    connection = with_tokens(connection, lambda _: None)
    topic, group = options.control_topic, options.group
    if options.count is not None:
        send_command(connection, topic, group, WORKERS, WorkersOrder(options.count, now(), author()))
        note(f"set for group {group}: {many(options.count, 'worker')} in each consumer")
        return 0
    was_set = commands_of(connection, topic, group).workers is not None
    send_command(connection, topic, group, WORKERS, None)
    if was_set:
        note(f"ended for group {group}: each consumer has its own number of workers again")
    else:
        note(f"group {group} has no number of workers set")
    return 0
