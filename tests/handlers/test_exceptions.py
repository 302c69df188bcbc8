"""The exceptions that dead letters name."""

from __future__ import annotations

import processor
from processor.handlers import exceptions


def test_each_exception_that_a_dead_letter_names_can_be_imported_by_this_name() -> None:
    public = {name for name, kind in vars(exceptions).items() if getattr(kind, "__module__", "") == "processor"}
    assert public <= set(processor.__all__)
    assert all(getattr(processor, name) is getattr(exceptions, name) for name in public)
