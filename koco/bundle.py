"""A project's files as one zip, named by its SHA-256: the same files, the same bytes.

Order, times and permissions (but the exec bit) are fixed, so neither the machine
nor its clock, umask or file system shows. Compression is zlib's, level 6: its
bytes are the same wherever the zlib is, and another zlib may make others. That
costs an upload and a release with the same content, never a wrong file.
"""

import hashlib
import os
import re
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from koco.errors import NotFoundError, UsageError

#: Never shipped, whatever is asked for: made by tools, and nothing a flow needs.
NEVER = (
    *(".git", "__pycache__", "*.pyc", ".venv", "venv", "node_modules", ".DS_Store", "*.egg-info"),
    *(".mypy_cache", ".ruff_cache", ".pytest_cache", ".koco-bundle.json"),
)

#: What says which files stay at home; a later one has the last word.
IGNORE_FILES = (".gitignore", ".kocoignore")

#: The zip's first file. Ray strips a sole top-level folder from archives that it
#: fetches: with a file beside it, none is alone.
MARKER = ".koco-bundle.json"
_MARKER_CONTENT = b'{"format": 1}\n'

#: The earliest time that a zip can hold.
_EPOCH = (1980, 1, 1, 0, 0, 0)
_LEVEL = 6
_CHUNK_BYTES = 1 << 20


#: The lines of an ignore file, each with whether it excludes, and the folder they are about.
_Rules = tuple[Path, list[tuple["re.Pattern[str]", bool]]]


@dataclass(frozen=True)
class BundledFile:
    """A file to ship: its name in the bundle, and where it is read from."""

    name: str
    size_bytes: int
    path: Path = field(compare=False)


@dataclass(frozen=True)
class Bundle:
    """A zip on disk. As a context manager it removes that file at the end."""

    path: Path
    sha256: str
    size_bytes: int
    files: tuple[BundledFile, ...]

    def largest(self, n: int = 5) -> list[BundledFile]:
        """Return the `n` largest files, as they were before compression."""
        return sorted(self.files, key=lambda file: (-file.size_bytes, file.name))[:n]

    def oversize(self, limit_bytes: int) -> str | None:
        """Return a warning that names the largest files, if the zip exceeds the limit."""
        if self.size_bytes <= limit_bytes:
            return None
        names = ", ".join(f"{file.name} ({_mib(file.size_bytes)})" for file in self.largest())
        return (
            f"the bundle has {_mib(self.size_bytes)}, more than {_mib(limit_bytes)}; "
            f"largest: {names}; .kocoignore keeps files at home"
        )

    def remove(self) -> None:
        """Remove the zip from the disk."""
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.remove()


def pack(
    root: Path,
    patterns: Iterable[str] = ("**",),
    *,
    without: Collection[Path] = (),
    dest: Path | None = None,
) -> Bundle:
    """Pack the files below `root` that match the patterns and are not ignored.

    Those of the paths `without` are left out, though there be no others. The zip is
    written to `dest`, or else to a temporary file that its user removes. Raises
    `UsageError` for what cannot be shipped, and where nothing is.
    """
    patterns = tuple(patterns)
    files = collect(root, patterns, without=without)
    if not files and not collect(root, patterns):
        raise UsageError(
            f"{root}: there are no files to ship",
            hint="look at .gitignore, .kocoignore and the manifest's runtime.files",
        )
    try:
        packed = _packed(files, dest.parent if dest else None)
        return replace(packed, path=packed.path.replace(dest)) if dest else packed
    except OSError as exc:
        what = f"the bundle cannot be written: {exc.strerror}"
        what += f": {exc.filename}" if exc.filename else ""
        raise UsageError(what, hint="TMPDIR names another folder for temporary files") from exc


def _packed(files: tuple[BundledFile, ...], folder: Path | None) -> Bundle:
    with tempfile.NamedTemporaryFile(
        dir=folder, prefix="koco-", suffix=".zip", delete=False
    ) as out:
        path = Path(out.name)
        try:
            _write(out, files)
            out.seek(0)
            digest = hashlib.file_digest(out, "sha256").hexdigest()
            return Bundle(path, digest, out.seek(0, os.SEEK_END), files)
        except BaseException:
            path.unlink(missing_ok=True)
            raise


def collect(
    root: Path, patterns: Iterable[str] = ("**",), *, without: Collection[Path] = ()
) -> tuple[BundledFile, ...]:
    """Return the files that `pack` would ship, by name."""
    from pathspec import GitIgnoreSpec

    if not root.is_dir():
        raise NotFoundError(f"{root}: there is no such folder")
    wanted = GitIgnoreSpec.from_lines(patterns)
    found = (file for file in _Walk(root.resolve()).files() if wanted.match_file(file.name))
    kept = (file for file in found if file.path not in without)
    return tuple(sorted(kept, key=lambda file: file.name))


class _Walk:
    """Walks a folder as git does: what is in an ignored folder is never looked at."""

    def __init__(self, root: Path) -> None:
        from pathspec import GitIgnoreSpec

        self._root = root
        self._never = GitIgnoreSpec.from_lines(NEVER)
        self._above = self._rules_above()

    def files(self) -> Iterator[BundledFile]:
        """Yield every file that is not ignored."""
        yield from self._folder(self._root, "", self._above, (self._root,))

    def _folder(
        self,
        folder: Path,
        prefix: str,
        rules: list[_Rules],
        trail: tuple[Path, ...],
    ) -> Iterator[BundledFile]:
        here = self._root / prefix if prefix else self._root
        entries = _entries(folder, prefix or ".")
        rules = [*rules, (here, own)] if (own := _rules(folder)) else rules
        for entry in entries:
            name = prefix + entry.name
            # To git, a link is a file, also where it leads to a folder.
            is_folder = entry.is_dir(follow_symlinks=False)
            if self._never.match_file(name) or _is_ignored(
                here / entry.name, rules, is_folder=is_folder
            ):
                continue
            path = folder / entry.name
            if entry.is_symlink():
                path = self._target(path, name, trail)
            if path.is_dir():
                yield from self._folder(path, f"{name}/", rules, (*trail, path))
            elif path.is_file():  # and no socket or pipe
                yield BundledFile(_utf8(name), path.stat().st_size, path)

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
        if self._never.match_file(inside):
            raise UsageError(f"{name} is a link to {inside}, which is never shipped", hint=hint)
        return target

    def _rules_above(self) -> list[_Rules]:
        """Return the rules of the folders above, as far as the git repository reaches."""
        chain = [self._root, *self._root.parents]
        top = next((at for at, folder in enumerate(chain) if (folder / ".git").exists()), 0)
        above: list[_Rules] = []
        for at in range(top, 0, -1):
            above.append((chain[at], _rules(chain[at])))
            # Whoever deploys a folder that its repository ignores means it all the same.
            if _is_ignored(chain[at - 1], above, is_folder=True):
                return []
        return above


def _is_ignored(path: Path, rules: list[_Rules], *, is_folder: bool) -> bool:
    """Say whether rules (outermost first) exclude a path: the last that speaks decides."""
    for base, lines in reversed(rules):
        name = path.relative_to(base).as_posix()
        for regex, excludes in reversed(lines):
            # Only what names a folder as such has the group.
            is_marked = is_folder and "ps_d" in regex.groupindex
            if regex.search(f"{name}/" if is_marked else name):
                return excludes
    return False


def _rules(folder: Path) -> list[tuple["re.Pattern[str]", bool]]:
    from pathspec import GitIgnoreSpec

    lines: list[str] = []
    for name in IGNORE_FILES:
        path = folder / name
        try:
            if path.is_file():
                lines += path.read_text("utf-8-sig", "surrogateescape").splitlines()
        except OSError as exc:
            raise UsageError(f"{path} cannot be read: {exc.strerror}") from exc
    try:
        found = GitIgnoreSpec.from_lines(lines).patterns
    except ValueError as exc:
        raise UsageError(f"{folder}: a rule in {' or '.join(IGNORE_FILES)}: {exc}") from exc
    # pathspec's patterns match what is in a folder along with it, which is wrong for a walk
    # with `!` rules: `*` and `!*/` must not bring a folder's files back. So: to the end only.
    return [
        (_whole(rule.regex), rule.include)
        for rule in found
        if rule.regex and rule.include is not None
    ]


def _whole(regex: "re.Pattern[str]") -> "re.Pattern[str]":
    is_marked = "ps_d" in regex.groupindex
    return re.compile(rf"{regex.pattern}\Z") if is_marked else regex


def _entries(folder: Path, name: str) -> list["os.DirEntry[str]"]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as exc:
        raise unreadable(name.rstrip("/"), exc) from exc


def _write(out: IO[bytes], files: tuple[BundledFile, ...]) -> None:
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as archive:
        archive.writestr(_entry(MARKER, executable=False), _MARKER_CONTENT)
        for file in files:
            try:
                with file.path.open("rb") as source:
                    mode = os.fstat(source.fileno()).st_mode
                    entry = _entry(file.name, executable=bool(mode & stat.S_IXUSR))
                    # Says beforehand whether its sizes need 64 bits.
                    entry.file_size = file.size_bytes
                    with archive.open(entry, "w") as target:
                        shutil.copyfileobj(source, target, _CHUNK_BYTES)
            except PermissionError as exc:
                raise unreadable(file.name, exc) from exc
            except FileNotFoundError as exc:
                raise UsageError(f"{file.name} was removed while it was packed") from exc


def _entry(name: str, *, executable: bool) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.create_system = 3  # Unix, wherever it is made
    entry.external_attr = (stat.S_IFREG | (0o755 if executable else 0o644)) << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    # writestr and open take it from the entry, not from the archive.
    entry._compresslevel = _LEVEL  # type: ignore[attr-defined]
    return entry


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


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:.1f} MiB"
