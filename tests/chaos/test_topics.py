"""Topics that change under a consumer: added partitions, a recreated topic, records deleted before they were read."""

from __future__ import annotations

from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from tests.support import cluster
from tests.support.ledger import Place
from tests.support.scenario import MakeScenario, Scenario
from tests.support.until import until

QUICK = ("-w", "4", "-X", "topic.metadata.refresh.interval.ms=500")


def succeeded(work: Scenario) -> int:
    """Return how many runs have succeeded, including those before the topic was recreated."""
    return sum(entry.succeeded for entry in work.ledger.entries())


def delete_records(admin: AdminClient, topic: str, partition: int, before: int) -> None:
    """Deletes records immediately, like retention: the partition then begins at `before`."""
    answers = admin.delete_records([TopicPartition(topic, partition, before)])
    for answer in answers.values():
        assert answer.result(30).low_watermark == before


def test_unread_records_that_are_deleted_are_reported_offset_by_offset(
    scenario: MakeScenario, admin: AdminClient
) -> None:
    """Retention deletes records while no consumer is running."""
    work = scenario(partitions=1)
    work.produce_sessions(40, 4)
    assert work.run("note", "--stop-at-end", *QUICK).wait() == 0
    work.produce_sessions(60, 4)
    delete_records(admin, work.topic, 0, 70)
    fleet = work.run("note", "--stop-at-end", *QUICK)
    assert fleet.wait() == 0
    (told,) = fleet.heard("consumer.offsets_missed")
    assert (told["topic"], told["partition"], told["offsets"]) == (work.topic, 0, ["40-69"])
    assert (told["missed_offsets"], told["next_offset"], told["level"]) == (30, 70, "error")
    del work.places[40:70]
    assert work.faults() == {}
    assert work.repeated() == []
    work.wait_lag(0)


def test_retention_that_overtakes_a_slow_consumer_skips_only_records_it_had_not_fetched(
    scenario: MakeScenario, admin: AdminClient
) -> None:
    """Records are deleted while the consumer runs one task and holds a few more: these run, the rest is reported."""
    work = scenario(partitions=1)
    work.produce([(b"stuck", b"first")])
    for _ in range(50):  # separate batches: the client fetches whole batches, and must not have them all
        work.produce_sessions(100, 5)
    options: tuple[str, ...] = (
        "--max-in-flight",
        "4",
        "-w",
        "1",
        "--timeout",
        "600",
        "-X",
        "queued.max.messages.kbytes=1",
    )
    options += ("-X", "fetch.message.max.bytes=1000", "-X", "queued.min.messages=1")
    fleet = work.run("wait_for_go", *options)
    fleet.wait_for("consumer.assigned")
    work.wait_begun()
    delete_records(admin, work.topic, 0, 4_500)
    work.go()
    work.wait_lag(0, 60)
    assert fleet.stop() == 0
    told = fleet.heard("consumer.offsets_missed")
    missed = {
        offset
        for event in told
        for span in event["offsets"]
        for offset in range(int(span.split("-")[0]), int(span.split("-")[-1]) + 1)
    }
    assert missed
    assert sum(event["missed_offsets"] for event in told) == len(missed)
    ran = {entry.offset for entry in work.ledger.entries() if entry.succeeded}
    assert ran | missed == set(range(5_001))
    assert not ran & missed
    assert set(range(4_500, 5_001)) <= ran
    assert work.faults(Place(work.topic, 0, offset) for offset in missed) == {}
    assert work.repeated() == []


def test_a_topic_recreated_under_the_same_name_is_processed_from_its_beginning(scenario: MakeScenario) -> None:
    work = scenario(partitions=2)
    work.produce_sessions(500, 10)
    fleet = work.run("note", *QUICK)
    work.wait_done(500)
    work.wait_lag(0)
    cluster.delete(work.servers, work.topic)
    cluster.create_topic(work.servers, work.topic, 2)
    first_life = succeeded(work)
    work.places.clear()
    work.produce_sessions(200, 10)
    until(lambda: succeeded(work) >= first_life + 200, "the new topic's tasks have run", 60, pause=0.05)
    work.wait_lag(0)
    assert fleet.stop() == 0
    assert {event["partition"] for event in fleet.heard("consumer.offsets_rewound")} <= {0, 1}


def test_added_partitions_are_consumed(scenario: MakeScenario) -> None:
    work = scenario(partitions=1)
    work.produce_sessions(200, 10)
    fleet = work.run("note", *QUICK)
    work.wait_done(200)
    cluster.grow(work.servers, work.topic, 4)
    for partition in (1, 2, 3):
        work.produce([(b"s%d" % n, b"") for n in range(20)], partition=partition)
    work.wait_done(260)
    work.wait_lag(0)
    assert fleet.stop() == 0
    assert work.faults() == {}
    assert work.repeated() == []
