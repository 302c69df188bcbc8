"""Which parts of a task are logged. Sessions, which are record keys, are logged as hashes by default."""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

LogFormat = Literal["auto", "json", "console"]
LogLevel = Literal["debug", "info", "warning", "error"]
LogSessions = Literal["hashed", "plain"]
LogErrors = Literal["full", "type"]

NOT_LOGGED: Final = "(not logged)"

IDENTIFIERS: Final = frozenset({"session_id", "task_id", "task_name"})
"""Fields whose values a producer chooses."""

LONGEST: Final = 200
"""The most characters of an identifier: a record key may have a megabyte, and container runtimes cut lines at 16 KiB.
"""


class Redaction(msgspec.Struct, frozen=True):
    """How sessions and the texts of handlers' errors are logged."""

    sessions: LogSessions = "hashed"
    errors: LogErrors = "full"

    def fields_of(self, event: msgspec.Struct) -> dict[str, Any]:
        """Return the fields of an event, or of a part of one, as they are logged."""
        fields = {name: self._redacted(name, value) for name, value in msgspec.structs.asdict(event).items()}
        if self.errors == "type" and fields.get("error_type"):
            fields["error"] = NOT_LOGGED
        return fields

    def _redacted(self, name: str, value: Any) -> Any:
        if isinstance(value, msgspec.Struct):
            return self.fields_of(value)
        if isinstance(value, list) and value and isinstance(value[0], msgspec.Struct):
            return [self.fields_of(item) for item in value]
        if name == "session_id" and isinstance(value, str) and value and self.sessions == "hashed":
            return hashed(value)
        if name == "fields" and isinstance(value, dict):  # those of a line that a handler logged; one may be so named
            return {own: self._redacted(own, part) for own, part in value.items()}
        if name in IDENTIFIERS and isinstance(value, str) and len(value) > LONGEST:
            return f"{value[: LONGEST - 1]}…"
        return value


def hashed(session_id: str) -> str:
    """Return `#` and twelve hexadecimal digits: BLAKE2b of 48 bits, as by `printf %s SESSION | b2sum -l 48`.

    It keeps keys out of the log, but is not a secret: a guessed session ID can be verified against it.
    """
    from hashlib import blake2b  # here: OpenSSL takes two milliseconds to load, and only consumers need it

    return f"#{blake2b(session_id.encode('utf-8', 'backslashreplace'), digest_size=6).hexdigest()}"
