"""Loading of manifests from a file, a text or data, with all problems in one error."""

from pathlib import Path
from typing import Any

from koco import file_reading
from koco.errors import ManifestError, NotFoundError
from koco.manifest.checks import find_problems
from koco.manifest.model import Manifest
from koco.manifest.yaml_document import MAX_CHARS, Document

#: The most bytes that a manifest of `MAX_CHARS` can have.
_MOST_BYTES = 4 * MAX_CHARS


def load(path: Path) -> Manifest:
    """Return the manifest in a file.

    Raises `ManifestError` with all problems as `file:line:column: message (hint: …)`,
    and `NotFoundError` if the file does not exist.
    """
    return from_document(read(path))


def parse(text: str, source: str = "<text>") -> Manifest:
    """Return the manifest in a text; `source` is the file's name in problems."""
    return from_document(Document(text, source))


def check(data: Any) -> Manifest:
    """Return the manifest in plain data; problems name key paths, like `flows[0].name`."""
    problems = find_problems(data)
    if problems:
        raise ManifestError([str(problem) for problem in problems])
    return Manifest.model_validate(data)


def to_data(manifest: Manifest) -> dict[str, Any]:
    """Return a manifest as plain data, with its defaults. `check` is the inverse."""
    return manifest.model_dump(mode="json")


def to_wire(manifest: Manifest) -> dict[str, Any]:
    """Return a manifest as plain data to send, without its defaults. `check` fills them in.

    An older control plane refuses unknown keys, so a key with its default must not be sent.
    """
    return manifest.model_dump(mode="json", exclude_defaults=True)


def read(path: Path) -> Document:
    """Return a file's data and places. Raises the same as `load`, but only checks the YAML."""
    source = display_path(path)
    try:
        with file_reading.opened(path) as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:  # or endless, like /dev/zero
            raise ManifestError([f"{source}:1:1: longer than {MAX_CHARS} characters"])
        return Document(content.decode("utf-8"), source)
    except FileNotFoundError:
        raise NotFoundError(
            f"{source}: there is no such file", hint="`koco init` makes a project"
        ) from None
    except UnicodeDecodeError as exc:
        line = exc.object.count(b"\n", 0, exc.start) + 1
        column = exc.start - exc.object.rfind(b"\n", 0, exc.start)
        raise ManifestError([f"{source}:{line}:{column}: this is not UTF-8"]) from exc
    except OSError as exc:
        raise ManifestError([f"{source}:1:1: cannot be read: {exc.strerror}"]) from exc


def from_document(document: Document) -> Manifest:
    """Return the manifest in a document; raises `ManifestError`."""
    problems = find_problems(document.data)
    if problems or document.problems:
        raise document.error(problems)
    return Manifest.model_validate(document.data)


def display_path(path: Path) -> str:
    """Return a path for messages: relative if it is below the working directory."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)
