"""How many rows per second are inserted into a database, in batches and one by one."""

from __future__ import annotations

from functools import partial

from tests.bench.inserts import BATCH
from tests.bench.row import Row
from tests.bench.stage import Stage
from tests.bench.statistics import Figures, Measure, figure, ratio
from tests.bench.topics import Load

WORKERS = 8
LIMIT_SECONDS = 60.0
"""The time limit of a measurement. Where single inserts take longer, their rate over this time is reported."""

ONE_BY_ONE, IN_BATCHES = "one by one", f"batches of {BATCH}"


def _measure(stage: Stage, handler: str) -> Figures:
    load = Load(name="batch", records=stage.tasks(1_000_000, 5_000))
    job = stage.job(stage.topic(load), load.records, workers=WORKERS, handler=handler, limit=LIMIT_SECONDS)
    return stage.run("processor", job)


INSERTS = Row(
    name="batch",
    work=f"rows into SQLite, one by one and by `@app.batch(size={BATCH})`, `-w {WORKERS}`",
    trials=lambda stage: {
        ONE_BY_ONE: partial(_measure, stage, "insert"),
        IN_BATCHES: partial(_measure, stage, "insert_batches"),
    },
    measures=lambda _: [
        Measure(name=ONE_BY_ONE, unit="records/s", of=figure(ONE_BY_ONE)),
        Measure(name=IN_BATCHES, unit="records/s", of=figure(IN_BATCHES)),
        Measure(name="batches / one by one", of=ratio(IN_BATCHES, ONE_BY_ONE), at_least=2),
    ],
)
