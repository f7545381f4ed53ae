"""Files among a command line's inputs: `-i report=@path` uploads that file or folder.

Only values from the command line or typed into a form can name files. Text from a file of inputs is
left alone, because it may come from somebody else; of `koco run --each`, see `many.line_files`.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from koco.cli.terminal import output
from koco.client import context_file, local_files
from koco.client.answers import File
from koco.errors import ConflictError, NotFoundError, UsageError

if TYPE_CHECKING:
    from koco.client.client import Client
    from koco.client.local_files import LocalFile


class Local(str):
    """The text `@path`, marked as the name of a local file, wherever the text is passed."""

    __slots__ = ()

    @property
    def path(self) -> Path:
        """The path of the file."""
        return context_file.expand_path(self[1:])


def parse_value(text: str) -> str:
    """Return the meaning of a value on the command line: `@path` a file, `@@x` the text `@x`."""
    if text.startswith("@@"):
        return text[1:]
    return Local(text) if text.startswith("@") else text


def resolve(
    client: "Client", values: dict[str, Any], *, fid: str | None = None, is_quiet: bool = False
) -> dict[str, Any]:
    """Upload the files among inputs; return the inputs with references to them.

    For a launch, a reference is `{"$file": {name, sha256}}`. With `fid`, the files are put into
    that execution's `in/`, and a reference is the path. A folder becomes a list. If it `is_quiet`,
    there is no bar.

    Raises:
        NotFoundError: there is no such file or folder.
        KocoError: see `Client.files`.
    """
    chosen = {each: _find_local(each) for each in _locals(values.values())}
    if not chosen:
        return values
    hashes = send(client, [file for files in chosen.values() for file in files], is_quiet=is_quiet)
    if fid is not None:
        attach(client, fid, hashes)

    def mark(file: "LocalFile") -> Any:
        name = file.name
        return f"in/{name}" if fid else {"$file": {"name": name, "sha256": hashes[file]}}

    def replace(value: Any) -> Any:
        if isinstance(value, list):
            return [mark for each in value for mark in _as_list(replace(each))]
        if not isinstance(value, Local):
            return value
        marks = [mark(file) for file in chosen[value]]
        return marks if value.path.is_dir() else marks[0]

    return {key: replace(value) for key, value in values.items()}


def find(given: str | Path) -> list["LocalFile"]:
    """Return a local file, or every file below a folder; see `koco.client.local_files.find`."""
    with _readable():
        return local_files.find(Path(given))


def send(
    client: "Client", files: Iterable["LocalFile"], *, is_quiet: bool = False
) -> dict["LocalFile", str]:
    """Upload the missing files, with a bar at a terminal; return each file's SHA-256."""
    progress = _no_progress if is_quiet else output.progress
    unique = list(dict.fromkeys(files))
    total = sum(file.size_bytes for file in unique)
    label = unique[0].name if len(unique) == 1 else f"{len(unique)} files"
    with _readable(), progress(f"reading {label}", total) as advance:
        hashes = {file: local_files.digest(file.path, advance) for file in unique}
    with _readable(), progress(f"uploading {label}", total) as advance:
        for file, sha256 in hashes.items():
            client.files.upload(file.path, sha256, size_bytes=file.size_bytes, advance=advance)
    return hashes


def attach(
    client: "Client", fid: str, hashes: dict["LocalFile", str], *, to: str = "in"
) -> list[File]:
    """Put uploaded files into a folder of an execution and return them.

    Raises:
        ConflictError: two files have the same name.
    """
    names = [file.name for file in hashes]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConflictError(
            f"two files have the same path {to}/{twice[0]}", hint="put them into different folders"
        )
    return [
        client.files.attach(fid, f"{to}/{file.name}", sha256=sha256, size_bytes=file.size_bytes)
        for file, sha256 in hashes.items()
    ]


def _locals(values: Iterable[Any]) -> Iterator[Local]:
    for value in values:
        if isinstance(value, Local):
            yield value
        elif isinstance(value, list):
            yield from _locals(value)


def _find_local(given: Local) -> list["LocalFile"]:
    try:
        return find(given.path)
    except NotFoundError as exc:
        exc.hint = exc.hint or f"to send the text {str(given)!r}, write {f'@{given}'!r}"
        raise


@contextmanager
def _no_progress(_label: str, _total_bytes: int | None) -> Iterator[output.Advance]:
    yield lambda _: None


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise UsageError(f"cannot read {exc.filename}: {exc.strerror}") from exc


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
