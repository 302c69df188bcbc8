"""Scenes with task groups. A group's follow-up must be sent with its own ID once all branches succeed, or be given up.

The verdicts are read from the topics of the follow-ups and of the dead letters.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from processor import Dispatcher, Step, group
from processor.handlers.links import read_inputs
from tests.chaos.scenes import Scene, Verdict, raise_limit
from tests.support import cluster
from tests.support.ledger import Finding, Place
from tests.support.scenario import Scenario
from tests.support.until import until

GROUPS = 40
TASKS = 4
"""Tasks of each group; the last one waits."""

OPTIONS = ("-w", "16", "--commit-interval", "1", "-X", "group.instance.id=scene")
"""The options of a fleet. The successor of a killed fleet gets its partitions at once: it has the same instance ID."""


def kill_while_groups_wait(work: Scenario) -> Verdict:
    """SIGKILL after branches have arrived, some of which are not committed yet: these arrive again.

    The last branch of each group runs only afterwards. A second SIGKILL comes while the follow-ups' topic refuses them.
    Handlers end together, twice in each commit interval, so that a kill soon after that is well before the next commit.
    """
    after = cluster.create_topic(work.servers, f"{work.topic}-after", 1, max_message_bytes=100)
    with Dispatcher(work.servers, work.topic, value_format="bytes") as dispatcher:
        for n in range(GROUPS):
            chain = Step(f"b{n}", b"").then(Step(f"c{n}", b""))
            branches = [Step(f"a{n}", b""), chain, Step(f"late{n}", b"", "late")]
            dispatcher.submit(group(branches, id=f"g-{n}").then(Step(f"d{n}", b"", topic=after)))
    fleet = work.run("branch", *OPTIONS, seconds=0.5)
    until(lambda: (known := work.known_done()) and len(done(work) - known) > 10, "some of it is not committed")
    work.kill(fleet)
    fleet = work.run("branch", *OPTIONS)
    wait_for_sessions(work, (TASKS - 1) * GROUPS)
    work.go()
    wait_for_sessions(work, TASKS * GROUPS)
    fleet.wait_for("task.delivery_failed")
    until(lambda: done(work) <= work.known_done(), "all branches are committed", pause=0.05)
    work.kill(fleet)
    raise_limit(work, after)
    assert work.run("branch", *OPTIONS, "--stop-at-end").wait() == 0
    return what_followed(work, after)


def done(work: Scenario) -> set[Place]:
    """Return the places of all tasks that have run."""
    return {entry.place for entry in work.ledger.entries() if entry.succeeded}


def wait_for_sessions(work: Scenario, count: int) -> None:
    """Waits until tasks of `count` sessions have run. Each session has one task, of which several copies may run."""

    def ran() -> int:
        return len({entry.session for entry in work.ledger.entries() if entry.succeeded})

    until(lambda: ran() == count, lambda: f"{ran()} of {count} sessions have run", pause=0.05)


def what_followed(work: Scenario, after: str) -> Verdict:
    """Return the faults of the groups' follow-ups."""
    found: dict[str, list[Finding]] = defaultdict(list)
    expected = {f"g-{n}/then": [f"g-{n}/1", f"g-{n}/2/1", f"g-{n}/3"] for n in range(GROUPS)}
    ids = set()
    for record in cluster.read_all(work.servers, after):
        headers, place = cluster.headers_of(record), Place(after, 0, record.offset() or 0)
        task_id, inputs = headers["task-id"].decode(), read_inputs(headers["task-inputs"])
        ids.add(task_id)
        if task_id not in expected:
            found["another ID"].append(Finding(task_id, place))
        elif inputs != expected[task_id]:
            found["too early"].append(Finding(f"{task_id} after {inputs}", place))
    found["lost"] = missing(expected.keys() - ids, after)
    return {fault: findings for fault, findings in found.items() if findings}


def kill_before_groups_expire(work: Scenario) -> Verdict:
    """One branch of each group becomes a dead letter, and a SIGKILL comes while the other one waits for it.

    The groups are submitted once a consumer has partitions: a branch that expires before it begins does not run.
    """
    fleet = work.run("branch", *OPTIONS)
    fleet.wait_for_partitions()
    with Dispatcher(work.servers, work.topic, value_format="bytes") as dispatcher:
        for n in range(GROUPS):
            branches = [Step(f"a{n % 7}", b""), Step(f"b{n % 9}", b"", "bad")]
            dispatcher.submit(group(branches, id=f"g-{n}", expires_in=10).then(Step("d", b"")))
    work.wait_done(GROUPS)
    until(lambda: done(work) <= work.known_done(), "all branches are committed", pause=0.05)
    work.kill(fleet)
    fleet = work.run("branch", *OPTIONS)
    fleet.wait_for("fleet.started")  # the killed fleet may already have ended all groups
    work.wait_lag(0)
    assert fleet.stop() == 0
    letters = [cluster.headers_of(each) for each in cluster.read_all(work.servers, f"{work.topic}.dlq")]
    ids = {each["task-id"].decode() for each in letters if each["dlq-error-type"] == b"processor.Expired"}
    lost = missing({f"g-{n}/1" for n in range(GROUPS)} - ids, f"{work.topic}.dlq")
    return {"lost": lost} if lost else {}


def missing(ids: Iterable[str], topic: str) -> list[Finding]:
    """Return a finding for each ID that is not in the topic."""
    return [Finding(f"{task_id} was never sent", Place(topic, -1, -1)) for task_id in sorted(ids)]


GROUP_SCENES: tuple[Scene, ...] = (kill_while_groups_wait, kill_before_groups_expire)
