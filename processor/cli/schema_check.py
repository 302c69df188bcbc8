"""`processor schema check`: every file valid, and none that its predecessor's readers or writers stumble over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer

from processor.cli import options
from processor.cli.baselines import Against, Baseline, baselines
from processor.codec.compatibility import Compatibility, breaks, is_transitive
from processor.codec.schemas import Schemas, load_schemas, shipped_schemas
from processor.errors import LoadError, SettingsError

Level = Annotated[
    Compatibility,
    typer.Option(
        "--compatibility",
        metavar="LEVEL",
        case_sensitive=False,
        help="BACKWARD: the new reads what the old wrote; FORWARD: the old reads what the new writes; FULL: both; "
        "each with _TRANSITIVE for all older versions; or NONE.",
    ),
]


def check(
    schemas: options.Schemas = None,
    against: Against = None,
    compatibility: Level = "BACKWARD",
    config: options.Config = None,
) -> int:
    """Check that every .avsc file is valid, and that every record may follow what it was.

    What does not fit is told with its field and the reason; the exit code is then 5.
    """
    folder = needed(schemas)
    loaded = load_schemas(folder)
    earlier = [] if compatibility == "NONE" else baselines(folder, against, is_transitive(compatibility))
    names = own_names(loaded)
    for gone in sorted(earlier[0].by_name.keys() - loaded.by_name.keys()) if earlier else ():
        typer.echo(f"{gone}: note: {earlier[0].origin} had it, and it is gone")
    broken = sum([_report(name, loaded, earlier, compatibility) for name in names])
    count = f"{len(names)} types" if len(names) != 1 else "1 type"
    if broken:
        raise LoadError(f"{broken} of {count} may not follow what they were ({compatibility})")
    held = f"held against {earlier[0].origin} ({compatibility})" if earlier else "held against nothing"
    typer.echo(f"{count} valid, {held}")
    return 0


def needed(schemas: str | None) -> str:
    """The folder of `--schemas`.

    Raises:
        SettingsError: there is none.
    """
    if schemas is None:
        raise SettingsError("--schemas is missing: give the folder of the .avsc files, or set PROCESSOR_SCHEMAS")
    return schemas


def own_names(loaded: Schemas) -> list[str]:
    """The names of all types but those that are shipped, sorted."""
    return sorted(loaded.by_name.keys() - shipped_schemas().by_name.keys())


def _report(name: str, loaded: Schemas, earlier: list[Baseline], compatibility: Compatibility) -> bool:
    """Tells what is wrong with one type; whether anything is."""
    schema = loaded.by_name[name]
    found = [
        sentence
        for baseline in earlier
        if name in baseline.by_name
        for sentence in breaks(schema, baseline.by_name[name], baseline.origin, compatibility)
    ]
    for sentence in dict.fromkeys(found):
        typer.echo(f"{name}: {sentence}")
    for sentence in () if found else _notes(name, loaded, earlier[:1]):
        typer.echo(f"{name}: note: {sentence}")
    return bool(found)


def _notes(name: str, loaded: Schemas, earlier: list[Baseline]) -> Iterator[str]:
    """What is no mistake and yet hurts whoever does not know it."""
    for baseline in earlier:
        old = baseline.by_name.get(name)
        if old is not None and old.definition.get("type") == "record" and old.fingerprint not in loaded.by_fingerprint:
            yield (
                f"values that {baseline.origin} wrote ({old.fingerprint.hex()}) can be read without a registry only"
                " while its file is there too: keep it in a folder inside"
            )
