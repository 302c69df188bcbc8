"""Which modules of the engine a compiled wheel contains as C, from the hook `mypyc` in pyproject.toml."""

from __future__ import annotations

import tomllib
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, Final

import processor.engine
from tests.support.kafka_jars import PROJECT

_WHEEL: Final = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
HOOK: Final[dict[str, Any]] = _WHEEL["hooks"]["mypyc"]
MODULES: Final = {module.name for module in iter_modules(processor.engine.__path__)}
COMPILED: Final = {Path(file).stem for file in HOOK["include"]}
