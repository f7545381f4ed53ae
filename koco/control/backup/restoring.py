"""Restore a backup into a data directory, before a control plane starts there.

Everything is unpacked and checked beside its place first. The store comes to its place last, so
whatever interrupts a restore leaves no data directory that looks complete and is not.
"""

import asyncio
import errno
import hashlib
import os
import secrets
import shutil
from datetime import UTC, datetime
from pathlib import Path

from koco.control.backup import archive
from koco.control.backup.archive import BackupError, Head, Member
from koco.control.storage import digests
from koco.control.storage.blob_stores.protocol import BlobStore
from koco.disk_sync import sync
from koco.errors import ConflictError, KocoError, UsageError
from koco.store import transfer
from koco.store.store import Store, put_aside
from koco.store.version import require_known

#: What a restore replaces, in the order in which it is moved away. A control plane makes the rest.
_REPLACED = (
    *("store.db", "store.db-wal", "store.db-shm", "secrets.key"),
    *("blobs", "parts", "bundles", "chunked"),
)


def restore(
    backup: Path,
    data_dir: Path,
    *,
    replaces: bool,
    kept: BlobStore | None = None,
    store: str = "",
) -> tuple[Head, Path | str | None]:
    """Fill a data directory from a backup. Return its head, and where the former store is now.

    A former store is only moved away, and only if this `replaces` it. The store may be a database,
    given by its URL, whose former store then gets a schema of its own. Blobs are added to those
    that are `kept` elsewhere, if so: the former ones stay there, and are collected some day.

    Raises:
        ConflictError: a control plane runs there, or there is a store that may not be replaced.
        BackupError: the file is not a complete backup, or a newer koco has written it.
        UsageError: it cannot be read.
        BlobsAwayError: blobs are kept elsewhere, and it does not answer.
        StoreError: the database cannot be reached, or its new store differs from the backup's.
        KocoError: the disk is full. Nothing has changed then.
    """
    _require_free(data_dir, store, replaces=replaces)
    unpacked = data_dir / f"restoring-{secrets.token_hex(4)}"
    try:
        (unpacked if kept else unpacked / "blobs").mkdir(parents=True, mode=0o700)
        unpacked.chmod(0o700)
        head = archive.read(backup, lambda member: _unpack(member, unpacked, kept))
        _check(backup, unpacked, head)
        former: Path | str | None = _move_away(data_dir, keeps_blobs=kept is None)
        _move_in(unpacked, data_dir, keeps_store=not store)
        if store:
            former = _copy_in(unpacked / archive.STORE, store) or former
    except OSError as exc:
        if exc.errno in (errno.ENOSPC, errno.EDQUOT):
            raise KocoError(f"{data_dir} has no room for the backup: {exc.strerror}") from exc
        raise UsageError(f"{data_dir} cannot be written: {exc.strerror or exc}") from exc
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)
    return head, former


def _require_free(data_dir: Path, database: str, *, replaces: bool) -> None:
    if database:
        if asyncio.run(transfer.has_rows(Store.at(database).engine)) and not replaces:
            raise ConflictError(
                f"there is a store in {database.partition('?')[0]} already",
                hint="`--replace-store` puts the backup in its place, and keeps it beside, in a"
                " schema of its own",
            )
        return
    store = data_dir / "store.db"
    if Store.at(store).engine.is_open():
        raise ConflictError(
            f"a control plane is running on {data_dir}", hint="`koco down` stops it"
        )
    if store.exists() and not replaces:
        raise ConflictError(
            f"there is a store in {data_dir} already",
            hint="`--replace-store` puts the backup in its place, and keeps it beside;"
            " or give this control plane another `--data-dir`",
        )


def _unpack(member: Member, to: Path, kept: BlobStore | None) -> None:
    """Write a member below a folder. Its name is one of the format's, whatever the file says."""
    if member.name in (archive.STORE, archive.KEY):
        path = to / member.name
    elif member.name.startswith(archive.BLOBS):
        sha256 = digests.check(member.name.removeprefix(archive.BLOBS))
        if kept is not None:
            _pass_on(member, sha256, to / "blob", kept)
            return
        path = to / "blobs" / sha256[:2] / sha256
        path.parent.mkdir(exist_ok=True, mode=0o700)
    else:
        raise BackupError(f"{member.name!r} does not belong in a backup")
    _write(member, path)


def _write(member: Member, path: Path) -> str:
    """Write a member's content into a new file; return its SHA-256."""
    digest = hashlib.sha256()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        for piece in member.pieces:
            digest.update(piece)
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def _pass_on(member: Member, sha256: str, path: Path, kept: BlobStore) -> None:
    """Add a blob to those that are kept elsewhere, unless it is there already."""

    async def add() -> None:
        if await kept.size(sha256) != member.size_bytes:
            await kept.add(sha256, path)

    # What is not the blob is refused when all of it has been read.
    if _write(member, path) == sha256:
        asyncio.run(add())
    path.unlink(missing_ok=True)


def _check(backup: Path, unpacked: Path, head: Head) -> None:
    store = unpacked / "store.db"
    if not store.is_file() or Store.at(store).engine.version() != head.store:
        raise BackupError(f"{backup} cannot be restored: it has no store")
    require_known(head.store)


def _move_away(data_dir: Path, *, keeps_blobs: bool) -> Path | None:
    """Move what is there into a folder beside it; return that, or None if there was nothing."""
    named = [name for name in _REPLACED if keeps_blobs or name != "blobs"]
    there = [path for name in named if (path := data_dir / name).exists()]
    if not there:
        return None
    former = data_dir / f"before-restore-{_now()}-{secrets.token_hex(2)}"
    former.mkdir(mode=0o700)
    for path in there:
        path.rename(former / path.name)
    sync(former)
    sync(data_dir)
    return former


def _copy_in(file: Path, database: str) -> str | None:
    """Copy the store in a file into a database; return where the former one is now, if any."""
    target = Store.at(database).engine
    former = None
    if asyncio.run(transfer.has_rows(target)):
        name = f"koco_before_restore_{_now().lower()}_{secrets.token_hex(2)}"
        put_aside(database, name)
        former = f"the schema {name} of {target.location}"
    asyncio.run(transfer.between(Store.at(file).engine, target))
    return former


def _move_in(unpacked: Path, data_dir: Path, *, keeps_store: bool) -> None:
    for folder in (*unpacked.glob("blobs/*"), *unpacked.glob("blobs"), unpacked):
        sync(folder)
    for name in ("blobs", archive.KEY, *((archive.STORE,) if keeps_store else ())):
        if (path := unpacked / name).exists():
            path.rename(data_dir / name)
            sync(data_dir)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
