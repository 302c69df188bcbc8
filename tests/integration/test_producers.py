"""Tasks produced by the programs of `docs/producers/`: the same bytes and the same partitions as this package's."""

from __future__ import annotations

import subprocess

import pytest

from processor.codec.avro_values import AvroCodec
from processor.codec.messages import Outgoing
from processor.kafka.dispatcher import Dispatcher
from tests.conftest import MakeTopic
from tests.support import cluster, producers
from tests.support.broker import Broker

CREATED_AT = 1_700_000_000_000
SESSIONS = 50
PARTITIONS = 7
"""No power of two, so that another hash or another way to fold it shows."""
SECONDS = 60.0


def send_by(language: str, broker: Broker, topic: str) -> None:
    try:
        folder, command = producers.command_of(language)
    except producers.ToolMissing as missing:
        pytest.skip(str(missing))
    ended = subprocess.run(
        [*command, broker.bootstrap_servers, topic, str(CREATED_AT)],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.parametrize("language", producers.LANGUAGES)
def test_another_language_sends_the_same_bytes_to_the_same_partitions(
    language: str, broker: Broker, topic: MakeTopic
) -> None:
    theirs, ours = topic(PARTITIONS), topic(PARTITIONS)
    send_by(language, broker, theirs)
    codec = AvroCodec(clock=lambda: CREATED_AT)
    expected: dict[bytes | None, tuple[int | None, bytes | None]] = {}
    with Dispatcher(broker.bootstrap_servers, ours) as dispatcher:
        for number in range(SESSIONS):
            session = f"session-{number}"
            task = Outgoing(session, {"amount": number}, "charge", f"t-{number}")
            sent = dispatcher.submit(task.session_id, task.payload, task.name, id=task.id)
            expected[session.encode()] = sent.result(SECONDS).partition, codec.encode_task(task)
    found = cluster.read_all(broker.bootstrap_servers, theirs)
    assert {record.key(): (record.partition(), record.value()) for record in found} == expected
    assert len(found) == SESSIONS
    assert len({partition for partition, _ in expected.values()}) == PARTITIONS
