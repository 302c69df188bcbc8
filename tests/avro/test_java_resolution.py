"""Schema resolution compared with the Avro project's Java library: both read the same value, or both reject it."""

from __future__ import annotations

import json
import re
import subprocess
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from processor.avro.fault import Fault
from processor.avro.resolution import Resolution
from tests.avro.avro_types import pairs, values_of
from tests.support import producers

Case = tuple[Any, Any, bytes]

CASES = 400

OTHER_RECORD = re.compile("written as [ABC], (read as [ABC]|which is not a branch of the reader's union of .*)")
"""The specification requires equal names or an alias; Java reads any record as any other."""

SAME_FIELD = "!Duplicate field "
"""How Java rejects a writer with fields of both the name and the alias of a reader's field. The specification does not
define which of the two is read; we read the one with the name."""

SECONDS = 200.0


def collected() -> list[Case]:
    """Pairs of schemas with a value of the writer's schema, nearly the same in every run.

    Hypothesis also draws constants of the modules that are loaded.
    """
    cases: list[Case] = []

    @settings(max_examples=CASES, database=None, derandomize=True, deadline=None, suppress_health_check=[*HealthCheck])
    @given(pairs(), st.data())
    def collect(pair: tuple[Any, Any], data: st.DataObject) -> None:
        stream = BytesIO()
        fastavro.schemaless_writer(stream, fastavro.parse_schema(pair[0]), data.draw(values_of(pair[0])))
        cases.append((*pair, stream.getvalue()))

    collect()
    return cases


def asked_of_java(cases: list[Case]) -> list[str]:
    folder, command = producers.command_of("java")
    lines = [json.dumps({"writer": w, "reader": r, "value": value.hex()}) for w, r, value in cases]
    program = Path(__file__).with_name("Resolve.java")
    ended = subprocess.run(
        [*command[:-1], str(program)],
        cwd=folder,
        input="\n".join(lines),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()


def ours(writer: Any, reader: Any, value: bytes) -> Any:
    try:
        return Resolution(writer, reader).read(value, 0)
    except Fault as fault:
        return fault


@pytest.mark.timeout(600)  # the first time the producer is built, whose jars these are
def test_java_reads_the_same_value_or_rejects_it_too() -> None:
    try:
        producers.command_of("java")
    except producers.ToolMissing as missing:
        pytest.skip(str(missing))
    cases = collected()
    answers = asked_of_java(cases)
    assert len(answers) == len(cases)
    read = 0
    for (writer, reader, value), answer in zip(cases, answers, strict=True):
        seen = ours(writer, reader, value)
        if isinstance(seen, Fault) and OTHER_RECORD.fullmatch(seen.reason):
            continue
        if answer.startswith(SAME_FIELD) and not isinstance(seen, Fault):
            continue
        case = f"{json.dumps(writer)} as {json.dumps(reader)}: {value.hex()}; Java says {answer}"
        assert isinstance(seen, Fault) == answer.startswith("!"), f"{case}, we say {seen}"
        if not answer.startswith("!"):
            read += 1
            assert Resolution(reader).read(bytes.fromhex(answer), 0) == seen, case
    assert CASES / 4 < read < CASES
