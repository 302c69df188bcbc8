"""Parses the Dockerfile instructions that deploy/Dockerfile uses."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import NamedTuple

PROJECT = Path(__file__).parents[2]
DOCKERFILE = PROJECT / "deploy" / "Dockerfile"


class Instruction(NamedTuple):
    """One instruction with its continuation lines joined."""

    name: str
    arguments: str


def stages(file: Path = DOCKERFILE) -> list[list[Instruction]]:
    """The instructions of each stage, beginning with its FROM."""
    text = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", file.read_text(), flags=re.MULTILINE))
    found: list[list[Instruction]] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        name, arguments = line.split(maxsplit=1)
        if name == "FROM":
            found.append([])
        found[-1].append(Instruction(name, " ".join(arguments.split())))
    return found


def arguments_of(stage: list[Instruction], name: str) -> list[str]:
    """The arguments of every instruction with that name."""
    return [instruction.arguments for instruction in stage if instruction.name == name]


def pairs(stage: list[Instruction], name: str) -> dict[str, str]:
    """The pairs that its LABEL, ENV or ARG instructions set."""
    words = [word for arguments in arguments_of(stage, name) for word in shlex.split(arguments)]
    return dict(word.split("=", 1) for word in words)
