"""What a manifest nearby says of a function: the forms of its inputs and of its locks."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from koco.cli.local_run.source import Source
from koco.errors import KocoError

#: How many folders above the source's own are searched for a manifest.
_ABOVE = 3


@dataclass(frozen=True, slots=True)
class Declared:
    """The form of a flow's inputs (None: its signature's), those of its locks, and its app."""

    inputs: list[dict[str, Any]] | None = None
    locks: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    #: The service's own endpoint, which may handle the locks.
    app: Any = None


def find(source: Source) -> Declared:
    """Return what the nearest manifest that has this entrypoint says; nothing if there is none.

    A manifest that is invalid says nothing, because this command needs none.
    """
    folders = [source.file.parent, *source.file.parent.parents][: _ABOVE + 1]
    for path in (folder / "koco.yaml" for folder in folders):
        if path.is_file() and (found := _read(path, source)) is not None:
            return found
    return Declared()


def _read(path: Path, source: Source) -> Declared | None:
    from koco.manifest import load  # pydantic, and most files have no manifest

    try:
        manifest = load.load(path)
    except KocoError:
        return None
    root = (path.parent / manifest.root).resolve()
    for flow in manifest.flows:
        if _file_of(root, flow.entrypoint) == (source.file, source.function):
            data = load.to_data(manifest)
            [about] = [each for each in data["flows"] if each["name"] == flow.name]
            app = None
            if manifest.app is not None:
                from koco.testing import apps  # only for a service with an app

                app = apps.find(manifest.app)
            return Declared(about.get("inputs"), data.get("locks", {}), app)
    return None


def _file_of(root: Path, entrypoint: str) -> tuple[Path, str]:
    """Return the file and the function that an entrypoint of a manifest names."""
    module, colon, function = entrypoint.partition(":")
    if not colon:
        module, _, function = entrypoint.rpartition(".")
    base = root / module.replace(".", "/")
    file = base.with_name(f"{base.name}.py")
    return (file if file.is_file() else base / "__init__.py"), function
