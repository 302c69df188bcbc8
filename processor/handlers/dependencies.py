"""Checks what a record says of the tasks that it follows from and that follow from it, before its task begins."""

from __future__ import annotations

from processor.engine.record import Headers
from processor.handlers.exceptions import DependencyFailed
from processor.handlers.joins import check_branch
from processor.handlers.links import AFTER, BRANCH, INPUTS, JOIN, LINKS, THEN, read_inputs, read_plan, unmet


def check_links(headers: Headers) -> None:
    """Checks the headers that link a task, before it begins.

    Raises:
        InvalidHeader: one of them cannot be read.
        DependencyFailed: the task is a replayed dead letter of this kind.
    """
    found = {name: value for name, value in headers if name in LINKS}
    if THEN in found:
        read_plan(found[THEN])
    if INPUTS in found:
        read_inputs(found[INPUTS])
    if JOIN in found or BRANCH in found:
        check_branch(found)
    if AFTER in found:
        raise DependencyFailed(unmet((found[AFTER] or b"").decode("utf-8", "backslashreplace")))
