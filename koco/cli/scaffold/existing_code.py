"""`koco init --from`: the manifests for code that exists, and what else is missing."""

import os
from pathlib import Path

from koco.cli.local_run import source as sources
from koco.cli.scaffold import report, schema_file, writing
from koco.cli.scaffold.writing import Content
from koco.errors import ConflictError
from koco.project import project
from koco.project.config_file import FILE
from koco.project.conversion import conversion
from koco.project.conversion.conversion import Conversion


def write(named: str, directory: Path, name: str | None, *, as_json: bool) -> None:
    """Write the files for a function or an app, or for deployment files, and say which.

    Raises:
        ConflictError: a manifest is in the way, or the `koco.toml` there does not name it.
        KocoError: whatever else is wrong with what is named.
    """
    made = _make(named, directory, name)
    files = {path: Content(_with_schema(path, text).encode()) for path, text in made.files.items()}
    if os.path.lexists(directory / FILE):
        _require_named(directory / FILE, made)
        del files[Path(FILE)]
    if not os.path.lexists(directory / schema_file.PATH):
        files[schema_file.PATH] = Content(schema_file.content())
    writing.refuse_overwrite(directory, files.keys())
    writing.write(directory, files)
    report.print_report(directory, Path(named), made, files, as_json=as_json)


def _make(named: str, directory: Path, name: str | None) -> Conversion:
    is_code = sources.is_named(named) and (named.endswith(".py") or not Path(named).exists())
    if not is_code:
        return conversion.convert(Path(named), directory, name=name)
    from koco.cli.scaffold import code_manifest  # the runner's parts, only for this

    return code_manifest.make(named, directory, name=name)


def _require_named(file: Path, made: Conversion) -> None:
    """Raise `ConflictError` if a `koco.toml` does not name the manifests: it stays as it is."""
    patterns = project.load(file).patterns
    for service in made.services:
        if not any(service.manifest.match(pattern) for pattern in patterns):
            raise ConflictError(
                f"{file} exists, and does not name {service.manifest}",
                hint=f'add "{service.manifest}" to its `manifests`',
            )


def _with_schema(path: Path, text: str) -> str:
    return text if path == Path(FILE) else f"{schema_file.LINE}\n{text}"
