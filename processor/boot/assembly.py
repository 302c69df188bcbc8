"""Assembles a consumer: the composition root, where Kafka and the codec are connected to the runtime."""

from __future__ import annotations

from collections.abc import Mapping

from processor.avro.schemas import shipped_schemas
from processor.boot.tokens import with_tokens
from processor.codec.avro_values import RESULT
from processor.codec.select import codec_of
from processor.codec.value_codec import ValueCodec
from processor.handlers.table import Handlers
from processor.kafka.admin import TopicAdmin, check_topics, ensure_topics
from processor.kafka.config import admin_config, sink_configs
from processor.kafka.control_topic import ControlTopic, ensure_control_topic
from processor.kafka.group_protocol import check_consumer_protocol
from processor.kafka.progress_topic import KafkaMapLog, ensure_progress_topic, policy_of
from processor.kafka.registry.consumer import ConsumerRegistry
from processor.kafka.sink import KafkaSink
from processor.kafka.source import KafkaSource
from processor.operate.checkup import is_compacted
from processor.runtime.consumer import Consumer
from processor.settings import Settings
from processor.telemetry.events import (
    ConsumerProgressTopicNotCompacted,
    ConsumerTopicCreated,
    ConsumerTopicMissing,
    Emit,
)
from processor.telemetry.spans import open_spans


def assemble(
    settings: Settings,
    app: Handlers,
    index: int,
    emit: Emit,
    *,
    fleet: str | None = None,
    replaces: bool = False,
) -> Consumer:
    """Checks the topics, creates missing dead-letter and results topics, and returns a consumer that is ready to run.

    Args:
        settings: the fleet's settings.
        app: the handlers.
        index: the consumer's number in the fleet, from 0.
        emit: receives log events.
        fleet: the unique name of the fleet that replaces the consumer if it crashes; None if there is no fleet.
        replaces: whether it takes the place of a consumer of the fleet that has exited.

    Raises:
        SettingsError: the Kafka client rejects a setting.
        BrokerError: no broker responds, the brokers deny access, or there is no token for them.
        RegistryError: the schema registry denies access, or is not a registry. An outage is tolerated.
        LoadError: a topic to consume does not exist, a schema cannot be loaded, the cluster lacks KIP-848 or
            transactions although the settings require them, or what `--tracing` needs is not installed.
    """
    spans = open_spans(settings.group) if settings.tracing else None
    codec = _codec(settings, app, emit)
    settings = with_tokens(settings, emit)
    source = KafkaSource(settings, index, emit, fleet, replaces=replaces)
    sink = KafkaSink(sink_configs(settings.bootstrap_servers, settings.kafka_config), emit)
    _prepare_topics(settings, emit)
    source.open_transactions()
    consumer = Consumer(settings, app, source, sink, codec, emit)
    if settings.control_topic is not None:
        consumer.obey(ControlTopic(settings, settings.control_topic, emit))
    consumer.write_maps_to(KafkaMapLog(settings, emit))
    if spans is not None:
        consumer.trace(spans)
    return consumer


def _codec(settings: Settings, app: Handlers, emit: Emit) -> ValueCodec:
    if settings.registry is None:
        return codec_of(app, settings.value_format, settings.schemas)
    results = settings.results_topic
    registry = ConsumerRegistry(settings.registry, emit)
    registry.check([] if results is None else [(results, shipped_schemas().by_name[RESULT])])
    return codec_of(app, settings.value_format, settings.schemas, registry, results_topic=results)


def _prepare_topics(settings: Settings, emit: Emit) -> None:
    config = admin_config(settings.bootstrap_servers, settings.kafka_config)
    admin = TopicAdmin(config, emit)  # one client: with tokens, a connection takes up to a second
    wanted = target_partitions(settings, check_topics(admin, settings.topics))
    if settings.group_protocol == "consumer":
        check_consumer_protocol(config)
    ensured = ensure_topics(
        admin, wanted, create=settings.create_topics, dead_letter_sources=dead_letter_sources(settings)
    )
    control = settings.control_topic
    if control is not None and ensure_control_topic(admin, control, create=settings.create_topics, is_written=False):
        emit(ConsumerTopicCreated(topic=control, partitions=1))
    if settings.progress_topic is not None:
        _prepare_progress_topic(admin, settings.progress_topic, emit, create=settings.create_topics)
    for topic in ensured.created:
        emit(ConsumerTopicCreated(topic=topic, partitions=wanted[topic]))
    for topic, reason in ensured.missing.items():
        emit(ConsumerTopicMissing(topic=topic, reason=reason))


def _prepare_progress_topic(admin: TopicAdmin, topic: str, emit: Emit, *, create: bool) -> None:
    ensured = ensure_progress_topic(admin, topic, create=create)
    if topic in ensured.created:
        emit(ConsumerTopicCreated(topic=topic, partitions=1))
    elif topic in ensured.missing:
        emit(ConsumerTopicMissing(topic=topic, reason=ensured.missing[topic]))
    elif not is_compacted(policy := policy_of(admin, topic)):
        emit(ConsumerProgressTopicNotCompacted(topic=topic, cleanup_policy=policy or ""))


def target_partitions(settings: Settings, partitions: Mapping[str, int]) -> dict[str, int]:
    """The dead-letter and results topics, each with the partition count of the largest topic that feeds it.

    Args:
        settings: the fleet's settings.
        partitions: partition counts of the consumed topics.
    """
    wanted: dict[str, int] = {}
    for topic, count in partitions.items():
        for target in (settings.dead_letter_topic_of(topic), settings.results_topic):
            if target is not None:
                wanted[target] = max(count, wanted.get(target, 0))
    return wanted


def dead_letter_sources(settings: Settings) -> dict[str, list[str]]:
    """The dead-letter topics, each with the consumed topics that feed it."""
    sources: dict[str, list[str]] = {}
    for topic in settings.topics:
        sources.setdefault(settings.dead_letter_topic_of(topic), []).append(topic)
    return sources
