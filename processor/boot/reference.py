"""Loads an object of the application, given as `module:attribute`. Every error is one sentence."""

from __future__ import annotations

import ast
import difflib
import importlib
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from processor.errors import LoadError
from processor.telemetry.blame import described, place


class Reference(NamedTuple):
    """An object that a user names as `module:attribute`."""

    text: str
    option: str
    """The argument or option that names it, for errors: `APP`, `--oauth-callback`."""
    example: str
    """An example of an attribute's name, for errors."""

    def __str__(self) -> str:
        return f"{self.option} {self.text!r}"

    def load(self) -> object:
        """Imports the object, with the current folder on the import path.

        Raises:
            LoadError: there is no such module or attribute, or the import fails. If the application's code raised an
                exception, it is the cause.
        """
        module_name, colon, path = self.text.partition(":")
        if not colon or not module_name or not path:
            raise LoadError(
                f"{self} must be MODULE:ATTRIBUTE, such as tasks:{self.example}{self._suggestion(self.text)}"
            )
        return self._attribute(self._module(module_name), path)

    def _suggestion(self, text: str) -> str:
        name = text.strip().rstrip(":").removesuffix(".py").replace("/", ".").strip(".")
        if not name or not text.partition(":")[0] or not all(part.isidentifier() for part in name.split(".")):
            return ""
        found = _attributes_in(Path(*name.split(".")), self.example)
        return f"; for example {' or '.join(f'{name}:{attribute}' for attribute in found or [self.example])}"

    def _module(self, name: str) -> ModuleType:
        _make_current_folder_importable()
        if name.endswith(".py") or "/" in name:
            raise LoadError(f"{self} must name a module, not a file{self._suggestion(name)}")
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            raise LoadError(self._missing(name, error)) from error
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # also sys.exit() at a module's top level
            raise LoadError(f"importing {name!r} for {self.option} failed: {described(error)}{place(error)}") from error

    def _missing(self, name: str, error: ModuleNotFoundError) -> str:
        absent = error.name or ""
        if name == absent or name.startswith(f"{absent}."):
            folder = f"in the current folder ({Path.cwd()}) or on the Python path"
            return f"{self}: there is no module {absent!r} {folder}"
        needs = f"it needs the module {absent!r}, which is not installed{place(error)}"
        return f"importing {name!r} for {self.option} failed: {needs}"

    def _attribute(self, module: ModuleType, path: str) -> object:
        found: Any = module
        walked = module.__name__
        for part in path.split("."):
            try:
                found = getattr(found, part)
            except AttributeError as error:
                raise LoadError(f"{self}: {walked} has no {part!r}{_near(part, found)}") from error
            walked = f"{walked}.{part}"
        return found


def _attributes_in(module: Path, example: str) -> list[str]:
    """Return the processors that a module in the current folder defines, or else its functions; at most three.

    Of the functions, only `example` if there is one of this name. The module is read, not executed.
    """
    try:
        body = ast.parse(module.with_suffix(".py").read_bytes()).body
    except (OSError, SyntaxError, ValueError):
        return []
    functions = [node.name for node in body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    processors = [
        target.id
        for node in body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)
        if ast.unparse(node.value.func).rpartition(".")[2] == "Processor"
        for target in node.targets
        if isinstance(target, ast.Name)
    ]
    found = processors or ([example] if example in functions else functions)
    return [name for name in found if not name.startswith("_")][:3]


def _make_current_folder_importable() -> None:
    folder = os.getcwd()  # noqa: PTH109 — sys.path contains strings
    if folder not in sys.path and "" not in sys.path:
        sys.path.insert(0, folder)


def _near(name: str, owner: object) -> str:
    near = difflib.get_close_matches(name, [known for known in dir(owner) if not known.startswith("_")], n=3)
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
