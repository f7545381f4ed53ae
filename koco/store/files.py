"""Executions' files: paths, and the blobs that they name. Paths have been checked."""

from collections.abc import Sequence
from typing import Any

from koco.errors import ConflictError, NotFoundError, UsageError
from koco.events import line
from koco.events.model import Kind
from koco.store import uploads
from koco.store.engine.protocol import Connection
from koco.store.model import File, FileLimits, NewFile
from koco.store.sql.repository import Repository
from koco.store.sql.table import Table, replacement
from koco.store.stream import ledger, lifecycle

_FILES = Table("files", File)
_PUT = replacement("files", ("execution", *_FILES.names), key=("execution", "path"))
#: Whether a file is at or below a path; see `_values`. "0" comes right after "/".
_IS_WITHIN = "execution = :execution AND (path = :path OR (path > :below AND path < :end))"


class Files(Repository):
    """Files by execution and path."""

    async def all_of(self, execution: int, *, within: str = "") -> list[File]:
        """Return an execution's files, by path: all, or those at or below a path."""
        return await self._read(lambda db: _all_of(db, execution, within))

    async def get(self, execution: int, path: str) -> File:
        """Return a file.

        Raises:
            NotFoundError: there is none at that path.
        """
        file = await self._read(lambda db: _find(db, execution, path))
        if file is None:
            raise NotFoundError(f"there is no file {path!r}", hint="`koco files ls` lists them")
        return file

    async def attach(
        self, fid: str, new: NewFile, *, by: str, uploader: str, limits: FileLimits
    ) -> File:
        """Attach a blob that `uploader` uploaded to an execution. A file of that path is replaced.

        The `upload` event is committed with it. A repeated call changes nothing.

        Raises:
            ConflictError: it has ended, or a file would take the place of a folder, or the reverse.
            LimitError: it would hold more than it may.
            NotFoundError: there is no such execution, or no such upload.
        """

        def change(db: Connection) -> File:
            now = ledger.open_state(db, fid, refusal=" and takes no more files")
            _require_upload(db, new, uploader)
            old = _find(db, now.id, new.path)
            if old is not None and old.sha256 == new.sha256:
                return old  # a repeated call: the event exists already
            _require_place(db, now.id, new.path)
            count, total = db.execute(
                "SELECT count(*), coalesce(sum(size_bytes), 0) FROM files"
                " WHERE execution = :execution AND path <> :path",
                _values(now.id, new.path),
            ).fetchone()
            limits.check([new], count=count, total_bytes=total)
            file = add(db, now.id, [new], created=line.timestamp(), by=by)[0]
            event = line.encode(Kind.UPLOAD, describe(new, by=by))
            lifecycle.add(db, now, ledger.lines(event))
            return file

        return await self._add(change)

    async def remove(self, fid: str, path: str, *, by: str) -> list[File]:
        """Remove a file or a whole folder. If the execution has not ended, events record it.

        Raises:
            NotFoundError: there is no such file or folder.
        """

        def change(db: Connection) -> list[File]:
            now = ledger.state(db, fid)
            found = _all_of(db, now.id, path) if now else []
            if now is None or not found:
                raise NotFoundError(f"there is no file or folder {path!r}")
            db.execute(f"DELETE FROM files WHERE {_IS_WITHIN}", _values(now.id, path))
            if not now.status.is_final:
                gone = [{**describe(file, by=by), "removed": True} for file in found]
                events = [line.encode(Kind.UPLOAD, payload) for payload in gone]
                lifecycle.add(db, now, ledger.lines(*events))
            return found

        return await self._write(change)


def add(
    db: Connection, execution: int, new: Sequence[NewFile], *, created: str, by: str
) -> list[File]:
    """Give an execution files, and replace those of the same paths."""
    files = [
        File(path=f.path, sha256=f.sha256, size_bytes=f.size_bytes, created=created, by=by)
        for f in new
    ]
    db.executemany(_PUT, [{"execution": execution, **_FILES.values(file)} for file in files])
    return files


def describe(file: NewFile | File, *, by: str) -> dict[str, Any]:
    """Return the payload of a file's `upload` event."""
    return {"path": file.path, "size_bytes": file.size_bytes, "sha256": file.sha256, "by": by}


def _find(db: Connection, execution: int, path: str) -> File | None:
    where = "WHERE execution = :execution AND path = :path"
    return _FILES.first(db, where, execution=execution, path=path)


def _all_of(db: Connection, execution: int, within: str) -> list[File]:
    where = _IS_WITHIN if within else "execution = :execution"
    return _FILES.select(db, f"WHERE {where} ORDER BY path", **_values(execution, within))


def _values(execution: int, path: str) -> dict[str, Any]:
    return {"execution": execution, "path": path, "below": f"{path}/", "end": f"{path}0"}


def _require_upload(db: Connection, new: NewFile, uploader: str) -> None:
    found = uploads.find(db, uploader, new.sha256)
    if found is None:
        raise NotFoundError(
            f"{new.path}: you have not uploaded a blob {new.sha256}",
            hint=f"PATCH /v1/blobs/{new.sha256} uploads it; it is kept for a day",
        )
    if found[0] != new.size_bytes:
        raise UsageError(f"{new.path}: the blob has {found[0]} bytes, not {new.size_bytes}")


def _require_place(db: Connection, execution: int, path: str) -> None:
    """Refuse a file in place of a folder, and a folder in place of a file."""
    names = path.split("/")
    for end in range(2, len(names)):
        if _find(db, execution, above := "/".join(names[:end])) is not None:
            raise ConflictError(f"{path!r}: {above!r} is a file, not a folder")
    row = db.execute(
        "SELECT 1 FROM files"
        " WHERE execution = :execution AND path > :below AND path < :end LIMIT 1",
        _values(execution, path),
    ).fetchone()
    if row is not None:
        raise ConflictError(f"{path!r} is a folder, not a file")
