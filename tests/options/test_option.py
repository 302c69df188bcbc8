"""An option is written once; everything that is made from it follows."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Annotated, Any, Literal

import pytest
import typer
from typer.main import get_command

from processor.cli.parameters import add_command
from processor.errors import SettingsError
from processor.options.entry import Entry, entry_of, in_order
from processor.options.kinds import FALSE, TRUE
from processor.options.option import BYTES, SECONDS, Argument, Option, Panel
from processor.options.option_set import OptionSet, entries_of
from processor.settings import Settings


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, kw_only=True)
class Garden(OptionSet):
    plants: Annotated[int, Option("Number of plants.", Panel.LIMITS, short="-n", at_least=1, at_most=9)]
    water: Annotated[float, Option("Time between two waterings.", Panel.WORK, metavar=SECONDS, above=0)] = 1.5
    is_wild: Annotated[bool, Option("Leave the lawn alone.")] = False
    fence: Annotated[bool, Option("Put up a fence.")] = True
    colour: Annotated[Literal["red", "blue"], Option("Colour of the flowers.", case_sensitive=False)] = "red"
    names: Annotated[tuple[str, ...], Option("Name of a plant.", name="name")] = ()
    room: Annotated[int | None, Option("Room for roots.", metavar=BYTES)] = None
    labels: Annotated[dict[str, str], Option("Label of a plant.")] = field(default_factory=dict)


def entry(name: str) -> Entry:
    return next(entry for entry in entries_of(Garden) if entry.field == name)


def test_a_field_gives_the_name_the_type_and_the_default() -> None:
    named = {
        entry.field: (entry.flag, entry.variable, entry.metavar, entry.default_text) for entry in entries_of(Garden)
    }
    assert named == {
        "plants": ("--plants", "PROCESSOR_PLANTS", "N", "required"),
        "water": ("--water", "PROCESSOR_WATER", "SECONDS", "1.5 s"),
        "is_wild": ("--is-wild", "PROCESSOR_IS_WILD", "", "off"),
        "fence": ("--fence", "PROCESSOR_FENCE", "", "on"),
        "colour": ("--colour", "PROCESSOR_COLOUR", "red|blue", "red"),
        "names": ("--name", "PROCESSOR_NAME", "NAME", "none"),
        "room": ("--room", "PROCESSOR_ROOM", "BYTES", "none"),
        "labels": ("--labels", "PROCESSOR_LABELS", "KEY=VALUE", "none"),
    }
    assert entry("fence").opposite == "--no-fence"
    assert entry("is_wild").opposite is None


def test_a_size_is_shown_with_its_unit() -> None:
    assert (
        entry_of("room", Annotated[int, Option("Room.", metavar=BYTES)], 64 << 20).default_text == "67108864 (64 MiB)"
    )


def test_the_help_lists_arguments_first_then_panels_and_what_is_required_before_what_is_not() -> None:
    entries = [*entries_of(Garden), entry_of("place", Annotated[str, Argument("Where.", metavar="PLACE")], ".")]
    assert [entry.field for entry in in_order({entry.name: entry for entry in entries})] == [
        *("place", "water", "plants", "is_wild", "fence", "colour", "names", "room", "labels"),
    ]


def test_a_parameter_without_an_option_is_a_mistake_of_the_programmer() -> None:
    with pytest.raises(TypeError, match="plants has no Option"):
        entry_of("plants", int, 1)


READ: list[tuple[str, Any, Any]] = [
    ("plants", "3", 3),
    ("plants", " 3 ", 3),
    ("plants", "3.0", 3),
    ("plants", "+3", 3),
    ("water", "2", 2.0),
    ("water", "1e-3", 0.001),
    ("colour", "blue", "blue"),
    ("colour", "BLUE", "blue"),
    ("names", ["a", "b"], ("a", "b")),
    ("room", "1_000", 1000),
    ("fence", True, True),
    *(("fence", word, True) for word in [*sorted(TRUE), "True", " YES "]),
    *(("fence", word, False) for word in [*sorted(FALSE), "False"]),
]


@pytest.mark.parametrize(("name", "text", "value"), READ)
def test_a_text_is_converted_to_the_type_of_its_option(name: str, text: Any, value: Any) -> None:
    read = entry(name).read(text)
    assert (read, type(read)) == (value, type(value))


NO_INTEGERS = ("many", "", "2.5", "1e3", "0x1", "1__0", "one")
NO_SECONDS = ("soon", "", "nan", "inf", "1s")
REFUSED: list[tuple[str, Any, str]] = [
    *(("plants", text, f"--plants must be an integer, not {text!r}") for text in NO_INTEGERS),
    *(("water", text, f"--water must be a number of seconds, not {text!r}") for text in NO_SECONDS),
    ("plants", "0", "--plants must be from 1 to 9, not 0"),
    ("plants", "10", "--plants must be from 1 to 9, not 10"),
    ("water", "0", "--water must be above 0 seconds, not 0"),
    ("fence", "maybe", "--fence must be true or false, not 'maybe'"),
    ("fence", "", "--fence must be true or false, not ''"),
    ("colour", "green", "--colour must be red or blue, not 'green'"),
    ("plants", "x" * 1000, "--plants must be an integer, not '" + "x" * 79 + "…"),
]


@pytest.mark.parametrize(("name", "text", "sentence"), REFUSED)
def test_a_text_that_cannot_be_read_is_refused_in_one_sentence(name: str, text: Any, sentence: str) -> None:
    with pytest.raises(SettingsError) as caught:
        entry(name).read(text)
    assert str(caught.value) == sentence


def test_an_error_names_the_place_of_the_value() -> None:
    with pytest.raises(SettingsError, match=r"^--plants \(in garden.toml\) must be an integer, not 'x'$"):
        entry("plants").read("x", " (in garden.toml)")


FROM_A_PROGRAM: list[tuple[dict[str, Any], str]] = [
    ({"plants": "3"}, "--plants must be an integer, not '3'"),
    ({"plants": True}, "--plants must be an integer, not True"),
    ({"plants": None}, "--plants must be an integer, not None"),
    ({"plants": 3.0}, "--plants must be an integer, not 3.0"),
    ({"water": "3"}, "--water must be a number of seconds, not '3'"),
    ({"water": math.nan}, "--water must be a number of seconds, not nan"),
    ({"water": math.inf}, "--water must be a number of seconds, not inf"),
    ({"water": 0}, "--water must be above 0 seconds, not 0"),
    ({"fence": "yes"}, "--fence must be true or false, not 'yes'"),
    ({"fence": 1}, "--fence must be true or false, not 1"),
    ({"colour": "BLUE"}, "--colour must be red or blue, not 'BLUE'"),
    ({"colour": ["red"]}, "--colour must be red or blue, not ['red']"),
    ({"names": "rose"}, "--name must be a tuple, not 'rose'"),
    ({"names": ("rose", 3)}, "--name must be text, not 3"),
    ({"names": ("ro\0se",)}, "--name must not contain a NUL character"),
    ({"names": ("ro\udcffse",)}, "--name must be valid UTF-8"),
    ({"labels": "a=b"}, "--labels must be a table of texts, not 'a=b'"),
    ({"labels": {"a": "\0"}}, "--labels must not contain a NUL character"),
    ({"labels": {"a": "\udcff"}}, "--labels must be valid UTF-8"),
]


@pytest.mark.parametrize(("values", "sentence"), FROM_A_PROGRAM)
def test_a_value_that_a_program_gives_is_checked_by_the_same_table(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Garden(**{"plants": 1, **values})
    assert str(caught.value) == sentence


def test_values_of_the_right_types_are_kept_as_they_are() -> None:
    garden = Garden(plants=9, water=2, names=("a",), room=None, labels={"a": "b"})
    assert [getattr(garden, each.name) for each in fields(garden)] == [
        *(9, 2, False, True, "red", ("a",), None, {"a": "b"}),
    ]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Garden]:
    """A command that takes a set of options and two of its own, run with a command line and an environment."""
    seen: list[tuple[Garden, Colour, str]] = []

    def plant(
        garden: Garden,
        place: Annotated[str, Argument("Where.", metavar="PLACE")] = "here",
        shade: Annotated[list[Colour], Option("Colour of the shade.")] = [],  # noqa: B006 — read only
    ) -> int:
        """Plant a garden."""
        seen.append((garden, *shade, place))  # type: ignore[arg-type]
        return 0

    app = typer.Typer()
    add_command(app, "plant", plant)
    command = get_command(app)

    def run(*line: str, **environment: str) -> Any:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        command.main(list(line), prog_name="plant", standalone_mode=False)
        return seen[-1]

    return run


def test_a_new_option_is_on_the_command_line_and_in_the_environment(run: Callable[..., Any]) -> None:
    garden = Garden(plants=3, fence=False, names=("a", "b"), labels={"x": "y"})
    assert run("-n", "3", "--no-fence", "--name", "a", "--name", "b", "--labels", "x=y") == (garden, "here")
    assert run("there", "--shade", "red", PROCESSOR_PLANTS="3", PROCESSOR_FENCE="no", PROCESSOR_NAME="a b") == (
        *(Garden(plants=3, fence=False, names=("a", "b")), Colour.RED, "there"),
    )


def test_every_option_of_a_consumer_has_a_help_that_ends_and_a_panel() -> None:
    for each in entries_of(Settings):
        assert each.option.help.endswith("."), each.flag
        assert each.option.help[0].isupper(), each.flag
        assert each.option.panel is not Panel.COMMAND, each.flag
