"""`OptionSet`: options that belong together, and `entries_of`, the table of them."""

from dataclasses import MISSING, dataclass, fields
from typing import Any, get_type_hints

from processor.options.entry import Entry, entry_of
from processor.options.kinds import COUNT


@dataclass(frozen=True, kw_only=True)
class OptionSet:
    """Options that belong together: a dataclass whose fields are annotated with `Option`.

    Sets are combined by inheritance. Each may extend `check_together`, which refuses values that contradict each other.

    Raises:
        SettingsError: a value is of a wrong type or out of range, or two contradict each other.
    """

    def __post_init__(self) -> None:
        for entry in entries_of(type(self)):
            value = getattr(self, entry.field)
            if entry.kind is COUNT and isinstance(value, str):
                object.__setattr__(self, entry.field, entry.read(value))
            else:
                entry.check(value)
        self.check_together()

    def check_together(self) -> None:
        """Refuse values that contradict each other.

        Raises:
            SettingsError: two options contradict each other.
        """


def entries_of(options: type[OptionSet]) -> tuple[Entry, ...]:
    """Return the table of a set of options, in the order of its fields."""
    if options not in _TABLES:
        hints = get_type_hints(options, include_extras=True)
        _TABLES[options] = tuple(entry_of(field.name, hints[field.name], _default(field)) for field in fields(options))
    return _TABLES[options]


_TABLES: dict[type[OptionSet], tuple[Entry, ...]] = {}


def _default(field: Any) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()
