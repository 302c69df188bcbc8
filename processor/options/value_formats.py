"""The encodings of record values, each with its traits in one entry.

A format is an entry here, and a module `processor/codec/NAME_values.py` whose function `codec` makes its codec from
`CodecInputs`. All else follows: the choices of `--value-format`, its help, the README's table, the chart's schema, and
the type that a type checker knows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final, Literal, TypeAlias, get_args

from processor.errors import SettingsError
from processor.options.kinds import either


@dataclass(frozen=True)
class Traits:
    """The traits of a format.

    Args:
        has_schemas: whether values have Avro schemas. The options of schemas and of a schema registry, and the
            schemas that handlers declare, are for such formats only.
        takes_text: whether the value is the payload itself, which a line of `processor produce` gives as text.
    """

    has_schemas: bool = False
    takes_text: bool = False


ValueFormat: TypeAlias = (
    Annotated[Literal["avro"], Traits(has_schemas=True)]
    | Annotated[Literal["json"], Traits()]
    | Annotated[Literal["bytes"], Traits(takes_text=True)]
)


def _table() -> Mapping[str, Traits]:
    entries = map(get_args, get_args(ValueFormat))
    return {get_args(literal)[0]: traits for literal, traits in entries}


VALUE_FORMATS: Final = _table()
"""The entries above, by name, in their order."""

WITH_SCHEMAS: Final = either([name for name, traits in VALUE_FORMATS.items() if traits.has_schemas])
"""The formats that have schemas, for an error."""


def traits_of(value_format: str) -> Traits:
    """Return the traits of a format.

    Raises:
        SettingsError: the format does not exist.
    """
    if value_format not in VALUE_FORMATS:
        raise SettingsError(f"the value format must be {either(list(VALUE_FORMATS))}, not {value_format!r}")
    return VALUE_FORMATS[value_format]
