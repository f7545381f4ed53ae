"""The files of a folder that are shipped: those that match a pattern and that no rule leaves out.

The result does not depend on the current folder.
"""

import contextlib
import fnmatch
import os
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple

from koco import file_reading
from koco.client import context_file
from koco.errors import NotFoundError, UsageError
from koco.project import ignore_files, secret_files
from koco.project.ignore_files import Rules
from koco.project.output_files import Identity, identity
from koco.project.secret_files import LeftOut

#: Never shipped, even if included: tools make these, and no flow needs them.
NEVER = (
    *(".git", "__pycache__", "*.pyc", ".venv", "venv", "node_modules", ".DS_Store", "*.egg-info"),
    *(".mypy_cache", ".ruff_cache", ".pytest_cache", ".koco-bundle.json"),
    "koco.schema.json",
)

#: The file that makes a folder a virtual environment, which is never shipped under any name.
_ENVIRONMENT = "pyvenv.cfg"

_NEVER = re.compile("|".join(map(fnmatch.translate, NEVER)))

#: Temporary files of editors, next to the edited file: Vim, Emacs, JetBrains, Kate, LibreOffice,
#: GNOME, macOS and editors that save by renaming. Ignored unless a rule says otherwise.
_TEMPORARY = re.compile(
    r".*~|\..+\.sw[a-px]|#.*#|\.#.*|.*___jb_(tmp|old|bak)___|\..*\.kate-swp"
    r"|\.~lock\..*#|~\$.*|\.goutputstream-.*|.*\.sb-[0-9a-f]+-\w+|\.(nfs|fuse_hidden)[0-9a-f]+"
    r"|.*\.tmp(\.[0-9.]+)?",
    re.DOTALL,
)

#: What koco's own commands write beside people's files: results of `koco run --each`, and exports.
#: Ignored unless a rule says otherwise.
_WRITTEN = re.compile(r".*\.results\.jsonl(\.state.*)?|\.\w+\.[0-9a-f]{8}\.part", re.DOTALL)
#: The files of a folder that `koco export` has made.
_EXPORT = {"execution.json", "inputs.json", "events.ndjson"}

#: A pattern that excludes files of a name, in any folder.
_PLAIN_NAME = re.compile(r"![\w.-]+")

#: The time after which a folder that keeps changing is taken as it is (seconds).
_WALKS_S = 1.0


@dataclass(frozen=True)
class SourceFile:
    """A file to ship: its name in the bundle, and the path to read it from."""

    name: str
    size_bytes: int
    path: Path = field(compare=False)
    #: Whether it matches `include`, and so is shipped even if it looks like a secret.
    is_included: bool = False


@dataclass(frozen=True)
class Tree:
    """A folder's files by name, and those left out because they look like secrets."""

    root: Path
    files: tuple[SourceFile, ...]
    left_out: tuple[LeftOut, ...] = ()
    #: The number of files that are left out only because they configure the deploy.
    declared: int = 0


def read(
    root: Path,
    patterns: Iterable[str] = ("**",),
    *,
    include: Iterable[str] = (),
    without: Collection[Path] = (),
    outputs: Collection[Identity] = (),
) -> Tree:
    """Return the files of a folder that are shipped.

    These are the files that match the patterns and that no rule ignores. A file that looks like a
    secret is shipped only if it matches `include`, and then even if a rule ignores it. The paths
    `without` and the files `outputs` are not shipped.

    Raises:
        NotFoundError: there is no such folder.
        UsageError: a file or folder cannot be shipped or read.
    """
    if not root.is_dir():
        raise NotFoundError(f"{root}: there is no such folder")
    is_wanted, include = _matcher(tuple(patterns)), tuple(include)
    walk = _Walk(root.resolve(), include, outputs)
    found = [each for each in walk.settled() if is_wanted(each.name)]
    files = [each for each in found if isinstance(each, SourceFile)]
    kept = tuple(sorted((f for f in files if f.path not in without), key=lambda file: file.name))
    left_out = tuple(sorted(each for each in found if isinstance(each, LeftOut)))
    return Tree(root, kept, left_out, declared=len(files) - len(kept))


@cache
def _matcher(patterns: tuple[str, ...]) -> Callable[[str], bool]:
    """Return a function that returns whether patterns match a file's name."""
    first, *others = patterns or ("",)
    if first in ("", "**") and all(map(_PLAIN_NAME.fullmatch, others)):
        # The usual case in manifests. `pathspec` need not be imported for names alone.
        names = {text[1:] for text in others}
        return lambda name: bool(first) and name.rpartition("/")[2] not in names
    from pathspec import GitIgnoreSpec

    # Not RE2, even if it is installed, because its patterns reject names that are not UTF-8.
    return GitIgnoreSpec.from_lines(patterns, backend="simple").match_file


class _Folder(NamedTuple):
    """A folder of a walk: the prefix of its files' names, its rules, and the folders on the way."""

    path: Path
    prefix: str
    rules: list[Rules]
    trail: tuple[Path, ...]


class _Walk:
    """Walks a folder as git does: it never looks into an ignored folder."""

    def __init__(self, root: Path, include: tuple[str, ...], outputs: Collection[Identity]) -> None:
        self._root = root
        #: Koco's own directory, if it is in the folder.
        self._home: Path | None = None
        with contextlib.suppress(UsageError):
            home = context_file.home().resolve()
            self._home = home if root in home.parents else None
        self._includes_some = bool(include)
        self._is_included = _matcher(include)
        self._outputs = outputs
        self._above = ignore_files.rules_above(root)
        self._is_fresh = False

    def settled(self) -> list[SourceFile | LeftOut]:
        """Return the content of the folder when no folder has changed for a moment.

        A program that saves by renaming removes the file for a moment and has a temporary one
        instead. For folders that keep changing, the result is their content at some time.
        """
        patience, deadline = file_reading.Patience(), time.monotonic() + _WALKS_S
        seen: dict[str, SourceFile | LeftOut] = {}
        while True:
            self._is_fresh = False
            found = [*self._content(_Folder(self._root, "", self._above, (self._root,)))]
            if not self._is_fresh:
                return found
            seen |= {each.name: each for each in found}
            if time.monotonic() > deadline or not patience.wait():
                return [*seen.values()]  # a missing file may be back when it is read

    def _content(self, folder: _Folder, why: str | None = None) -> Iterator[SourceFile | LeftOut]:
        """Yield the content of a folder; `why` is the kind of secret that the folder looks like."""
        here = self._root / folder.prefix if folder.prefix else self._root
        entries = self._entries(folder.path, folder.prefix or ".")
        names = {entry.name for entry in entries}
        if folder.prefix and (_ENVIRONMENT in names or names >= _EXPORT):
            return
        if own := ignore_files.rules_of(folder.path):
            folder = folder._replace(rules=[*folder.rules, (here, own)])
        for entry in entries:
            if self._is_never(folder.prefix + entry.name, folder.path / entry.name):
                continue
            # Git treats a link as a file, even if it leads to a folder.
            is_folder = entry.is_dir(follow_symlinks=False)
            path = here / entry.name
            is_ignored = ignore_files.is_excluded(path, folder.rules, is_folder=is_folder)
            if is_ignored is None:
                is_ignored = any(each.fullmatch(entry.name) for each in (_TEMPORARY, _WRITTEN))
            looks = why or secret_files.by_name(entry.name, is_folder=is_folder)
            if looks is None and not is_ignored:
                yield from self._entry(entry, folder)
            elif looks is not None:
                found = self._sensitive(entry, folder, looks)
                yield from (each for each in found if not is_ignored or _is_file(each))

    def _is_never(self, name: str, path: Path) -> bool:
        # Koco's own folder has keys, and files that change during the deploy.
        is_homes = self._home is not None and path.is_relative_to(self._home)
        return is_homes or any(map(_NEVER.match, name.split("/")))

    def _entry(
        self, entry: "os.DirEntry[str]", folder: _Folder, *, is_included: bool = False
    ) -> Iterator[SourceFile | LeftOut]:
        """Yield the files to ship for an entry that no rule leaves out."""
        path, name = folder.path / entry.name, folder.prefix + entry.name
        if entry.is_symlink():
            path = self._target(path, name, folder.trail)
            inside = path.relative_to(self._root).as_posix()
            looks = secret_files.by_path(inside, is_folder=path.is_dir())
            if looks is not None and not is_included:
                yield LeftOut(name, looks)
                return
        try:
            status = path.stat()
        except FileNotFoundError:
            return  # removed meanwhile
        except OSError as exc:
            raise unreadable(name, exc) from exc
        if path.is_dir():
            yield from self._content(_Folder(path, f"{name}/", folder.rules, (*folder.trail, path)))
        elif path.is_file() and identity(status) not in self._outputs:
            # Not a socket or pipe. Its content may still begin like a secret.
            is_included = is_included or self._is_included(name)
            yield SourceFile(_utf8(name), status.st_size, path, is_included)

    def _sensitive(
        self, entry: "os.DirEntry[str]", folder: _Folder, looks: str
    ) -> Iterator[SourceFile | LeftOut]:
        """Yield an entry that looks like a secret: as a file if it is included, or as left out."""
        name = folder.prefix + entry.name
        if entry.is_dir(follow_symlinks=False):
            inside: list[SourceFile | LeftOut] = []
            if self._includes_some:
                below = folder._replace(path=folder.path / entry.name, prefix=f"{name}/")
                inside += self._content(below, looks)
            yield from inside if any(map(_is_file, inside)) else [LeftOut(f"{name}/", looks)]
        elif self._is_included(name):
            yield from self._entry(entry, folder, is_included=True)
        else:
            yield LeftOut(name, looks)

    def _target(self, path: Path, name: str, trail: tuple[Path, ...]) -> Path:
        """Return the target of a link, if it can be shipped."""
        try:
            target = path.resolve(strict=True)
        except (OSError, RuntimeError) as exc:
            raise UsageError(
                f"{name} is a link to {os.readlink(path)}, which is not there",  # noqa: PTH115 - as written
                hint="remove it, or list it in .kocoignore",
            ) from exc
        hint = "copy what it leads to, or list it in .kocoignore"
        if not target.is_relative_to(self._root):
            raise UsageError(f"{name} is a link that leads out of the project: {target}", hint=hint)
        if target in trail:
            raise UsageError(f"{name} is a link to a folder that it is in: {target}", hint=hint)
        inside = target.relative_to(self._root).as_posix()
        if self._is_never(inside, target):
            raise UsageError(f"{name} is a link to {inside}, which is never shipped", hint=hint)
        return target

    def _entries(self, folder: Path, name: str) -> list["os.DirEntry[str]"]:
        try:
            began = time.time()
            with os.scandir(folder) as entries:
                found = list(entries)
            self._is_fresh |= file_reading.is_fresh(folder.stat(), since=began)
            return found
        except FileNotFoundError:
            return []  # removed meanwhile
        except OSError as exc:
            raise unreadable(name.rstrip("/"), exc) from exc


def _is_file(each: SourceFile | LeftOut) -> bool:
    return isinstance(each, SourceFile)


def unreadable(name: str, exc: OSError) -> UsageError:
    """Return the error for a file that cannot be read."""
    return UsageError(
        f"{name} cannot be read: {exc.strerror}",
        hint="make it readable, or list it in .kocoignore",
    )


def _utf8(name: str) -> str:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise UsageError(
            f"{name.encode('utf-8', 'backslashreplace').decode()} has a name that is not UTF-8",
            hint="rename it, or list its folder in .kocoignore",
        ) from None
    return name
