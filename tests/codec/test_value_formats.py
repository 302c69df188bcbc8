"""A value format is one entry and one module: shown on a copy of the package, which gets a format more."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from processor.codec.select import codec_for
from processor.errors import SettingsError
from processor.options.value_formats import VALUE_FORMATS, WITH_SCHEMAS, traits_of
from tests.support.kafka_jars import PROJECT

LAST_ENTRY = '    | Annotated[Literal["bytes"], Traits(takes_text=True)]\n'
ENTRY = '    | Annotated[Literal["hex"], Traits(takes_text=True)]\n'
"""A format of the test: bytes as hexadecimal digits."""

MODULE = """
from processor.codec.bytes_values import BytesCodec
from processor.handlers.task import Content


class HexCodec(BytesCodec):
    def decode(self, record):
        return Content(bytes.fromhex(record.value().decode()))

    def encode_task(self, outgoing):
        return outgoing.payload.hex().encode()


def codec(inputs):
    return HexCodec()
"""

USE = """
import contextlib
import io
import sys

from processor.codec.messages import Outgoing
from processor.codec.select import codec_for
from tests.codec.record import GivenRecord

codec = codec_for("hex")
value = codec.encode_task(Outgoing("s1", b"\\x00\\xff", "", None))
assert value == b"00ff", value
assert codec.decode(GivenRecord(value)).payload == b"\\x00\\xff"
assert "processor.codec.avro_values" not in sys.modules  # a format does not load another one

from processor.options.option_set import entries_of
from processor.settings import Settings

assert Settings(topics=("t",), group="g", value_format="hex").value_format == "hex"
entry = next(entry for entry in entries_of(Settings) if entry.field == "value_format")
assert entry.kind.choices == ("avro", "json", "bytes", "hex"), entry.kind

from tests.support import helm_chart, option_table

assert "avro\\\\|json\\\\|bytes\\\\|hex" in option_table.table()
assert '"hex"' in helm_chart.schema()

from processor.cli.main import main

shown = io.StringIO()
with contextlib.redirect_stdout(shown), contextlib.suppress(SystemExit):
    main(["produce", "--help"])
assert "avro|json|bytes|hex" in shown.getvalue(), shown.getvalue()
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the package with the format."""
    package = shutil.copytree(PROJECT / "processor", tmp_path / "processor")
    shutil.copytree(PROJECT / "schemas", tmp_path / "schemas")
    table = package / "options" / "value_formats.py"
    source = table.read_text()
    assert LAST_ENTRY in source
    table.write_text(source.replace(LAST_ENTRY, LAST_ENTRY + ENTRY))
    (package / "codec" / "hex_values.py").write_text(MODULE)
    return tmp_path


def test_a_format_is_an_entry_and_a_module_and_everything_else_follows(copy: Path) -> None:
    """The package is imported from the copy, and the tests' support from here."""
    environment = {"PYTHONPATH": f"{copy}:{PROJECT}", "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-c", USE], cwd=copy, env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_entry_has_a_module_that_makes_its_codec() -> None:
    for name in VALUE_FORMATS:
        assert callable(import_module(f"processor.codec.{name}_values").codec), name


def test_every_module_of_values_has_an_entry() -> None:
    modules = {path.name.removesuffix("_values.py") for path in (PROJECT / "processor/codec").glob("*_values.py")}
    assert modules == set(VALUE_FORMATS)


def test_only_avro_has_schemas_and_only_bytes_is_text() -> None:
    assert WITH_SCHEMAS == "avro"
    assert [name for name, traits in VALUE_FORMATS.items() if traits.takes_text] == ["bytes"]


def test_a_format_that_does_not_exist_is_refused_by_name() -> None:
    with pytest.raises(SettingsError, match=r"^the value format must be avro, json or bytes, not 'os'$"):
        traits_of("os")
    with pytest.raises(SettingsError, match="not 'xml'"):
        codec_for("xml")  # type: ignore[arg-type]
