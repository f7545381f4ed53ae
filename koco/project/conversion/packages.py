"""Converts the packages of a runtime environment: `pip`, `uv` and `conda`."""

import re
from pathlib import Path, PurePosixPath
from typing import Any

from koco.manifest import key_literals, requirements, rules
from koco.manifest.problems import InvalidValueError, KeyPath, format_path
from koco.manifest.yaml_document import MAX_CHARS
from koco.project.conversion.draft import Draft
from koco.project.conversion.sources import Application

_SECTION = "runtime"

#: The name that a requirement begins with.
_NAME = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)")

#: A line that includes a requirements file.
_INCLUDE = re.compile(r"(?:-r|--requirement)[ =]*(\S.*)")

#: Packages that are there without an installation, and why.
_OURS = {
    "kodosumi": "koco brings it",
    "koco": "koco brings it",
    "ray": "the cluster has its own",
}


def convert(application: Application, draft: Draft, root: Path) -> None:
    """Add an application's packages to a draft. `root` is the folder that is shipped.

    Files of requirements are read only if they are below the shipped folder, the deployment file's
    folder or the working directory: the file may be somebody else's, and its notes are printed.
    """
    environment = application.environment
    for tool in ("pip", "uv"):
        if (value := environment.get(tool)) is not None:
            _convert(value, ("runtime_env", tool), application, draft, root)
    if (value := environment.get("conda")) is not None:
        _conda(value, application, draft, root)


def _convert(value: Any, path: KeyPath, application: Application, draft: Draft, root: Path) -> None:
    """Add packages given as a list, as the path of a file, or as a mapping with options."""
    if isinstance(value, dict):
        for key in (each for each in value if each != "packages"):
            message = "koco's nodes install with uv and have no such option"
            draft.note(format_path((*path, key)), message, _SECTION)
        if value.get("packages") is not None:
            _convert(value["packages"], (*path, "packages"), application, draft, root)
    elif isinstance(value, str):
        _from_file(value, path, application, draft, root)
    elif isinstance(value, list):
        for index, each in enumerate(value):
            if not isinstance(each, str):
                raise application.wrong((*path, index), "a requirement as text")
            if include := _INCLUDE.fullmatch(each.strip()):
                _from_file(include[1], (*path, index), application, draft, root)
            else:
                _add(each, format_path((*path, index)), draft)
    else:
        raise application.wrong(path, "a list of requirements, or the path of a file")


def _add(text: str, key: str, draft: Draft) -> None:
    """Add one requirement, or a note if koco has no counterpart."""
    text = text.strip()
    name = _NAME.match(text)
    if name and name[1].lower() in _OURS:
        message = f"{name[1]} is left out, because {_OURS[name[1].lower()]}"
        draft.note(key, message, _SECTION, is_todo=False)
        return
    if key_literals.mask((), text) != text:
        message = f"{name[1] if name else 'a requirement'} is left out: it contains a password"
        draft.note(key, f"{message}; install it from an index, or ship its code", _SECTION)
        return
    if "://" in text and "@ " not in text:
        draft.note(key, f"{text}: write the package's name in front, `NAME @ URL`", _SECTION)
        return
    try:
        requirement = rules.check_requirement(text)
    except InvalidValueError as exc:
        draft.note(key, f"{exc}{f' ({exc.hint})' if exc.hint else ''}", _SECTION)
        return
    if requirement not in draft.dependencies:
        draft.dependencies.append(requirement)


def _from_file(
    name: str, path: KeyPath, application: Application, draft: Draft, root: Path
) -> None:
    """Name a requirements file in the draft, or add its lines if koco must not install them all."""
    key = format_path(path)
    shipped = PurePosixPath(name.removeprefix("./"))
    if not _is_inside(root / name, application, root):
        message = f"{name} is not in this project; list its packages in `dependencies`"
        draft.note(key, message, _SECTION)
    elif shipped.is_absolute() or ".." in shipped.parts or not (root / shipped).is_file():
        beside = application.file.parent / name
        if beside.is_file() and _is_inside(beside, application, root):
            _add_lines(beside, key, draft)
        else:
            draft.note(key, f"there is no file {name} in the folder that is shipped", _SECTION)
    elif _names_ours(root / shipped):
        _add_lines(root / shipped, key, draft)
        message = f"its packages are listed here, because {name} names some that koco leaves out"
        draft.note(key, message, _SECTION, is_todo=False)
    elif draft.requirements is None:
        draft.requirements = shipped.as_posix()
    else:
        _add_lines(root / shipped, key, draft)


def _is_inside(file: Path, application: Application, root: Path) -> bool:
    """Return whether a file, through all links, is in a folder that may be read."""
    folders = (root, application.file.parent, Path())
    return any(file.resolve().is_relative_to(each.resolve()) for each in folders)


def _names_ours(file: Path) -> bool:
    lines = _read(file).lines
    return any((name := _NAME.match(line)) and name[1].lower() in _OURS for line in lines)


def _read(file: Path) -> requirements.Requirements:
    def text_of(name: str) -> str | None:
        inner = file.parent / name
        if not inner.is_file() or not inner.resolve().is_relative_to(file.resolve().parent):
            return None
        with inner.open(encoding="utf-8", errors="replace") as opened:
            return opened.read(MAX_CHARS)

    return requirements.read(file.name, text_of)


def _add_lines(file: Path, key: str, draft: Draft) -> None:
    found = _read(file)
    for line in found.lines:
        _add(line, key, draft)
    for problem in found.problems:
        # Without the line itself: the file may hold anything, passwords as well.
        place = ":".join(problem.split(":", 2)[:2])
        draft.note(key, f"{place}: nodes cannot install this line", _SECTION)


def _conda(value: Any, application: Application, draft: Draft, root: Path) -> None:
    """Add the packages that a Conda environment installs with pip, and a note on all others."""
    key = "runtime_env.conda"
    if not isinstance(value, dict):
        draft.note(key, f"koco has no Conda environments, so {value!r} is left out", _SECTION)
        return
    listed = value.get("dependencies")
    for index, each in enumerate(listed if isinstance(listed, list) else ()):
        if isinstance(each, dict) and "pip" in each:
            path: KeyPath = ("runtime_env", "conda", "dependencies", index, "pip")
            _convert(each["pip"], path, application, draft, root)
        elif str(each) != "pip":
            message = f"koco has no Conda environments, so {each!r} is left out"
            draft.note(key, f"{message}; if PyPI has it, list it in `dependencies`", _SECTION)
