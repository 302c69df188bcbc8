"""W3C trace context, from the header `traceparent` of a record: https://www.w3.org/TR/trace-context/."""

from __future__ import annotations

import re
from typing import NamedTuple

_TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?", re.DOTALL)


class Trace(NamedTuple):
    """A span."""

    trace_id: str
    """In hexadecimal."""
    span_id: str
    """In hexadecimal."""
    headers: tuple[tuple[str, bytes], ...] = ()
    """The headers of a record that follows from the span."""


def trace_context(header: bytes | None) -> Trace | None:
    """Return the trace and the parent span that the header names; None if it is missing or not valid."""
    found = _TRACEPARENT.fullmatch(header) if header else None
    if found is None:
        return None
    version, trace, span, more = found.groups()
    is_known = version != b"ff" and (more is None or version != b"00")  # later versions may append fields
    if not is_known or not int(trace, 16) or not int(span, 16):
        return None
    return Trace(trace.decode(), span.decode())
