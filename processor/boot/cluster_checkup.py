"""The part of `processor doctor` for which a broker must respond: login, listeners, topics, rights, group and clock."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from typing import Final

from processor.boot.assembly import target_partitions
from processor.errors import AccessDenied, LoadError, ProcessorError
from processor.kafka.cluster_facts import ClusterFacts
from processor.kafka.reach import connect
from processor.operate.checkup import (
    Finding,
    TopicState,
    capacity_verdict,
    clock_verdict,
    control_verdict,
    failure,
    group_verdict,
    listeners_verdict,
    ok,
    policy_verdict,
    topic_verdict,
    warning,
)
from processor.options.bounds import bounds_of
from processor.settings import Settings

UNCHECKED: Final = "listeners, topics, rights, group and clock are not checked"

GRANT: Final = "grant the permission to this client's principal; docs/SECURITY.md lists all that run needs"

States = Mapping[str, TopicState | ProcessorError | None]
"""Topics by name: the state, the error that prevented reading it, or None for a topic that does not exist."""


class ClusterCheckup:
    """The checks of one cluster, over the connections of `facts`."""

    def __init__(self, settings: Settings, facts: ClusterFacts) -> None:
        self._settings = settings
        self._facts = facts
        self.brokers: int | None = None
        """Number of brokers of the cluster; None if none has responded."""

    def findings(self) -> Iterator[Finding]:
        """Run the checks; each finding is yielded as soon as it is available."""
        try:
            advertised = self._facts.brokers()
        except ProcessorError as error:
            yield failure("login", f"{error}; {UNCHECKED}", _login_remedy(error))
            return
        self.brokers = len(advertised)
        yield ok("login", f"accepted, with {login_of(self._settings)}")
        listeners = connect(advertised)
        yield listeners_verdict(listeners)
        if listeners and all(probe.error is not None for probe in listeners):
            return  # each further request would wait for one of the unreachable brokers
        consumed = self._states(self._settings.topics)
        yield from self._topics(consumed)
        yield from self._outputs(consumed)
        if self._settings.group_protocol == "consumer":
            yield self._protocol()
        if self._facts.reports_more:
            yield self._group()
            yield clock_verdict(self._facts.newest_times(_existing(consumed)), time.time())

    def _states(self, names: Collection[str]) -> States:
        return {name: self._state(name) for name in names}

    def _state(self, name: str) -> TopicState | ProcessorError | None:
        try:
            return self._facts.topic(name)
        except ProcessorError as error:
            return error

    def _topics(self, consumed: States) -> Iterator[Finding]:
        for name, state in consumed.items():
            if state is None:
                yield failure("topics", f"{name} does not exist", "create it, or correct --topic")
            else:
                yield _topic_finding(state)
        existing = _existing(consumed)
        partitions = sum(topic.partitions for topic in existing)
        consumers = bounds_of(self._settings.processes).least
        if existing and (capacity := capacity_verdict(partitions, consumers)) is not None:
            yield capacity

    def _outputs(self, consumed: States) -> Iterator[Finding]:
        counts = {topic.name: topic.partitions for topic in _existing(consumed)}
        wanted = target_partitions(self._settings, {name: counts.get(name, 1) for name in self._settings.topics})
        progress = self._settings.progress_topic
        if progress is not None:
            wanted[progress] = 1
        outputs = self._states(wanted)
        for name, state in outputs.items():
            yield self._missing_output(name, wanted[name]) if state is None else _topic_finding(state)
        control = self._states([self._settings.control_topic] if self._settings.control_topic is not None else [])
        yield from self._control(control)
        if self._facts.reports_more:
            existing = [topic.name for topic in _existing(outputs)]
            read = [progress] if progress is not None and progress in existing else []
            yield from self._policy(read)
            followed = [topic.name for topic in _existing(control)]
            yield from self._rights([*counts, *read, *followed], existing)

    def _policy(self, topics: Collection[str]) -> Iterator[Finding]:
        for name in topics:
            if (found := policy_verdict(name, self._facts.cleanup_policy(name))) is not None:
                yield found

    def _control(self, control: States) -> Iterator[Finding]:
        """Check the control topic, if one is set."""
        for name, state in control.items():
            if state is not None:
                yield _topic_finding(state)
                if isinstance(state, TopicState) and self._facts.reports_more:
                    yield control_verdict(name, self._facts.cleanup_policy(name))
            elif self._settings.create_topics:
                yield self._missing_output(name, 1)
            else:
                yield failure(
                    "control",
                    f"{name} does not exist, and --no-create-topics is set: run does not start without it",
                    "create it, with one partition and cleanup.policy=compact",
                )

    def _missing_output(self, name: str, partitions: int) -> Finding:
        """Judge a dead-letter, results, progress or control topic that does not exist."""
        if not self._settings.create_topics and name == self._settings.progress_topic:
            return warning(
                "topics",
                f"{name} does not exist, and --no-create-topics is set: skip maps that do not fit into commits are cut",
                "create it, with cleanup.policy=compact",
            )
        if not self._settings.create_topics:
            return warning(
                "topics",
                f"{name} does not exist, and --no-create-topics is set: what goes there waits with its session",
                "create it",
            )
        refusal = self._facts.creation_refusal(name, partitions) if self._facts.reports_more else None
        if refusal is None:
            return ok("topics", f"{name} does not exist: run creates it")
        check = "rights" if isinstance(refusal, AccessDenied) else "topics"
        return failure(check, f"{name} does not exist, and run cannot create it: {refusal}", f"create it, or {GRANT}")

    def _rights(self, topics: Collection[str], outputs: Collection[str]) -> Iterator[Finding]:
        refusals = list(self._facts.refusals(topics, outputs))
        for refusal in refusals:
            yield failure("rights", str(refusal), GRANT)
        if refusals or not (topics or outputs):
            return
        granted = [f"READ on {', '.join(topics)}"] if topics else []
        granted += [f"WRITE on {', '.join(outputs)}"] if outputs else []
        yield ok("rights", "; ".join(granted))

    def _protocol(self) -> Finding:
        try:
            self._facts.check_protocol()
        except LoadError as error:
            return failure("protocol", str(error), "set --group-protocol classic, or upgrade the brokers")
        return ok("protocol", "the cluster supports KIP-848")

    def _group(self) -> Finding:
        try:
            return group_verdict(self._facts.group(), self._settings.group_protocol)
        except AccessDenied as error:
            return failure("rights", str(error), GRANT)
        except ProcessorError as error:
            return failure("group", str(error), "see whether the brokers are healthy, and try again")


def login_of(settings: Settings) -> str:
    """Return how the client authenticates: the protocol and the mechanism."""
    config = settings.kafka_config
    protocol = str(config.get("security.protocol", "plaintext")).upper()
    mechanism = config.get("sasl.mechanism", config.get("sasl.mechanisms"))
    return f"{protocol} and {mechanism}" if protocol.startswith("SASL") and mechanism else protocol


def _existing(states: States) -> list[TopicState]:
    return [state for state in states.values() if isinstance(state, TopicState)]


def _topic_finding(state: TopicState | ProcessorError) -> Finding:
    if isinstance(state, TopicState):
        return topic_verdict(state)
    if isinstance(state, AccessDenied):
        return failure("rights", str(state), GRANT)
    return failure("topics", str(state), "see whether the brokers are healthy, and try again")


def _login_remedy(error: ProcessorError) -> str:
    if isinstance(error, AccessDenied):
        return "correct -X sasl.username, sasl.password.file and sasl.mechanism, or add the user at the brokers"
    return "compare -X security.protocol and the ssl.… settings with the listener that the brokers have at this port"
