"""`processor schema check`: every file valid, and none that its predecessor's readers or writers stumble over."""

from __future__ import annotations

from typing import Annotated

import typer

from processor.avro.schemas import Schemas, load_schemas, shipped_schemas
from processor.avro.tools.compatibility import Compatibility, breaks, is_transitive
from processor.cli.schema.baselines import Against, Baseline, baselines
from processor.cli.schema.registered import Registered, SubjectTopic, needed_registry
from processor.errors import LoadError, SettingsError
from processor.options.option import Option
from processor.options.values import SchemaOptions, SubjectOptions

Level = Annotated[
    Compatibility,
    Option(
        "BACKWARD: the new reads what the old wrote; FORWARD: the old reads what the new writes; FULL: both; "
        "each with _TRANSITIVE for all older versions; or NONE.",
        metavar="LEVEL",
        case_sensitive=False,
    ),
]


def check(
    files: SchemaOptions,
    subjects: SubjectOptions,
    against: Against = None,
    compatibility: Level = "BACKWARD",
    topic: SubjectTopic = None,
) -> int:
    """Check that every .avsc file is valid, and that every record may follow what it was.

    What does not fit is told with its field and the reason; the exit code is then 5.
    """
    folder = needed(files)
    loaded = load_schemas(folder)
    names = own_names(loaded)
    every = is_transitive(compatibility)
    if compatibility == "NONE":
        origin, earlier = "nothing", []
    elif against == "registry":
        known = Registered(needed_registry(subjects, "--against registry holds against what is there"), topic)
        versions = known.versions((loaded.by_name[name] for name in names), every)
        origin, earlier = known.origin, [Baseline(str(v), {v.schema.name or "": v.schema}) for v in versions]
    else:
        earlier = baselines(folder, against, every)
        origin = earlier[0].origin if earlier else "nothing"
    end = _judged(loaded, origin, earlier, compatibility)
    if against != "registry":
        _tell_what_goes(loaded, earlier[:1])
    typer.echo(end)
    return 0


def _judged(loaded: Schemas, origin: str, earlier: list[Baseline], compatibility: Compatibility) -> str:
    """What to say of schemas that may follow what they were.

    Raises:
        LoadError: one may not; what is wrong with it has been told.
    """
    names = own_names(loaded)
    broken = sum([_report(name, loaded, earlier, compatibility) for name in names])
    count = f"{len(names)} types" if len(names) != 1 else "1 type"
    if broken:
        raise LoadError(f"{broken} of {count} may not follow what they were ({compatibility})")
    if origin == "nothing":
        return f"{count} valid, held against nothing"
    held = sum(any(name in baseline.by_name for baseline in earlier) for name in names)
    new = f", {len(names) - held} new" if held < len(names) else ""
    return f"{count} valid: {held} held against {origin} ({compatibility}){new}"


def needed(files: SchemaOptions) -> str:
    """The folder of `--schemas`.

    Raises:
        SettingsError: there is none.
    """
    if files.schemas is None:
        raise SettingsError("--schemas is missing: give the folder of the .avsc files, or set PROCESSOR_SCHEMAS")
    return files.schemas


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
    return bool(found)


def _tell_what_goes(loaded: Schemas, latest: list[Baseline]) -> None:
    """What is no mistake, and yet hurts whoever has no registry and does not know it."""
    for origin, known in latest:
        for name, old in sorted(known.items()):
            if name not in loaded.by_name:
                typer.echo(f"{name}: note: {origin} had it, and it is gone")
            elif old.definition.get("type") == "record" and old.fingerprint not in loaded.by_fingerprint:
                typer.echo(
                    f"{name}: note: values that {origin} wrote ({old.fingerprint.hex()}) can be read without a"
                    " registry only while its file is there too: keep it in a folder inside"
                )
