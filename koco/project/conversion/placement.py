"""Finds the folder to ship for an application: its code, and where that is if it is not here."""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from koco.project.conversion import code
from koco.project.conversion.draft import Draft, mask
from koco.project.conversion.sources import Application

_SECTION = "root"

#: The path of GitHub's archive of a repository.
_ARCHIVE = re.compile(r"/[^/]+/(?P<name>[^/]+)/archive/(?:refs/(?:tags|heads)/)?(?P<ref>.+)\.zip")

#: The files that Kodosumi writes into a project by default, also later if it still runs. Old logs
#: have numbers at their ends.
_KODOSUMIS_DATA = ("data/execution/**", "data/uploads/**", "data/*.db*", "data/*.log*")

_REMOTE = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)

_PACKED = (".zip", ".whl", ".jar")


def place(application: Application, draft: Draft, project: Path) -> Path | None:
    """Set a draft's root to the folder that has its module, and return that; None if unknown."""
    target = code.ImportPath.of(draft.app)
    folders, remote_root = _local_folders(application, project), _note_remote(application, draft)
    folders += [application.file.parent, project]
    root = code.find_root(target.module, folders, project)
    # The project may be a new folder next to the code.
    root = root or code.find_root(target.module, [], Path())
    if root is not None:
        draft.root = _relative(root, project)
        _note_others(application, draft, root, project)
    elif remote_root is not None:
        draft.root = remote_root
    elif not any(note.section == _SECTION for note in draft.notes):
        path = f"{target.module.replace('.', '/')}.py"
        message = f"there is no {path} here; set `root` to the folder that has it"
        draft.note("import_path", message, _SECTION)
    return root


def leave_out(draft: Draft, root: Path, deployment_files: Iterable[Path]) -> None:
    """Keep deployment files, which may hold keys, and Kodosumi's own data out of the bundle."""
    base = root.resolve()
    for file in deployment_files:
        if file.resolve().is_relative_to(base):
            draft.files.append(f"!/{file.resolve().relative_to(base).as_posix()}")
    if (root / "data").is_dir():
        draft.files += [f"!/{pattern}" for pattern in _KODOSUMIS_DATA]


def _relative(folder: Path, project: Path) -> str:
    return Path(os.path.relpath(folder.resolve(), project.resolve())).as_posix()


def _listed(application: Application) -> list[tuple[str, str]]:
    """Return the key and the text of each place that has code."""
    environment = application.environment
    working_dir, modules = environment.get("working_dir"), environment.get("py_modules")
    if working_dir is not None and not isinstance(working_dir, str):
        raise application.wrong(("runtime_env", "working_dir"), "the path of a folder")
    if modules is not None and not isinstance(modules, list):
        raise application.wrong(("runtime_env", "py_modules"), "a list of paths")
    for index, each in enumerate(modules or ()):
        if not isinstance(each, str):
            raise application.wrong(("runtime_env", "py_modules", index), "a path")
    listed = [("working_dir", working_dir)] if working_dir else []
    return [*listed, *(("py_modules", each) for each in modules or ())]


def _local_folders(application: Application, project: Path) -> list[Path]:
    """Return the folders of this machine from which Ray imports modules."""
    found = []
    for key, text in _listed(application):
        if not _REMOTE.match(text):
            near = (project / text, application.file.parent / text)
            path = next((each for each in near if each.exists()), near[0])
            # An entry of `py_modules` is the folder of the module itself.
            found.append(path if key == "working_dir" else path.parent)
    return found


def _note_others(application: Application, draft: Draft, root: Path, project: Path) -> None:
    """Add a note for each further folder, because a service ships one."""
    listed = [each for each in _listed(application) if not _REMOTE.match(each[1])]
    folders = _local_folders(application, project)
    for (key, text), folder in zip(listed, folders, strict=True):
        if not root.resolve().is_relative_to(folder.resolve()):
            message = f"{text} is not in `root`; move it there, or make it a dependency"
            draft.note(f"runtime_env.{key}", message, _SECTION)
        elif text.endswith(_PACKED):
            draft.note(f"runtime_env.{key}", f"unpack {text}: koco ships files", _SECTION)
        # Ray makes it the current directory.
        draft.chdir |= key == "working_dir" and folder.resolve() == root.resolve()


def _note_remote(application: Application, draft: Draft) -> str | None:
    """Add a note on each place that Ray downloads; return the folder that unpacking one makes."""
    root = None
    for key, url in _listed(application):
        if not _REMOTE.match(url):
            continue
        root = root or _unpacked(url)
        draft.chdir |= key == "working_dir"
        ships = "koco ships code of this machine, so"
        if _unpacked(url) is None:
            message = f"{ships} download {mask(url)} and set `root` to it"
        else:
            command = f"curl -Lo code.zip {mask(url)} && python -m zipfile -e code.zip ."
            message = f"{ships} download and unpack it here: `{command}`"
        draft.note(f"runtime_env.{key}", message, _SECTION)
    return root


def _unpacked(url: str) -> str | None:
    """Return the folder that one of GitHub's archives makes, or None for another URL."""
    archive = _ARCHIVE.fullmatch(urlsplit(url).path)
    if archive is None:
        return None
    reference = archive["ref"].replace("/", "-")
    if re.fullmatch(r"v\d.*", reference):
        reference = reference[1:]  # GitHub leaves out the v of a version
    return f"{archive['name']}-{reference}"
