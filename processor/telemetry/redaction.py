"""What of a task may stand in the log. Sessions are record keys: they are hashed unless plain ones are asked for."""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

LogFormat = Literal["auto", "json", "console"]
LogLevel = Literal["debug", "info", "warning", "error"]
LogSessions = Literal["hashed", "plain"]
LogErrors = Literal["full", "type"]

NOT_LOGGED: Final = "(not logged)"

IDENTIFIERS: Final = frozenset({"session_id", "task_id", "task_name"})
"""What a producer chooses."""

LONGEST: Final = 200
"""Characters of an identifier: a key may have a megabyte, and container runtimes cut lines at 16 KiB."""


class Redaction(msgspec.Struct, frozen=True):
    """How sessions and the texts of handlers' errors are told."""

    sessions: LogSessions = "hashed"
    errors: LogErrors = "full"

    def fields_of(self, told: msgspec.Struct) -> dict[str, Any]:
        """The fields of an event or of a part of one, as they may be logged."""
        fields = {name: self._redacted(name, value) for name, value in msgspec.structs.asdict(told).items()}
        if self.errors == "type" and fields.get("error_type"):
            fields["error"] = NOT_LOGGED
        return fields

    def _redacted(self, name: str, value: Any) -> Any:
        if isinstance(value, msgspec.Struct):
            return self.fields_of(value)
        if isinstance(value, list) and value and isinstance(value[0], msgspec.Struct):
            return [self.fields_of(item) for item in value]
        if name == "session_id" and value and self.sessions == "hashed":
            return hashed(value)
        if name in IDENTIFIERS and len(value) > LONGEST:
            return f"{value[: LONGEST - 1]}…"
        return value


def hashed(session_id: str) -> str:
    """`#` and twelve hexadecimal digits: BLAKE2b of 48 bits, as `printf %s SESSION | b2sum -l 48` has it.

    It is a name for the log and no secret: who can guess a session's ID can check the guess.
    """
    from hashlib import blake2b  # here: OpenSSL takes two milliseconds, and only consumers name sessions

    return f"#{blake2b(session_id.encode('utf-8', 'backslashreplace'), digest_size=6).hexdigest()}"
