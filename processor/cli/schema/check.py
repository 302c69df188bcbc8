"""`processor schema check`: validates every file, and its compatibility with earlier versions."""

from __future__ import annotations

from typing import Annotated

import typer

from processor.avro.schemas import Schemas, load_schemas, shipped_schemas
from processor.avro.tools.compatibility import Compatibility, incompatibilities, is_transitive
from processor.cli.schema.baselines import Against, Baseline, baselines
from processor.cli.schema.registry import Registered, SubjectTopic, required_registry
from processor.errors import LoadError, SettingsError
from processor.options.option import Option
from processor.options.values import SchemaOptions, SubjectOptions

Level = Annotated[
    Compatibility,
    Option(
        "Compatibility level. BACKWARD: the new schema reads data of the old one. FORWARD: the old schema reads data "
        "of the new one. FULL: both. With _TRANSITIVE: for every older version. NONE: validate only.",
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
    """Check that every .avsc file is valid and that every type is compatible with its earlier version.

    Each incompatibility is printed with its field and the reason; the exit code is then 5.
    """
    folder = required_folder(files)
    loaded = load_schemas(folder)
    names = own_names(loaded)
    every = is_transitive(compatibility)
    if compatibility == "NONE":
        origin, earlier = None, []
    elif against == "registry":
        known = Registered(required_registry(subjects, "--against registry compares with it"), topic)
        versions = known.versions((loaded.by_name[name] for name in names), every)
        origin, earlier = known.origin, [Baseline(str(v), {v.schema.name or "": v.schema}) for v in versions]
    else:
        earlier = baselines(folder, against, every)
        origin = earlier[0].origin if earlier else None
    summary = _checked(loaded, origin, earlier, compatibility)
    if against != "registry":
        _note_removed(loaded, earlier[:1])
    typer.echo(summary)
    return 0


def _checked(loaded: Schemas, origin: str | None, earlier: list[Baseline], compatibility: Compatibility) -> str:
    """Compares every type with its earlier versions. Returns a summary of the result.

    Raises:
        LoadError: a type is incompatible; the reasons have been printed.
    """
    names = own_names(loaded)
    broken = sum([_print_incompatibilities(name, loaded, earlier, compatibility) for name in names])
    count = f"{len(names)} types" if len(names) != 1 else "1 type"
    if broken:
        verb = "is" if broken == 1 else "are"
        raise LoadError(f"{broken} of {count} {verb} incompatible with an earlier version ({compatibility})")
    if origin is None:
        return f"{count} valid; not compared with an earlier version"
    compared = sum(any(name in baseline.by_name for baseline in earlier) for name in names)
    new = f", {len(names) - compared} new" if compared < len(names) else ""
    return f"{count} valid; compared with {origin} ({compatibility}): {compared} compatible{new}"


def required_folder(files: SchemaOptions) -> str:
    """Return the folder of `--schemas`.

    Raises:
        SettingsError: the option is not set.
    """
    if files.schemas is None:
        raise SettingsError("--schemas is missing: give the folder of the .avsc files, or set PROCESSOR_SCHEMAS")
    return files.schemas


def own_names(loaded: Schemas) -> list[str]:
    """The names of all types except the shipped ones, sorted."""
    return sorted(loaded.by_name.keys() - shipped_schemas().by_name.keys())


def _print_incompatibilities(name: str, loaded: Schemas, earlier: list[Baseline], compatibility: Compatibility) -> bool:
    """Prints the incompatibilities of one type. Return whether there are any."""
    schema = loaded.by_name[name]
    found = [
        sentence
        for baseline in earlier
        if name in baseline.by_name
        for sentence in incompatibilities(schema, baseline.by_name[name], baseline.origin, compatibility)
    ]
    for sentence in dict.fromkeys(found):
        typer.echo(f"{name}: {sentence}")
    return bool(found)


def _note_removed(loaded: Schemas, latest: list[Baseline]) -> None:
    """Notes what makes older values unreadable without a registry: removed types and removed versions."""
    for origin, known in latest:
        for name, old in sorted(known.items()):
            if name not in loaded.by_name:
                typer.echo(f"{name}: note: removed since {origin}")
            elif old.definition.get("type") == "record" and old.fingerprint not in loaded.by_fingerprint:
                typer.echo(
                    f"{name}: note: without a registry, values written with {origin} ({old.fingerprint.hex()}) are"
                    " readable only if that version is in --schemas too: keep its file in a subfolder"
                )
