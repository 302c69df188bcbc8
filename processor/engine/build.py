"""`BUILD`: how the engine runs, compiled to C by mypyc or as Python. The source is the same."""

from __future__ import annotations

from typing import Final, Literal

from processor.engine import ledger

BUILD: Final[Literal["compiled", "pure"]] = "pure" if (ledger.__file__ or "").endswith((".py", ".pyc")) else "compiled"
