"""SQL for executions' files and for the records of uploads. Paths have been checked."""

import sqlite3
from collections.abc import Iterable
from typing import Any

import msgspec

from koco.errors import ConflictError, NotFoundError, UsageError
from koco.events import line
from koco.events.model import Kind
from koco.store.model import File, FileLimits, NewFile
from koco.store.sqlite import events, releases

_COLUMNS = ", ".join(File.__struct_fields__)


def listing(db: sqlite3.Connection, execution: int, within: str = "") -> list[File]:
    """Return an execution's files in or at a path, by path."""
    where, values = _within(within) if within else ("1", ())
    rows = db.execute(
        f"SELECT {_COLUMNS} FROM files WHERE execution = ? AND {where} ORDER BY path",
        (execution, *values),
    )
    return [_file(row) for row in rows]


def get(db: sqlite3.Connection, execution: int, path: str) -> File:
    """Return a file; see `Store.file`."""
    row = db.execute(
        f"SELECT {_COLUMNS} FROM files WHERE execution = ? AND path = ?", (execution, path)
    ).fetchone()
    if row is None:
        raise NotFoundError(f"there is no file {path!r}", hint="`koco files ls` lists them")
    return _file(row)


def attach(
    db: sqlite3.Connection, fid: str, new: NewFile, *, by: str, uploader: str, limits: FileLimits
) -> File:
    """Give an execution a file, with its event; see `Store.attach`."""
    now = events.open_state(db, fid, refusal=" and takes no more files")
    _require_upload(db, new, uploader)
    old = db.execute(
        "SELECT sha256 FROM files WHERE execution = ? AND path = ?", (now.id, new.path)
    ).fetchone()
    if old == (new.sha256,):
        return get(db, now.id, new.path)  # a repeated call: the event exists already
    _require_place(db, now.id, new.path)
    count, total = db.execute(
        "SELECT count(*), coalesce(sum(size_bytes), 0) FROM files"
        " WHERE execution = ? AND path IS NOT ?",
        (now.id, new.path),
    ).fetchone()
    limits.check([new], count=count, total_bytes=total)
    file = File(
        path=new.path,
        sha256=new.sha256,
        size_bytes=new.size_bytes,
        created=line.timestamp(),
        by=by,
    )
    db.execute(
        "REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?)", (now.id, *msgspec.structs.astuple(file))
    )
    events.tell(db, now, [line.encode(Kind.UPLOAD, told(new, by=by))])
    return file


def remove(db: sqlite3.Connection, fid: str, path: str, *, by: str) -> list[File]:
    """Remove a file or a folder; see `Store.remove_files`."""
    now = events.state(db, fid)
    found = listing(db, now.id, path) if now else []
    if now is None or not found:
        raise NotFoundError(f"there is no file or folder {path!r}")
    where, values = _within(path)
    db.execute(f"DELETE FROM files WHERE execution = ? AND {where}", (now.id, *values))
    if not now.status.is_final:
        gone = [{**told(file, by=by), "removed": True} for file in found]
        events.tell(db, now, [line.encode(Kind.UPLOAD, payload) for payload in gone])
    return found


def told(file: NewFile | File, *, by: str) -> dict[str, Any]:
    """Return the content of a file's `upload` event."""
    return {"path": file.path, "size_bytes": file.size_bytes, "sha256": file.sha256, "by": by}


def uploaded(db: sqlite3.Connection, user: str, sha256: str) -> tuple[int, str] | None:
    """Return the size of a blob that a user uploaded, and the time from which it is kept."""
    row = db.execute(
        "SELECT size_bytes, created FROM uploads WHERE user = ? AND sha256 = ?", (user, sha256)
    ).fetchone()
    return (row[0], row[1]) if row else None


def add_upload(db: sqlite3.Connection, user: str, sha256: str, size_bytes: int) -> None:
    """Record that a user uploaded a blob, now."""
    values = (user, sha256, size_bytes, line.timestamp())
    db.execute("REPLACE INTO uploads VALUES (?, ?, ?, ?)", values)


def unnamed(
    db: sqlite3.Connection, blobs: Iterable[str], *, before: str, keep_releases: int
) -> list[str]:
    """Delete upload records from before a time; return those of `blobs` without references."""
    db.execute("DELETE FROM uploads WHERE created < ?", (before,))
    bundles = releases.bundles(db, keep=keep_releases)
    named = (
        "SELECT 1 WHERE EXISTS (SELECT 1 FROM files WHERE sha256 = ?1)"
        " OR EXISTS (SELECT 1 FROM uploads WHERE sha256 = ?1)"
    )
    return [
        blob
        for blob in blobs
        if blob not in bundles and db.execute(named, (blob,)).fetchone() is None
    ]


def _require_upload(db: sqlite3.Connection, new: NewFile, uploader: str) -> None:
    brought = uploaded(db, uploader, new.sha256)
    if brought is None:
        raise NotFoundError(
            f"{new.path}: you have not uploaded a blob {new.sha256}",
            hint=f"PATCH /v1/blobs/{new.sha256} uploads it; it is kept for a day",
        )
    if brought[0] != new.size_bytes:
        raise UsageError(f"{new.path}: the blob has {brought[0]} bytes, not {new.size_bytes}")


def _require_place(db: sqlite3.Connection, execution: int, path: str) -> None:
    """Refuse a file in place of a folder, and a folder in place of a file."""
    names = path.split("/")
    above = ["/".join(names[:end]) for end in range(2, len(names))]
    row = db.execute(
        f"SELECT path FROM files WHERE execution = ? AND path IN ({', '.join('?' * len(above))})",
        (execution, *above),
    ).fetchone()
    if row is not None:
        raise ConflictError(f"{path!r}: {row[0]!r} is a file, not a folder")
    row = db.execute(
        "SELECT 1 FROM files WHERE execution = ? AND path > ? AND path < ? LIMIT 1",
        (execution, f"{path}/", f"{path}0"),
    ).fetchone()
    if row is not None:
        raise ConflictError(f"{path!r} is a folder, not a file")


def _file(row: tuple[Any, ...]) -> File:
    return File(**dict(zip(File.__struct_fields__, row, strict=True)))


def _within(path: str) -> tuple[str, tuple[str, ...]]:
    # "0" comes right after "/".
    return "(path = ? OR (path > ? AND path < ?))", (path, f"{path}/", f"{path}0")
