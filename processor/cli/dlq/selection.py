"""The options that select dead letters, and the function that identifies the task of a letter."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Annotated, Final

from processor.errors import DecodeError
from processor.handlers.task import NO_CONTENT, Identity, identity_of
from processor.operate.letter_filter import Identify, LetterFilter, condition_fault, condition_of
from processor.operate.letters import Letter
from processor.operate.moments import moment_fault, moment_of
from processor.options.names import group_fault, topic_fault
from processor.options.option import Option, Panel
from processor.options.option_set import OptionSet
from processor.runtime.ports import Codec

PROGRESS_GROUP: Final = "processor-dlq"


@dataclass(frozen=True, kw_only=True)
class DeadLetterOptions(OptionSet):
    """A dead-letter topic, and the group whose commits record which letters are dealt with."""

    topic: Annotated[str, Option("Dead-letter topic, such as orders.dlq.", Panel.KAFKA, short="-t", rule=topic_fault)]
    progress_group: Annotated[
        str,
        Option(
            "Consumer group whose commits note which letters are dealt with.",
            Panel.KAFKA,
            metavar="GROUP",
            rule=group_fault,
        ),
    ] = PROGRESS_GROUP


@dataclass(frozen=True, kw_only=True)
class SelectionOptions(DeadLetterOptions):
    """The conditions that select letters of the topic."""

    where: Annotated[
        tuple[str, ...],
        Option(
            "Condition; repeatable, and all must hold. Fields: error-type, error-message (a part of it), name, "
            "session, id, group, topic, partition, offset, header.NAME.",
            metavar="FIELD=VALUE",
            rule=condition_fault,
        ),
    ] = ()
    since: Annotated[
        str | None,
        Option("Only letters that failed at or after this time.", metavar="TIME", rule=moment_fault),
    ] = None
    until: Annotated[
        str | None, Option("Only letters that failed before this time.", metavar="TIME", rule=moment_fault)
    ] = None

    def letter_filter(self) -> LetterFilter:
        """Return the filter; ages count back from now."""
        now = time.time()
        return LetterFilter(
            [condition_of(text) for text in self.where],
            moment_of(self.since, now).milliseconds if self.since is not None else None,
            moment_of(self.until, now).milliseconds if self.until is not None else None,
        )


def identify_with(codec: Codec) -> Identify:
    """Return a function that returns the ID, the session and the name of a letter's task.

    If the value cannot be decoded, these are taken from the headers and the key alone.
    """

    def identify(letter: Letter) -> Identity:
        try:
            return identity_of(letter, codec.decode(letter))
        except DecodeError:
            return identity_of(letter, NO_CONTENT)

    return identify
