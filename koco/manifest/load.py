"""Loading of manifests from a file, a text or data, with all problems in one error.

The models are imported when the first manifest is loaded, because they and pydantic take 9 MB.
"""

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import msgspec

from koco import file_reading
from koco.errors import ManifestError, NotFoundError
from koco.manifest.yaml_document import MAX_CHARS, Document

if TYPE_CHECKING:
    from koco.manifest.model import Manifest

#: The most bytes that a manifest of `MAX_CHARS` can have.
_MOST_BYTES = 4 * MAX_CHARS


def load(path: Path) -> "Manifest":
    """Return the manifest in a file.

    Raises `ManifestError` with all problems as `file:line:column: message (hint: …)`,
    and `NotFoundError` if the file does not exist.
    """
    return from_document(read(path))


def parse(text: str, source: str = "<text>") -> "Manifest":
    """Return the manifest in a text; `source` is the file's name in problems."""
    return from_document(Document(text, source))


def check(data: Any) -> "Manifest":
    """Return the manifest in plain data; problems name key paths, like `flows[0].name`."""
    from koco.manifest.checks import find_problems
    from koco.manifest.model import Manifest

    problems = find_problems(data)
    if problems:
        raise ManifestError([str(problem) for problem in problems])
    return Manifest.model_validate(data)


# Cached, because a release is read often, and parsing takes longer than reading.
@lru_cache(maxsize=128)
def restore(stored: str) -> "Manifest":
    """Return the manifest of a stored release from its JSON. Don't change what is inside.

    Another koco may have checked it by other rules. Such a manifest is taken as it is: keys that
    this koco does not know are left out, and new keys have their defaults.
    """
    from pydantic import ValidationError

    from koco.manifest.model import Manifest

    data = msgspec.json.decode(stored)
    try:
        return Manifest.model_validate(data)
    except ValidationError:
        manifest: Manifest = _construct(Manifest, data)
        return manifest


def _construct(kind: Any, value: Any) -> Any:
    """Return a value as the type of its field, without checking it."""
    if isinstance(value, list):
        return tuple(_construct((*get_args(kind), None)[0], each) for each in value)
    if not (isinstance(value, dict) and hasattr(kind, "model_fields")):
        return value
    known = kind.model_fields
    return kind.model_construct(
        **{
            key: _construct(known[key].annotation, each)
            for key, each in value.items()
            if key in known
        }
    )


def to_data(manifest: "Manifest") -> dict[str, Any]:
    """Return a manifest as plain data, with its defaults. `check` is the inverse."""
    return manifest.model_dump(mode="json", warnings=False)


def to_wire(manifest: "Manifest") -> dict[str, Any]:
    """Return a manifest as plain data to send, without its defaults. `check` fills them in.

    An older control plane refuses unknown keys, so a key with its default must not be sent.
    """
    return manifest.model_dump(mode="json", exclude_defaults=True)


def read(path: Path, *, merges: bool = False) -> Document:
    """Return a file's data and places. Raises the same as `load`, but only checks the YAML.

    `merges` allows YAML's merge keys, for files of other programs.
    """
    source = display_path(path)
    try:
        if not (path.is_file() or path.is_char_device()) and path.exists():  # a pipe would wait
            raise ManifestError([f"{source}:1:1: cannot be read: it is not a file"])
        with file_reading.opened(path) as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:  # or endless, like /dev/zero
            raise ManifestError([f"{source}:1:1: longer than {MAX_CHARS} characters"])
        return Document(content.decode("utf-8"), source, merges=merges)
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


def from_document(document: Document) -> "Manifest":
    """Return the manifest in a document; raises `ManifestError`."""
    from koco.manifest.checks import find_problems
    from koco.manifest.model import Manifest

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
