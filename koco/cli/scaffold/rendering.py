"""Make a project's files from a template.

A template's files are those that would be shipped of its folder: not what tools and editors leave
there, what an ignore file lists, or what looks like a secret. Text has its placeholders replaced;
other files are copied byte for byte.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from koco.cli.scaffold import koco_source, schema_file
from koco.cli.scaffold.names import Names
from koco.cli.scaffold.templates import ABOUT, Template
from koco.cli.scaffold.writing import Content
from koco.errors import UsageError
from koco.project import file_tree
from koco.project.secret_files import LeftOut


@dataclass(frozen=True)
class Rendered:
    """A project's files by their paths in it, and those of the template that it does not get."""

    files: dict[Path, Content]
    left_out: tuple[LeftOut, ...] = ()


def render(template: Template, names: Names) -> Rendered:
    """Return the files of a project.

    Raises:
        UsageError: a file of the template cannot be read, or is a link that leads out of it.
    """
    about = template.folder.resolve() / ABOUT
    tree = file_tree.read(template.folder, without={about})
    files: dict[Path, Content] = {}
    for each in tree.files:
        path = Path(names.fill(each.name))
        content = _content(each.path, names)
        if path == Path("pyproject.toml"):
            content = Content(koco_source.add_to(content.data))
        files[path] = content
    if schema_file.is_wanted(each.data for path, each in files.items() if _is_manifest(path)):
        files.setdefault(schema_file.PATH, Content(schema_file.content()))
    return Rendered(files, tree.left_out)


def _content(path: Path, names: Names) -> Content:
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise UsageError(f"{path} cannot be read: {exc.strerror}") from exc
    return Content(_filled(data, names), os.access(path, os.X_OK))


def _filled(data: bytes, names: Names) -> bytes:
    """Return a file's content with its placeholders replaced, if it is text."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return data
    return data if "\0" in text else names.fill(text).encode("utf-8")


def _is_manifest(path: Path) -> bool:
    return path.parent == Path() and path.suffix in (".yaml", ".yml")
