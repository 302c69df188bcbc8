"""The stage on which the arms run: topics are filled once, and each measurement has its own process and group."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from processor.kafka.config import consumer_config
from processor.settings import Settings
from tests.bench.arms.job import MARK, Job
from tests.bench.competitors import ARMS, interpreter
from tests.bench.statistics import Figures
from tests.bench.topics import Load, make
from tests.support.cluster import SECONDS, admin_of
from tests.support.kafka_jars import PROJECT
from tests.support.lifeline import die_with_parent

SPARE_SECONDS = 60.0
"""The time that an arm may take beyond the measured time: to start, to join, and to read its memory at the end."""


WARM = 100_000
"""A topic with at least this many records is read once before anything is measured on it."""

FROM_THE_BEGINNING = {"auto.offset.reset": "earliest"}


class ArmFailed(Exception):
    """An arm did not report its result; the message has its last output."""


class Stage:
    """One run of the benchmark.

    Args:
        servers: the broker.
        folder: the folder for files that arms write.
        scale: the share of the full number of tasks, and of the full time, to measure.
        arms: the chosen arms.
        say: called with progress messages.
    """

    def __init__(
        self, servers: str, folder: Path, *, scale: float, arms: tuple[str, ...], say: Callable[[str], None]
    ) -> None:
        self.servers = servers
        self.folder = folder
        self.arms = arms
        self.versions: dict[str, str] = {}
        self.say = say
        self._scale = scale
        self._topics: dict[Load, str] = {}
        self._prefix = f"bench-{uuid.uuid4().hex[:8]}-"

    def tasks(self, full: int, least: int = 500) -> int:
        """Return `full` scaled down to this run's scale, but at least `least`, unless `full` is less."""
        return max(min(least, full), int(full * self._scale))

    def seconds(self, full: float, least: float = 1.0) -> float:
        """Scale a time in the same way."""
        return max(min(least, full), full * self._scale)

    def topic(self, load: Load) -> str:
        """Return the name of the topic that holds this load; the first call creates and fills the topic."""
        if load not in self._topics:
            name = self.name(load.name)
            if load.records:
                self.say(f"filling {name}: {load.records:,} records")
            make(self.servers, name, load)
            self._topics[load] = name
            if load.records >= WARM:
                # Otherwise the first arm would have the disadvantage that the broker has never read this topic.
                self.run("consume", self.job(name, load.records))
        return self._topics[load]

    def name(self, what: str) -> str:
        """A unique name for a topic."""
        return f"{self._prefix}{what}-{uuid.uuid4().hex[:4]}"

    def delete_topics(self) -> None:
        """Deletes all topics of this run, and topics named after them, from a broker that keeps running."""
        admin = admin_of(self.servers)
        made = [name for name in admin.list_topics(timeout=SECONDS).topics if name.startswith(self._prefix)]
        if made:
            for deleted in admin.delete_topics(made).values():
                deleted.exception(SECONDS)

    def job(self, topic: str, tasks: int, **more: Any) -> Job:
        """A job in a unique group."""
        group = f"{topic}-{uuid.uuid4().hex[:8]}"
        settings = Settings(topics=(topic,), group=group, bootstrap_servers=self.servers)
        # The processor decides itself where to begin; a plain consumer loop needs this setting.
        client = {key: str(value) for key, value in consumer_config(settings, 0).items()} | FROM_THE_BEGINNING
        return Job(self.servers, topic, group, tasks, **{"client": client, **more})

    def run(self, arm: str, job: Job, beside: Callable[[], None] | None = None) -> Figures:
        """Runs an arm to its end, and calls `beside` in this process at the same time.

        Raises:
            ArmFailed: the arm reported no figures.
        """
        python = interpreter(ARMS[arm], self.say) if arm in ARMS else Path(sys.executable)
        errors = self.folder / f"{arm}.log"
        with errors.open("w") as log:
            process = subprocess.Popen(
                [str(python), "-m", f"tests.bench.arms.{arm}"],
                cwd=PROJECT,
                env={**environment(job), "TMPDIR": str(self.folder)},  # some arms leave files behind
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                preexec_fn=die_with_parent(),
            )
            out = _output(process, job.limit + job.linger + SPARE_SECONDS, beside)
        told = [line.removeprefix(MARK) for line in out.splitlines() if line.startswith(MARK)]
        if not told:
            said = errors.read_text().strip().splitlines() or ["it said nothing"]
            # The processor's log ends with statistics; the error is in an earlier line.
            worst = [line for line in said if '"level":"error"' in line] or said
            raise ArmFailed(f"{arm} measured nothing (exit code {process.returncode}): {worst[-1][:500]}")
        figures = msgspec.json.decode(told[-1], type=dict[str, Any])
        self.versions[arm] = figures.pop("versions")
        return figures


def environment(job: Job) -> Mapping[str, str]:
    """Return an arm's environment: this process's own without any options of the processor, and the job."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PROCESSOR_")}
    return {**inherited, **job.to_environment(), "PYTHONPATH": str(PROJECT)}


def _output(process: subprocess.Popen[str], seconds: float, beside: Callable[[], None] | None) -> str:
    try:
        if beside is not None:
            beside()
        return process.communicate(timeout=seconds)[0] or ""
    except subprocess.TimeoutExpired:
        process.kill()
        return process.communicate()[0] or ""
    finally:
        process.kill()
        process.wait()
