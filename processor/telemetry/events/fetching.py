"""Events of what is fetched: pauses of a partition, and tasks that are set aside and read again."""

from __future__ import annotations

from typing import ClassVar, Literal

from processor.telemetry.events.event import Event, Level


class ConsumerFetchPaused(Event):
    """A partition has more than its share of what is fetched ahead; the client stops fetching it for a while."""

    event: ClassVar[str] = "consumer.fetch_paused"
    level: ClassVar[Level] = "debug"

    topic: str
    partition: int
    fetched_ahead: int
    """records of the partition that are fetched and not in flight yet"""


class ConsumerFetchResumed(Event):
    """A partition that was paused has room again; the client resumes fetching it."""

    event: ClassVar[str] = "consumer.fetch_resumed"
    level: ClassVar[Level] = "debug"

    topic: str
    partition: int
    fetched_ahead: int
    """records of the partition that are fetched and not in flight yet"""


Reason = Literal["many tasks", "delays"]


class ConsumerSetAside(Event):
    """Sessions with very many tasks fill a partition, or many tasks have long delays.

    The consumer keeps only the offsets of most of these tasks, and reads their records again in time. Logged once,
    until no task of the partition is set aside any more.
    """

    event: ClassVar[str] = "consumer.set_aside"

    topic: str
    partition: int
    tasks: int
    """how many at first"""
    because: Reason
    """`many tasks`: few sessions have very many tasks; `delays`: many tasks have long delays"""


class ConsumerRecallFailed(Event):
    """Tasks that were set aside could not be read again. The read is tried again, and their sessions wait."""

    event: ClassVar[str] = "consumer.recall_failed"
    level: ClassVar[Level] = "warning"

    error: str
    set_aside: int
    """tasks of which only the offset is kept"""
    topic: str | None = None
    """null if the client cannot read at all"""
    partition: int | None = None
    """the partition that cannot be read; the others go on"""


class ConsumerLookBackFailed(Event):
    """The log could not be searched for groups that were complete before their partition came to this consumer.

    A branch that has arrived again waits meanwhile. Logged once for each cause, and again after a while.
    """

    event: ClassVar[str] = "consumer.look_back_failed"
    level: ClassVar[Level] = "warning"

    topic: str
    partition: int
    error: str
    joins: int
    """groups that were to be looked up"""
    retries: bool
    """whether it is tried again: not after an internal error, nor if the groups wait no longer"""
