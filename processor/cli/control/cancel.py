"""`processor control cancel`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from processor.boot.tokens import with_tokens
from processor.cli.control.author import author, now
from processor.cli.control.selection import ControlOptions
from processor.cli.output import note
from processor.engine.cancels import Cancel, CancelTarget
from processor.errors import ProcessorError, SettingsError
from processor.kafka.control_topic import commands_of, send_command, send_commands
from processor.operate.moments import duration_fault, seconds_of
from processor.options.connection import ConnectionOptions
from processor.options.option import Option


@dataclass(frozen=True, kw_only=True)
class CancelOptions(ControlOptions):
    """The target of a cancellation, and its effect."""

    task: Annotated[str | None, Option("The task with this ID.", metavar="ID")] = None
    session: Annotated[
        str | None, Option("The tasks with this record key that were produced before, in all topics of the group.")
    ] = None
    name: Annotated[str | None, Option("Only those of the session with this name.")] = None
    dead_letter: Annotated[bool, Option("Send them to the dead-letter topic, as processor.Cancelled.")] = False
    for_: Annotated[
        str,
        Option(
            "How long the cancellation is in force, such as 90s, 15m, 2h or 7d.",
            metavar="DURATION",
            rule=duration_fault,
        ),
    ] = "24h"
    off: Annotated[bool, Option("End the cancellation: tasks that are not settled yet run.")] = False

    def check_together(self) -> None:
        """Refuse options without a task or a session, with both, or with a name and no session.

        Raises:
            SettingsError: the options name nothing, or more than one thing, or contradict each other.
        """
        if (self.task is None) == (self.session is None):
            raise SettingsError("give either --task or --session")
        if self.name is not None and self.session is None:
            raise SettingsError("--name needs --session: it selects among the tasks of a session")
        if self.off and self.dead_letter:
            raise SettingsError("--off ends a cancellation, and --dead-letter begins one: give one of them")
        super().check_together()

    @property
    def target(self) -> CancelTarget:
        """The target that the options name."""
        if self.session is None:
            return CancelTarget("task", self.task or "")
        return CancelTarget("session", self.session, self.name)


def cancel(connection: ConnectionOptions, options: CancelOptions) -> int:
    """Settle a task, or all tasks of a session produced until now, without running them.

    Waiting tasks are settled when it is their turn in their session. A running
    handler gets TaskCancelled, or asyncio.CancelledError if it is async, and its
    task is not attempted again. Tasks that would follow are not sent.

    The command acts at once. The control topic is created if it is missing.
    """
    connection = with_tokens(connection, lambda _: None)
    topic, group, target = options.control_topic, options.group, options.target
    if options.off:
        was_in_force = target in commands_of(connection, topic, group).cancels
        send_command(connection, topic, group, target, None)
        note(f"{'ended' if was_in_force else 'there was none'} for group {group}: cancellation of {_described(target)}")
        return 0
    since = now()
    until = since + round(seconds_of(options.for_) * 1000)
    send_command(connection, topic, group, target, Cancel(since, author(), until, options.dead_letter))
    note(f"cancelled for group {group}, for {options.for_}: {_described(target)}")
    _tidy(connection, topic, group)
    return 0


def _tidy(connection: ConnectionOptions, topic: str, group: str) -> None:
    """Removes the records of cancellations that are over. If the principal may not read the topic, they remain."""
    try:
        over = commands_of(connection, topic, group).over
        if over:
            send_commands(connection, topic, group, dict.fromkeys(over))
    except ProcessorError:
        return


def _described(target: CancelTarget) -> str:
    name = f", only tasks named {target.name!r}" if target.name is not None else ""
    return f"{target.kind} {target.text}{name}"
