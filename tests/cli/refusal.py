"""What a refused command line prints: one line on stderr, and nothing else."""

from __future__ import annotations

import pytest

from processor.cli.main import main


def refused(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 2) -> str:
    assert main(arguments) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("processor: ")
    assert err.count("\n") == 1
    return err.removeprefix("processor: ").rstrip()
