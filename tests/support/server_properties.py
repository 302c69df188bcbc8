"""The configuration of brokers for tests."""

from __future__ import annotations

from collections.abc import Mapping

PROPERTIES: Mapping[str, str] = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
    "inter.broker.listener.name": "PLAINTEXT",
    "controller.quorum.voters": "1@127.0.0.1:{controller_port}",
    "listeners": "PLAINTEXT://{host}:{port},CONTROLLER://127.0.0.1:{controller_port}",
    "advertised.listeners": "PLAINTEXT://127.0.0.1:{port}",
    "auto.create.topics.enable": "false",
    "num.partitions": "4",
    # One broker holds the only replica of each partition.
    "default.replication.factor": "1",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "2",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    # Tests should not wait for a group to gather, or long for a dead member's session to expire.
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "group.consumer.min.session.timeout.ms": "1000",
    "group.consumer.session.timeout.ms": "6000",
    "group.consumer.min.heartbeat.interval.ms": "100",
    "group.consumer.heartbeat.interval.ms": "500",
    # A killed broker can register again only when its last registration has expired (9 s by default).
    "broker.heartbeat.interval.ms": "500",
    "broker.session.timeout.ms": "3000",
    # Compaction and retention take effect within a test; topics set their own small segments.
    "log.cleaner.backoff.ms": "200",
    "log.cleaner.dedupe.buffer.size": "2097152",
    "log.cleaner.io.buffer.size": "65536",
    "log.retention.check.interval.ms": "1000",
    "log.initial.task.delay.ms": "500",
    "log.segment.delete.delay.ms": "1000",
}
"""Server properties of every broker that tests start; topics can set `segment.bytes` and similar properties."""


def server_properties(extra: Mapping[str, str], *, host: str, port: int, controller_port: int) -> dict[str, str]:
    """Return `PROPERTIES` updated with `extra`, and fill in `{host}`, `{port}` and `{controller_port}`."""
    places = {"{host}": host, "{port}": str(port), "{controller_port}": str(controller_port)}
    return {key: _fill(value, places) for key, value in {**PROPERTIES, **extra}.items()}


def _fill(value: str, places: Mapping[str, str]) -> str:
    for place, known in places.items():
        value = value.replace(place, known)
    return value
