"""Events of commits: refused and delayed ones, skip maps that do not fit, and committed offsets that no longer hold."""

from __future__ import annotations

from typing import ClassVar

from processor.telemetry.events.event import Event, Level


class ConsumerCommitFailed(Event):
    """The broker refused a commit; the next one retries it. One reason is logged at most once in ten seconds."""

    event: ClassVar[str] = "consumer.commit_failed"
    level: ClassVar[Level] = "warning"

    error: str
    partitions: list[str]
    """each as TOPIC[PARTITION]"""


class ConsumerCommitsRerouted(Event):
    """A rebalance waits for another member and delays this consumer's commits.

    Until the rebalance is over, the consumer commits by transactions.
    """

    event: ClassVar[str] = "consumer.commits_rerouted"

    held_seconds: float
    """time for which a commit had no response"""
    transactional_id: str


class ConsumerCommitsHeld(Event):
    """A rebalance delays this consumer's commits, and it cannot commit by transactions.

    Tasks that settle before the rebalance is over run again if this consumer dies meanwhile. A stop waits for the end
    of the rebalance within the drain timeout.
    """

    event: ClassVar[str] = "consumer.commits_held"
    level: ClassVar[Level] = "warning"

    error: str
    """why a transaction is not possible"""
    transactional_id: str


class ConsumerSkipMapRefused(Event):
    """The brokers refuse commit metadata of this length (`offset.metadata.max.bytes`); this partition's skip maps are
    shorter from now on. Offsets are committed as before. Raise that setting on the brokers: tasks that a shorter map
    leaves out run again after a crash.
    """

    event: ClassVar[str] = "consumer.skip_map_refused"
    level: ClassVar[Level] = "warning"

    topic: str
    partition: int
    refused_characters: int
    """the length of the metadata that was refused"""


class ConsumerSkipMapIgnored(Event):
    """The metadata of a committed offset is not a valid skip map for it: tasks settled above that offset run again.

    If the map reaches beyond the end of the partition, it is about a topic that was recreated, or about lost records.
    """

    event: ClassVar[str] = "consumer.skip_map_ignored"
    level: ClassVar[Level] = "warning"

    topic: str
    partition: int
    offset: int
    """the committed offset"""
    reason: str


class ConsumerSkipMapCut(Event):
    """A skip map did not fit into the commit's metadata: after a crash, settled tasks that it leaves out run again.
    While groups wait, those below the oldest unsettled task do not: the commit notes how far every task is settled.
    """

    event: ClassVar[str] = "consumer.skip_map_cut"
    level: ClassVar[Level] = "warning"

    topic: str
    partition: int
    kept_until: int
    """the offset below which the map is complete"""
    settled_until: int
    """the offset after the highest settled one"""


class ConsumerProgressTopicFailed(Event):
    """A skip map that does not fit into a commit's metadata could not be written to `--progress-topic`.

    Commits continue with shorter maps; after a crash, tasks that these leave out run again. The topic is tried again
    within a minute. Logged once until a map has been written again.
    """

    event: ClassVar[str] = "consumer.progress_topic_failed"
    level: ClassVar[Level] = "warning"

    topic: str
    error: str


class ConsumerProgressTopicNotCompacted(Event):
    """The cleanup policy of `--progress-topic` is not `compact`.

    Retention may delete a skip map that a commit refers to; after a crash, the tasks in it would run again. Set the
    topic's `cleanup.policy` to `compact`.
    """

    event: ClassVar[str] = "consumer.progress_topic_not_compacted"
    level: ClassVar[Level] = "warning"

    topic: str
    cleanup_policy: str


class ConsumerOffsetsRewound(Event):
    """The offsets of a partition moved backwards: its topic was recreated, or the group's offsets were reset."""

    event: ClassVar[str] = "consumer.offsets_rewound"
    level: ClassVar[Level] = "warning"

    topic: str
    partition: int
    expected_offset: int | None
    offset: int
    """where the partition continues"""
    discarded: int
    """waiting tasks of the earlier offsets that are dropped"""


class ConsumerOffsetsMissed(Event):
    """Retention deleted records before this consumer read them, or read them again. Their tasks never ran."""

    event: ClassVar[str] = "consumer.offsets_missed"
    level: ClassVar[Level] = "error"

    topic: str
    partition: int
    missed_offsets: int
    """how many; some may never have held a record, which cannot be determined any more"""
    offsets: list[str]
    """the lowest of them, as FIRST-LAST or OFFSET; at most a hundred entries"""
    next_offset: int
    """where the partition continues"""
