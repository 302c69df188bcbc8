"""All rows, in the order of the table."""

from __future__ import annotations

from tests.bench.row import Row
from tests.bench.rows.batch import INSERTS
from tests.bench.rows.dispatch import DISPATCH
from tests.bench.rows.exactly_once import RESULT_LATENCY, RESULTS, RESULTS_ONE_MILLISECOND
from tests.bench.rows.fairness import BESIDE, BESIDE_CASES, EVEN, EVEN_CASES_ROW, EVEN_OF_FIFTY, FETCHED
from tests.bench.rows.latency import LONE
from tests.bench.rows.members import MEMBERS
from tests.bench.rows.processes import CPU, IDLE, MEMORY, START
from tests.bench.rows.sessions import HOT, MILLION, STUCK
from tests.bench.rows.throughput import ASYNC, AVRO, NOTHING, ONE_MILLISECOND, TEN_MILLISECONDS, ZIPF
from tests.bench.rows.urgent import URGENT

ROWS: dict[str, Row] = {
    row.name: row
    for row in (
        NOTHING,
        AVRO,
        ONE_MILLISECOND,
        TEN_MILLISECONDS,
        ZIPF,
        HOT,
        ASYNC,
        CPU,
        LONE,
        BESIDE,
        BESIDE_CASES,
        EVEN,
        EVEN_OF_FIFTY,
        EVEN_CASES_ROW,
        FETCHED,
        MEMBERS,
        MEMORY,
        URGENT,
        STUCK,
        MILLION,
        INSERTS,
        RESULTS,
        RESULTS_ONE_MILLISECOND,
        RESULT_LATENCY,
        DISPATCH,
        START,
        IDLE,
    )
}
