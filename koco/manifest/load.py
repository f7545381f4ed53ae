"""A manifest from a file, a text or data, with every problem at once."""

from pathlib import Path
from typing import Any

from koco import saving
from koco.errors import ManifestError, NotFoundError
from koco.manifest.checks import find_problems
from koco.manifest.document import MAX_CHARS, Document
from koco.manifest.model import Manifest

#: As many as the longest manifest can have.
_MOST_BYTES = 4 * MAX_CHARS


def load(path: Path) -> Manifest:
    """Return the manifest in a file.

    Raises `ManifestError` with every problem as `file:line:column: what (hint: …)`,
    and `NotFoundError` if there is no such file.
    """
    return manifest_of(read(path))


def parse(text: str, source: str = "<text>") -> Manifest:
    """Return the manifest in a text; `source` stands for the file's name in problems."""
    return manifest_of(Document(text, source))


def check(data: Any) -> Manifest:
    """Return the manifest in plain data; problems name key paths such as `flows[0].name`."""
    problems = find_problems(data)
    if problems:
        raise ManifestError([str(problem) for problem in problems])
    return Manifest.model_validate(data)


def to_data(manifest: Manifest) -> dict[str, Any]:
    """Return a manifest as plain data, its defaults included; `check` takes it back."""
    return manifest.model_dump(mode="json")


def to_wire(manifest: Manifest) -> dict[str, Any]:
    """Return a manifest as it is sent: its defaults are left out, and `check` fills them in.

    A control plane that is older refuses keys that it does not know, which it need not see where
    they say nothing.
    """
    return manifest.model_dump(mode="json", exclude_defaults=True)


def read(path: Path) -> Document:
    """Return a file's data and places; raises as `load` does, for what is no YAML."""
    source = shown(path)
    try:
        with saving.opened(path) as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:  # or without end, as /dev/zero
            raise ManifestError([f"{source}:1:1: longer than {MAX_CHARS} characters"])
        return Document(content.decode("utf-8"), source)
    except FileNotFoundError:
        raise NotFoundError(
            f"{source}: there is no such file", hint="`koco init` makes a project"
        ) from None
    except UnicodeDecodeError as exc:
        line = exc.object.count(b"\n", 0, exc.start) + 1
        column = exc.start - exc.object.rfind(b"\n", 0, exc.start)
        raise ManifestError([f"{source}:{line}:{column}: this is no UTF-8"]) from exc
    except OSError as exc:
        raise ManifestError([f"{source}:1:1: cannot be read: {exc.strerror}"]) from exc


def manifest_of(document: Document) -> Manifest:
    """Return the manifest in a document; raises `ManifestError`."""
    problems = find_problems(document.data)
    if problems or document.problems:
        raise document.error(problems)
    return Manifest.model_validate(document.data)


def shown(path: Path) -> str:
    """Return a path as its user would type it: relative where it is below here."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)
