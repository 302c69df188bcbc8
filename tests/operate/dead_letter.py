"""A dead letter, with the headers that the runtime writes."""

from __future__ import annotations

from processor.engine.outcome import Cause, Failed
from processor.operate.letters import Letter, letter_of
from processor.runtime.settlement import dead_letter_headers
from tests.engine.record import FakeRecord

Headers = list[tuple[str, bytes | None]]


def headers_of_a_failure(offset: int = 7, message: str = "no use") -> Headers:
    """What dead-lettering adds to the headers of the record with this offset."""
    return dead_letter_headers(FakeRecord(offset), "g", 3, Failed(Cause.FAILED, "builtins.ValueError", message))


def letter(headers: Headers | None = None, offset: int = 7, message: str = "no use") -> Letter:
    """The letter of a record with these headers; it has the same offset in the dead-letter topic."""
    found = letter_of(FakeRecord(offset, b"anna", b"value", [*(headers or []), *headers_of_a_failure(offset, message)]))
    assert found is not None
    return found
