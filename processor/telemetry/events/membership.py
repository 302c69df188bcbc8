"""Events of a consumer as a member of its group: partitions that are assigned, drained, revoked and lost."""

from __future__ import annotations

from typing import ClassVar, Literal

from processor.telemetry.events.event import Event, Level


class ConsumerJoining(Event):
    """The consumer has been joining its group for ten seconds, or the group refuses it for now. Repeated every ten
    seconds.
    """

    event: ClassVar[str] = "consumer.joining"
    level: ClassVar[Level] = "warning"

    seconds: float
    """time since it began to join"""
    reason: str


class ConsumerRejoining(Event):
    """The coordinator has assigned partitions to this consumer that it never received, because a response was lost.

    Or no member has them, because the predecessor of this consumer died between the two rounds of a rebalance. The
    consumer drains its partitions, commits, leaves the group and joins it again.
    """

    event: ClassVar[str] = "consumer.rejoining"
    level: ClassVar[Level] = "warning"

    partitions: list[str]
    """those that are not served, each as TOPIC[PARTITION]"""


class ConsumerAssigned(Event):
    """The group assigned partitions to this consumer."""

    event: ClassVar[str] = "consumer.assigned"

    partitions: list[str]
    """each as TOPIC[PARTITION]@OFFSET: the first offset to be fetched, `start` if the group has committed none"""
    settled_ahead: int
    """offsets above the commit points that the skip maps list as settled; they are skipped"""


class ConsumerRevoked(Event):
    """The group revoked partitions: this consumer drained them and committed their offsets."""

    event: ClassVar[str] = "consumer.revoked"

    partitions: list[str]
    """each as TOPIC[PARTITION]"""
    drain_seconds: float
    abandoned: int
    """tasks that were still running when the drain timed out"""
    released: int
    """waiting tasks that are left to the next owner of the partitions"""


class ConsumerDrainShortened(Event):
    """Tasks of a revoked partition get less time to finish than `--drain-timeout`, because the group evicts a member
    that takes longer than `max.poll.interval.ms` to release its partitions. Tasks that still run then are reported as
    `task.abandoned`. Raise that setting, remove it (its default is long enough), or lower `--drain-timeout`.
    """

    event: ClassVar[str] = "consumer.drain_shortened"
    level: ClassVar[Level] = "warning"

    drain_timeout_seconds: float
    """`--drain-timeout`"""
    revoke_drain_seconds: float
    """time limit for running tasks to finish when a partition is revoked"""
    poll_interval_seconds: float
    """`-X max.poll.interval.ms`"""


class ConsumerReadingOn(Event):
    """Revoked partitions take long to drain, so a second client meanwhile reads the partitions that stay.

    The consumer's own client fetches nothing until the drain has ended.
    """

    event: ClassVar[str] = "consumer.reading_on"

    partitions: list[str]
    """those that stay, each as TOPIC[PARTITION]"""


class ConsumerReadingOnFailed(Event):
    """Revoked partitions take long to drain, and the partitions that stay cannot be read meanwhile.

    Their new tasks wait until the drain has ended.
    """

    event: ClassVar[str] = "consumer.reading_on_failed"
    level: ClassVar[Level] = "warning"

    error: str


class ConsumerLost(Event):
    """This consumer lost partitions because the group had evicted it. Nothing was committed."""

    event: ClassVar[str] = "consumer.lost"
    level: ClassVar[Level] = "warning"

    partitions: list[str]
    """each as TOPIC[PARTITION]"""
    released: int
    """waiting tasks that are left to the next owner of the partitions"""
    running: int
    """tasks that were running; they run again elsewhere"""


class ConsumerLeaveUnanswered(Event):
    """This consumer has stopped, but the group's coordinator has not confirmed in time that it leaves.

    What was settled is committed, and the exit code does not change. The group waits for another member, or its
    coordinator is away. If the request to leave is lost, no other member gets this consumer's partitions until its
    session ends.
    """

    event: ClassVar[str] = "consumer.leave_unanswered"
    level: ClassVar[Level] = "warning"

    waited_seconds: float
    """how long it waited for the confirmation"""


class ConsumerLeaseLapsed(Event):
    """This consumer starts no more tasks, because its partitions may belong to another member.

    Its process or machine was suspended, or the group has not answered for most of the session timeout. It resumes once
    the group answers.
    """

    event: ClassVar[str] = "consumer.lease_lapsed"
    level: ClassVar[Level] = "warning"

    reason: Literal["asleep", "unanswered"]
    """`asleep`: the process or machine was suspended; `unanswered`: the group did not answer"""
    seconds: float
    """how long it was suspended or had no answer"""
    waiting: int
    """fetched tasks that are not started"""


class ConsumerLeaseRenewed(Event):
    """The group answered: the partitions still belong to this consumer, and it resumes."""

    event: ClassVar[str] = "consumer.lease_renewed"

    seconds: float
    """how long it started no tasks"""
