"""Executions' files: uploads in a launch, files attached later, and who may attach them.

A file is a row that names a blob, so nothing here touches a path on disk. A flow
reaches its files over HTTP, because it may run on any node. Its token is valid for
its execution only.
"""

import hashlib
import hmac
from typing import Any

import msgspec

from koco import file_paths, tokens
from koco.control.access.caller import Caller
from koco.control.events.spooler import Spooler
from koco.control.storage.blobs import Blobs
from koco.errors import ConflictError, InputsError, NotAllowedError, PathError
from koco.forms import InputFiles, Model
from koco.forms.off_loop import is_small, run_check
from koco.store.model import Execution, File, FileLimits, NewFile
from koco.store.store import Store

#: The key that marks an uploaded file in a launch's inputs.
MARK = "$file"


class Upload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An uploaded file in a launch's inputs: the name it should get, and its blob."""

    name: str
    sha256: str


class Brought:
    """The files of one launch, by the paths that they get."""

    def __init__(self) -> None:
        self.files: dict[str, NewFile] = {}
        #: The folders that contain them.
        self._folders: set[str] = set()
        #: The path given to each (wanted path, content), and the last number used for each wanted
        #: path.
        self._given: dict[tuple[str, str], str] = {}
        self._numbers: dict[str, int] = {}

    def free(self, wanted: str, sha256: str) -> str:
        """Return a path for a file. The path is numbered if files of other content have the name.

        Raises:
            ConflictError: a folder has that name, or a file has the name of one of its folders.
        """
        path = self._given.get((wanted, sha256), wanted)
        while path in self.files and self.files[path].sha256 != sha256:
            number = self._numbers[wanted] = self._numbers.get(wanted, 1) + 1
            folder, slash, name = wanted.rpartition("/")
            stem, dot, suffix = name.rpartition(".")
            stem, suffix = (stem, f"{dot}{suffix}") if stem else (name, "")
            path = f"{folder}{slash}{stem}-{number}{suffix}"
        in_the_way = next((each for each in _folders(path) if each in self.files), None)
        if path in self._folders or in_the_way:
            other = in_the_way or f"{path}/…"
            raise ConflictError(f"{path!r} and {other!r}: one is a file, the other a folder")
        self._given[wanted, sha256] = path
        return path

    def take(self, path: str, sha256: str, size_bytes: int) -> None:
        """Add a file."""
        self.files[path] = NewFile(path=path, sha256=sha256, size_bytes=size_bytes)
        self._folders.update(_folders(path))


def _folders(path: str) -> list[str]:
    """Return the folders that contain a path."""
    return [path[:at] for at, character in enumerate(path) if character == "/"]


class Files:
    """The files of all executions."""

    def __init__(self, store: Store, spooler: Spooler, blobs: Blobs, *, secret: bytes) -> None:
        self.blobs = blobs
        self._store = store
        self._spooler = spooler
        self._secret = secret

    # files of a launch

    async def resolve(
        self, inputs: dict[str, Any], *, user: str, service: str = "", release: int = 0
    ) -> tuple[dict[str, Any], tuple[NewFile, ...]]:
        """Replace the uploads in a launch's inputs with their paths.

        Returns the new inputs and the files to create. The release's limits are checked if
        `service` is given.

        Raises:
            InputsError: a name is not a valid path, or this user has not uploaded a blob.
            LimitError: there are more or larger files than the release allows.
        """
        if not await run_check(lambda: _has_uploads(inputs), is_quick=is_small(inputs)):
            return inputs, ()
        brought = Brought()
        values = {
            key: await self._resolve_uploads(key, inputs[key], user, brought) for key in inputs
        }
        files = tuple(brought.files.values())
        if service:
            await self.check(files, service=service, release=release)
        return values, files

    async def check(self, files: tuple[NewFile, ...], *, service: str, release: int) -> None:
        """Check files against a release's limits.

        Raises:
            LimitError: there are too many files, or they are too large. It names the setting.
        """
        if files:
            (await self.limits(service, release)).check(files)

    def require_brought(
        self, form: Model, inputs: dict[str, Any], files: tuple[NewFile, ...]
    ) -> None:
        """Check that the launch brings every file that the form's file fields name.

        Raises:
            InputsError: it does not. The error names each such field.
        """
        brought = {file.path for file in files}
        errors: dict[str, str | list[str]] = {}
        for field in form.fields:
            value = inputs.get(field.name) if isinstance(field, InputFiles) else None
            named = value if isinstance(value, list) else [value] if value else []
            # Values that are not text are left for the form to reject.
            texts = [path for path in named if isinstance(path, str)]
            if strange := [path for path in texts if path not in brought]:
                errors[field.name] = (
                    f"{strange[0]!r} was not uploaded; `-i {field.name}=@path` does that,"
                    " and `@path` in a line of `--each`"
                )
        if errors:
            raise InputsError(**errors)

    async def _resolve_uploads(self, key: str, value: Any, user: str, brought: Brought) -> Any:
        if isinstance(value, list):
            return [await self._resolve_uploads(key, each, user, brought) for each in value]
        if not isinstance(value, dict) or set(value) != {MARK}:
            return value
        try:
            upload = msgspec.convert(value[MARK], Upload)
            path = brought.free(file_paths.path(f"in/{upload.name}"), upload.sha256)
        except (msgspec.ValidationError, PathError, ConflictError) as exc:
            raise InputsError(**{key: str(exc)}) from exc
        size = await self._store.uploads.renew(user, upload.sha256)
        if size is None:
            message = f"{upload.name} has not been uploaded: you have no blob {upload.sha256[:64]}"
            raise InputsError(**{key: message})
        brought.take(path, upload.sha256, size)
        return path

    # files of an execution

    async def listing(self, execution: Execution, place: str) -> list[File]:
        """Return the files at or below a place; the folders `in` and `out` always exist.

        Raises:
            NotFoundError: no file or folder is there.
        """
        found = await self._store.files.all_of(execution.id, within=place)
        if not found and place not in (*file_paths.ROOTS, ""):
            await self._store.files.get(execution.id, place)  # raises NotFoundError
        return found

    async def attach(self, fid: str, new: NewFile, *, caller: Caller) -> File:
        """Attach an uploaded blob to an execution as a file.

        Raises:
            NotAllowedError: the path is outside in/ (for users) or out/ (for flows).
            KocoError: see the store's `Files.attach`.
        """
        execution = await self._store.executions.get(fid)
        root = "in" if caller.fid is None else "out"
        if not file_paths.is_within(new.path, root):
            who = "users put files into in/" if root == "in" else "flows put files into out/"
            raise NotAllowedError(f"{new.path!r}: {who} only")
        limits = await self.limits(execution.service, execution.release)
        file = await self._store.files.attach(
            execution.fid, new, by=caller.name, uploader=caller.uploader, limits=limits
        )
        self._spooler.wake(execution.fid)
        return file

    async def remove(self, fid: str, place: str, *, caller: Caller) -> list[File]:
        """Remove a file, or a folder with its files; return the removed files.

        Raises:
            NotFoundError: no file or folder is there.
        """
        execution = await self._store.executions.get(fid)
        removed = await self._store.files.remove(execution.fid, place, by=caller.name)
        self._spooler.wake(execution.fid)
        return removed

    async def limits(self, service: str, release: int) -> FileLimits:
        """Return a release's limits on the files of an execution."""
        manifest = (await self._store.releases.get(service, release)).manifest
        return msgspec.convert(manifest.files, FileLimits, from_attributes=True)

    # tokens of flows

    def token(self, fid: str, attempt: int = 1) -> str:
        """Return the token with which an execution's flow reaches its files in one attempt."""
        name = fid if attempt == 1 else f"{fid}.{attempt}"
        return f"{tokens.FLOW}{name}_{self._sign(name)}"

    async def caller(self, token: str) -> Caller | None:
        """Return the flow that a token belongs to; None if the token is forged or has expired.

        A token is valid until its execution has ended or its attempt is over.
        """
        name, _, signature = token.removeprefix(tokens.FLOW).partition("_")
        if not token.isascii() or not hmac.compare_digest(self._sign(name), signature):
            return None
        fid, _, attempt = name.partition(".")
        execution = await self._store.executions.get(fid)
        is_over = execution.status.is_final or execution.attempt != int(attempt or 1)
        return None if is_over else Caller(name="flow", fid=fid, credential=f"flow:{fid}")

    def _sign(self, name: str) -> str:
        return hmac.new(self._secret, name.encode(), hashlib.sha256).hexdigest()


def _has_uploads(inputs: dict[str, Any]) -> bool:
    """Return whether inputs contain an upload, as a value or in nested lists."""
    level: list[Any] = [*inputs.values()]
    while level:
        if any(isinstance(each, dict) and set(each) == {MARK} for each in level):
            return True
        level = [child for each in level if isinstance(each, list) for child in each]
    return False
