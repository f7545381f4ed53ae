"""The files of a folder that are shipped: those that patterns name and no rule leaves out.

The same folder gives the same files from wherever it is looked at.
"""

import fnmatch
import os
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from koco import file_reading
from koco.client import context_file
from koco.errors import NotFoundError, UsageError
from koco.project import ignore_files, secret_files
from koco.project.ignore_files import Rules
from koco.project.output_files import Identity
from koco.project.secret_files import LeftOut

#: Never shipped, whatever is asked for: made by tools, and nothing a flow needs.
NEVER = (
    *(".git", "__pycache__", "*.pyc", ".venv", "venv", "node_modules", ".DS_Store", "*.egg-info"),
    *(".mypy_cache", ".ruff_cache", ".pytest_cache", ".koco-bundle.json"),
)

_NEVER = re.compile("|".join(map(fnmatch.translate, NEVER)))

#: Files that an editor keeps for a while beside those that it edits: Vim, Emacs, JetBrains, Kate,
#: LibreOffice, GNOME, macOS and those that save by renaming. Ignored where no rule says otherwise.
_TEMPORARY = re.compile(
    r".*~|\..+\.sw[a-px]|#.*#|\.#.*|.*___jb_(tmp|old|bak)___|\..*\.kate-swp"
    r"|\.~lock\..*#|~\$.*|\.goutputstream-.*|.*\.sb-[0-9a-f]+-\w+|\.(nfs|fuse_hidden)[0-9a-f]+"
    r"|.*\.tmp(\.[0-9.]+)?",
    re.DOTALL,
)

#: A pattern that takes files of a name out again, in whichever folder.
_PLAIN_NAME = re.compile(r"![\w.-]+")

#: After how long (seconds) a folder that does not come to rest is taken as it is.
_WALKS_S = 1.0


@dataclass(frozen=True)
class SourceFile:
    """A file to ship: its name in the bundle, and where it is read from."""

    name: str
    size_bytes: int
    path: Path = field(compare=False)
    #: Whether it is named by `include`, and so shipped whatever it looks like.
    is_included: bool = False


@dataclass(frozen=True)
class Tree:
    """A folder's files by name, and what is left out of them as it looks like a secret."""

    root: Path
    files: tuple[SourceFile, ...]
    left_out: tuple[LeftOut, ...] = ()
    #: How many files are not shipped only because they say how to deploy.
    declared: int = 0


def read(
    root: Path,
    patterns: Iterable[str] = ("**",),
    *,
    include: Iterable[str] = (),
    without: Collection[Path] = (),
    outputs: Collection[Identity] = (),
) -> Tree:
    """Return what is shipped of a folder.

    Those are the files that match the patterns and that no rule ignores. Of those that look like
    secrets, only what `include` matches; that is shipped though it be ignored. The paths
    `without` are not, nor are the files `outputs`.

    Raises:
        NotFoundError: there is no such folder.
        UsageError: a file or folder cannot be shipped, or not be read.
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
    """Return what tells whether patterns match a file's name."""
    first, *others = patterns or ("",)
    if first in ("", "**") and all(map(_PLAIN_NAME.fullmatch, others)):
        # What most manifests say. Of names alone, `pathspec` need not be imported.
        names = {text[1:] for text in others}
        return lambda name: bool(first) and name.rpartition("/")[2] not in names
    from pathspec import GitIgnoreSpec

    # Not RE2, where that is installed: its patterns take no name that is not UTF-8.
    return GitIgnoreSpec.from_lines(patterns, backend="simple").match_file


def _home_below(root: Path) -> Path | None:
    """Return koco's own directory where it is in a folder."""
    try:
        home = context_file.home().resolve()
    except UsageError:  # there is none
        return None
    return home if root in home.parents else None


class _Walk:
    """Walks a folder as git does: what is in an ignored folder is never looked at."""

    def __init__(self, root: Path, include: tuple[str, ...], outputs: Collection[Identity]) -> None:
        self._root = root
        self._home = _home_below(root)
        self._includes_some = bool(include)
        self._is_included = _matcher(include)
        self._outputs = outputs
        self._above = ignore_files.rules_above(root)
        self._is_fresh = False

    def settled(self) -> list[SourceFile | LeftOut]:
        """Return what is there when no folder has changed for a moment.

        Programs that save by renaming have the file away, and another one there, meanwhile. Of
        folders that do not come to rest, it is what was there at some time.
        """
        patience, deadline = file_reading.Patience(), time.monotonic() + _WALKS_S
        seen: dict[str, SourceFile | LeftOut] = {}
        while True:
            self._is_fresh = False
            found = [*self._folder(self._root, "", self._above, (self._root,))]
            if not self._is_fresh:
                return found
            seen |= {each.name: each for each in found}
            if time.monotonic() > deadline or not patience.wait():
                return [*seen.values()]  # what is away just now may be back when it is read

    def _folder(
        self,
        folder: Path,
        prefix: str,
        rules: list[Rules],
        trail: tuple[Path, ...],
        why: str | None = None,
    ) -> Iterator[SourceFile | LeftOut]:
        """Yield what is in a folder; `why` says what it is that it looks like as a whole."""
        here = self._root / prefix if prefix else self._root
        entries = self._entries(folder, prefix or ".")
        rules = [*rules, (here, own)] if (own := ignore_files.rules_of(folder)) else rules
        for entry in entries:
            name = prefix + entry.name
            if self._is_never(name, folder / entry.name):
                continue
            # To git, a link is a file, also where it leads to a folder.
            is_folder = entry.is_dir(follow_symlinks=False)
            is_ignored = ignore_files.is_excluded(here / entry.name, rules, is_folder=is_folder)
            if is_ignored is None:
                is_ignored = bool(_TEMPORARY.fullmatch(entry.name))
            looks = why or secret_files.by_name(entry.name, is_folder=is_folder)
            if looks is None and not is_ignored:
                yield from self._entry(entry, name, folder, rules, trail)
            elif looks is not None:
                found = self._sensitive(entry, name, folder, rules, trail, looks)
                yield from (each for each in found if not is_ignored or _is_file(each))

    def _is_never(self, name: str, path: Path) -> bool:
        # With koco's own folder, keys would be shipped, and what changes while it deploys.
        is_homes = self._home is not None and path.is_relative_to(self._home)
        return is_homes or any(map(_NEVER.match, name.split("/")))

    def _entry(
        self,
        entry: "os.DirEntry[str]",
        name: str,
        folder: Path,
        rules: list[Rules],
        trail: tuple[Path, ...],
        *,
        is_included: bool = False,
    ) -> Iterator[SourceFile | LeftOut]:
        """Yield what is shipped of an entry that nothing leaves out."""
        path = folder / entry.name
        if entry.is_symlink():
            path = self._target(path, name, trail)
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
            yield from self._folder(path, f"{name}/", rules, (*trail, path))
        elif path.is_file() and (status.st_dev, status.st_ino) not in self._outputs:
            # And no socket or pipe. It may yet begin as a secret does.
            is_included = is_included or self._is_included(name)
            yield SourceFile(_utf8(name), status.st_size, path, is_included)

    def _sensitive(
        self,
        entry: "os.DirEntry[str]",
        name: str,
        folder: Path,
        rules: list[Rules],
        trail: tuple[Path, ...],
        looks: str,
    ) -> Iterator[SourceFile | LeftOut]:
        """Yield an entry that looks like a secret: shipped if it is included, or else left out."""
        if entry.is_dir(follow_symlinks=False):
            inside: list[SourceFile | LeftOut] = []
            if self._includes_some:
                inside += self._folder(folder / entry.name, f"{name}/", rules, trail, looks)
            yield from inside if any(map(_is_file, inside)) else [LeftOut(f"{name}/", looks)]
        elif self._is_included(name):
            yield from self._entry(entry, name, folder, rules, trail, is_included=True)
        else:
            yield LeftOut(name, looks)

    def _target(self, path: Path, name: str, trail: tuple[Path, ...]) -> Path:
        """Return where a link leads, if that can be shipped."""
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
    """Return what to say of a file that cannot be read."""
    return UsageError(
        f"{name} cannot be read: {exc.strerror}",
        hint="make it readable, or list it in .kocoignore",
    )


def _utf8(name: str) -> str:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise UsageError(
            f"{name.encode('utf-8', 'backslashreplace').decode()} has a name that is no UTF-8",
            hint="rename it, or list its folder in .kocoignore",
        ) from None
    return name
