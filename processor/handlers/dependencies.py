"""Checks the headers that link a task to its predecessors and to the tasks that follow, before it begins."""

from __future__ import annotations

from processor.engine.record import Headers
from processor.handlers.exceptions import DependencyFailed
from processor.handlers.joins import check_branch
from processor.handlers.links import AFTER, BRANCH, INPUTS, JOIN, LINKS, THEN, read_inputs, read_plan, unmet


def check_links(headers: Headers) -> None:
    """Checks the headers that link a task, before it begins.

    Raises:
        InvalidHeader: one of them cannot be read.
        DependencyFailed: the record is a copy of a dead letter with this error, which was sent without its predecessor.
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
