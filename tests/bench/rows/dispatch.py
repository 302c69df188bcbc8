"""How fast a program submits tasks."""

from __future__ import annotations

from tests.bench.row import Row
from tests.bench.stage import Stage
from tests.bench.statistics import Figures, Measure, figure
from tests.bench.topics import Load


def _measure(stage: Stage) -> Figures:
    topic = stage.topic(Load(name="dispatched", records=0))
    return stage.run("dispatch", stage.job(topic, stage.tasks(400_000)))


DISPATCH = Row(
    name="dispatch",
    work="`Dispatcher.submit`, 2,000 tasks",
    trials=lambda stage: {"dispatcher": lambda: _measure(stage)},
    measures=lambda _: [
        Measure(name="to hand them over", unit="ms", of=figure("dispatcher", "burst_ms"), at_most=20),
        Measure(name="sustained, acknowledged", unit="tasks/s", of=figure("dispatcher"), at_least=100_000),
    ],
)
