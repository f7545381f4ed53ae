"""The embedded store: one SQLite file in WAL mode, one writer, one reader.

Writes go through `writer`, which groups them. Reads run on the event loop's own connection: an
indexed read of a page in memory takes about ten microseconds, less than a switch to another
thread.
"""

import asyncio
import contextlib
import fcntl
import math
import os
import secrets
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from koco.errors import ConflictError, NoRoomError, NotFoundError
from koco.events import line
from koco.events.model import Ack, Batch, Status
from koco.manifest.descriptions import AppHandlers, FlowDescription
from koco.manifest.model import Manifest
from koco.store.model import (
    EVERY,
    EVERYTHING,
    PROOF,
    Answer,
    AuditEntry,
    AuditPage,
    AuditQuery,
    ChangePage,
    Chunk,
    Execution,
    File,
    FileLimits,
    Filter,
    Key,
    KeyPage,
    Lock,
    LockPage,
    NewExecution,
    NewFile,
    Page,
    Release,
    ReleaseFailure,
    ReleaseOrigin,
    ReleasePage,
    Reply,
    Room,
    Schedule,
    Sealed,
    Session,
    Sight,
    User,
    UserPage,
)
from koco.store.sqlite import (
    audit,
    changes,
    events,
    executions,
    files,
    keys,
    listing,
    locks,
    releases,
    replies,
    schema,
    search,
    sights,
    users,
)
from koco.store.sqlite.ballast import LONGEST_LOG_BYTES, Ballast
from koco.store.sqlite.damage import told
from koco.store.sqlite.readers import Readers
from koco.store.sqlite.writer import Writer, failure, is_full

T = TypeVar("T")

#: How long a new control plane waits for the lock of its dead predecessor (seconds).
_LOCK_PATIENCE_S = 3.0
#: How long a search waits for recent changes to be indexed (seconds).
_CATCH_UP_S = 0.05
#: The length of a time stamp's prefix up to the hour.
_HOUR = len("2026-01-31T12")


@told
class SqliteStore:
    """A `Store` in the file at `path`. Its directory is created if missing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        #: Raises if there is no room for new data. Set by the control plane, which watches the
        #: disk.
        self.require_room: Callable[[], None] = lambda: None
        log = path.with_name(f"{path.name}-wal")
        self._ballast = Ballast(path.with_name("reserve"), log=log)
        self._lock_fd: int | None = None

    async def check(self) -> None:
        """Refuse a file that a newer koco has written, without writing to it.

        Raises:
            ConflictError: a newer koco has written it.
            StoreError: it cannot be read.
        """
        while True:
            try:
                schema.require_known(schema.version_of(self.path))
                return
            except sqlite3.Error as exc:
                # Even reading creates a file, and the disk may be full.
                if not (is_full(exc) and self._ballast.give_up()):
                    raise failure(exc, f"{self.path} could not be opened") from exc

    async def open(self) -> None:
        """Take the lock, open both connections, migrate.

        Raises:
            StoreError: it cannot be opened. Nothing stays locked or open then.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        await self._lock()
        try:
            # Before a connection that may write, because closing that one changes the file.
            await self.check()
            db = self._opened()
        except BaseException as exc:
            self._unlock()
            if isinstance(exc, sqlite3.Error):
                raise failure(exc, f"{self.path} could not be opened") from exc
            raise
        self._writer = Writer(db, give_up=self._ballast.give_up)
        self._db = db
        self._reader = self._reading()
        self._readers = Readers(self._reading)
        self._indexing = asyncio.Lock()

    async def close(self) -> None:
        """Commit pending changes and release the file."""
        self._writer.close()
        self._readers.close()
        self._reader.close()
        self._db.close()
        self._ballast.release()
        self._unlock()

    def _opened(self) -> sqlite3.Connection:
        """Return the writing connection. On a full disk, use the reserved room to open it."""
        while True:
            try:
                db = self._connect()
                db.execute(f"PRAGMA journal_size_limit = {LONGEST_LOG_BYTES}")
                # The journal of a savepoint with many changes. As a file, it would need room on
                # the disk, too.
                db.execute("PRAGMA temp_store = MEMORY")
                schema.migrate(db)
                search.prepare(db)
                return db
            except sqlite3.Error as exc:
                if not (is_full(exc) and self._ballast.give_up()):
                    raise

    def _unlock(self) -> None:
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    async def _lock(self) -> None:
        # Two control planes on one store would each settle the other's executions.
        self._lock_fd = os.open(self.path.with_suffix(".lock"), os.O_CREAT | os.O_RDWR, 0o600)
        deadline = time.monotonic() + _LOCK_PATIENCE_S
        while True:
            try:
                fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise ConflictError(
                        f"another control plane has {self.path} open",
                        hint="`koco down` stops it; or give this one a KOCO_HOME of its own",
                    ) from None
                await asyncio.sleep(0.02)

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        self.path.chmod(0o600)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA foreign_keys = 1")
        db.execute("PRAGMA busy_timeout = 5000")
        return db

    def _reading(self) -> sqlite3.Connection:
        db = self._connect()
        db.execute("PRAGMA query_only = 1")
        return db

    async def _write(self, change: Callable[[sqlite3.Connection], T]) -> T:
        return await self._writer.submit(change)

    async def _add(self, change: Callable[[sqlite3.Connection], T]) -> T:
        """Make a change that adds data, if there is room for it."""
        self.require_room()
        return await self._writer.submit(change, grows=True)

    def reusable_bytes(self) -> int:
        """Return the free space within the file (bytes)."""
        pages: int = self._reader.execute("PRAGMA freelist_count").fetchone()[0]
        size: int = self._reader.execute("PRAGMA page_size").fetchone()[0]
        return pages * size

    def hold(self, size_bytes: int) -> bool:
        """Reserve room for changes that must succeed; False if the disk has too little. Blocks."""
        return self._ballast.hold(size_bytes)

    def missing_bytes(self) -> int:
        """Return how much of the reserved room had to be given up (bytes)."""
        return self._ballast.missing_bytes

    async def size_bytes(self) -> int:
        """Return the size of the file and of its log."""
        wal = self.path.with_name(self.path.name + "-wal")
        return sum(file.stat().st_size for file in (self.path, wal) if file.exists())

    async def probe(self) -> int:
        """Commit a change without effect; return the version of the schema."""

        def change(db: sqlite3.Connection) -> int:
            db.execute("UPDATE tallies SET count = count")
            version: int = db.execute("PRAGMA user_version").fetchone()[0]
            # Set again, so that there is a write even without tallies.
            db.execute(f"PRAGMA user_version = {version}")
            return version

        return await self._write(change)

    async def forget_proofs(self) -> None:
        """Remove the executions that serve as proofs, with all their data."""
        await self._write(lambda db: db.execute("DELETE FROM executions WHERE flow = ?", (PROOF,)))

    async def secret(self, name: str) -> bytes:
        """Return the store's own random secret of that name, made at first use."""

        def change(db: sqlite3.Connection) -> bytes:
            db.execute("INSERT OR IGNORE INTO secrets VALUES (?, ?)", (name, secrets.token_bytes()))
            row = db.execute("SELECT value FROM secrets WHERE name = ?", (name,)).fetchone()
            return bytes(row[0])

        return await self._write(change)

    # keys

    async def put_key(self, key: Key) -> None:
        """Store a key, and replace one of the same name."""
        await self._write(lambda db: keys.put(db, key))

    async def key(self, digest: bytes) -> Key | None:
        """Return the key that has this SHA-256, or had it before its rotation."""
        return keys.find(self._reader, digest)

    async def key_named(self, name: str) -> Key:
        """Return a key by its name."""
        return keys.get(self._reader, name)

    async def keys(self, *, limit: int = 50, cursor: str | None = None) -> KeyPage:
        """Return keys, by name."""
        return keys.listing(self._reader, limit=limit, cursor=cursor)

    async def add_key(self, key: Key) -> None:
        """Add a key."""
        await self._write(lambda db: keys.add(db, key))

    async def rotate_key(
        self,
        name: str,
        digest: bytes,
        *,
        former_until: float | None,
        expires: float | None = None,
    ) -> Key:
        """Replace a key's digest."""
        return await self._write(
            lambda db: keys.rotate(db, name, digest, former_until=former_until, expires=expires)
        )

    async def revoke_key(self, name: str) -> Key:
        """Delete a key and return it."""
        return await self._write(lambda db: keys.revoke(db, name))

    async def note_use(self, name: str, *, at: str, address: str) -> None:
        """Record when and from which address a key was used."""
        await self._write(lambda db: keys.used(db, name, at=at, address=address))

    async def has_keys(self) -> bool:
        """Whether there are any keys."""
        return self._reader.execute("SELECT 1 FROM keys LIMIT 1").fetchone() is not None

    # users

    async def create_user(self, user: User) -> None:
        """Add a user."""
        await self._write(lambda db: users.create(db, user))

    async def user(self, name: str) -> User | None:
        """Return the user of that name."""
        return users.find(self._reader, name)

    async def users(self, *, limit: int = 50, cursor: str | None = None) -> UserPage:
        """Return users, by name."""
        return users.listing(self._reader, limit=limit, cursor=cursor)

    async def has_users(self) -> bool:
        """Whether there are any users."""
        return self._reader.execute("SELECT 1 FROM users LIMIT 1").fetchone() is not None

    async def set_password(
        self, name: str, password: str, *, verified: str | None = None
    ) -> list[Session]:
        """Set the hash of a user's new password; return the sessions that this ended."""
        return await self._write(lambda db: users.set_password(db, name, password, verified))

    async def remove_user(self, name: str) -> list[Session]:
        """Delete a user; return the sessions that this ended."""
        return await self._write(lambda db: users.remove(db, name))

    async def rehash(self, name: str, *, verified: str, password: str) -> None:
        """Replace the hash of an unchanged password, if it is still the one that was verified."""
        await self._write(lambda db: users.rehash(db, name, verified, password))

    async def create_session(self, session: Session, *, verified: str, address: str) -> bool:
        """Begin a session of a user whose password's hash is `verified`; delete expired ones."""
        return await self._write(lambda db: users.begin(db, session, verified, address))

    async def session(self, digest: bytes) -> tuple[Session, User] | None:
        """Return the session with that SHA-256, and its user."""
        return users.session(self._reader, digest)

    async def end_session(self, digest: bytes) -> None:
        """End a session."""
        await self._write(lambda db: db.execute("DELETE FROM sessions WHERE digest = ?", (digest,)))

    # services' secrets

    async def put_sealed(self, sealed: Sealed) -> bool:
        """Store an encrypted secret; say whether it is new."""

        def change(db: sqlite3.Connection) -> bool:
            was_there = db.execute("SELECT 1 FROM sealed WHERE name = ?", (sealed.name,)).fetchone()
            row = (sealed.name, sealed.value, sealed.updated, sealed.by)
            db.execute("REPLACE INTO sealed VALUES (?, ?, ?, ?)", row)
            return was_there is None

        return await self._add(change)

    async def remove_sealed(self, name: str) -> bool:
        """Delete an encrypted secret."""
        return await self._write(
            lambda db: db.execute("DELETE FROM sealed WHERE name = ?", (name,)).rowcount > 0
        )

    async def sealed(self) -> list[Sealed]:
        """Return all encrypted secrets, by name."""
        rows = self._reader.execute("SELECT name, value, updated, by FROM sealed ORDER BY name")
        return [Sealed(*row) for row in rows]

    # settings

    async def settings(self) -> dict[str, Any]:
        """Return the stored settings, by name."""
        rows = self._reader.execute("SELECT name, value FROM settings")
        return {name: msgspec.json.decode(value) for name, value in rows}

    async def set(self, values: dict[str, Any]) -> None:
        """Store some settings in one step. The others stay."""
        rows = [(name, msgspec.json.encode(value).decode()) for name, value in values.items()]
        await self._write(lambda db: db.executemany("REPLACE INTO settings VALUES (?, ?)", rows))

    # replies

    async def keep_reply(self, reply: Reply) -> None:
        """Store the reply to a request with an idempotency key, for a day."""
        await self._write(lambda db: replies.keep(db, reply))

    async def reply(self, user: str, key: str) -> Reply | None:
        """Return the stored reply for a user's idempotency key."""
        return replies.get(self._reader, user, key, now=time.time())

    # the audit log

    async def note(self, entries: list[AuditEntry]) -> None:
        """Add to the audit log."""
        await self._write(lambda db: audit.add(db, entries))

    async def audit(
        self, query: AuditQuery, *, limit: int = 50, cursor: str | None = None
    ) -> AuditPage:
        """Return entries of the audit log, newest first."""
        # In a thread with its own connection, because it may read all of a long log.
        return await asyncio.to_thread(audit.listing, self.path, query, limit=limit, cursor=cursor)

    # executions

    async def create(self, new: NewExecution) -> tuple[Execution, bool]:
        """Commit an execution as `queued`, with its first events; say whether it is new."""
        return await self._add(lambda db: executions.create(db, new))

    async def keyed(self, user: str, key: str) -> Execution | None:
        """Return the execution that a user launched with an idempotency key."""
        return executions.keyed(self._reader, user, key)

    async def assign(self, fid: str, runner: str) -> bool:
        """Give a queued execution to a runner."""

        def change(db: sqlite3.Connection) -> bool:
            taken = db.execute(
                "UPDATE executions SET runner = ?, not_before = NULL"
                " WHERE fid = ? AND status = 'queued' AND cancel_requested IS NULL",
                (runner, fid),
            )
            return taken.rowcount > 0 and events.advance(db, fid, Status.STARTING)

        return await self._write(change)

    async def requeue(self, fid: str, runner: str) -> bool:
        """Take back an execution that a runner never began."""

        def change(db: sqlite3.Connection) -> bool:
            now = events.state(db, fid)
            if now is None or now.runner != runner or now.is_ending:
                return False
            if not events.advance(db, fid, Status.QUEUED):
                return False
            db.execute("UPDATE executions SET runner = '' WHERE fid = ?", (fid,))
            return True

        return await self._write(change)

    async def rebind(
        self, fid: str, *, former: int, release: int, inputs: dict[str, Any], hidden: Sequence[str]
    ) -> Execution | None:
        """Move an execution that has never begun to another release."""
        return await self._write(
            lambda db: executions.rebind(
                db, fid, former=former, release=release, inputs=inputs, hidden=hidden
            )
        )

    async def append(
        self, batches: list[Batch], *, room: Room = Room.AMPLE, most_bytes: float = math.inf
    ) -> list[Ack]:
        """Commit batches in their order, each event once, as far as there is room."""

        def change(db: sqlite3.Connection) -> list[Ack]:
            return [events.append(db, each, room=room, most_bytes=most_bytes) for each in batches]

        return await self._writer.submit(change, grows=room is not Room.NONE)

    async def settle(self, fid: str, status: Status, error: dict[str, Any] | None = None) -> bool:
        """End an execution from outside its runner."""
        return await self._write(lambda db: events.settle(db, fid, status, error))

    async def lose(self, fid: str, runner: str, error: dict[str, Any]) -> bool:
        """End an execution whose runner died, or queue its next attempt."""
        return await self._write(lambda db: events.lose(db, fid, runner, error))

    async def time_out(self, now_s: float) -> list[str]:
        """Mark overdue executions as timed out; return their fids."""
        return await self._write(lambda db: events.time_out(db, now_s))

    async def next_deadline(self) -> float | None:
        """Return the next deadline of an execution."""
        return events.next_deadline(self._reader)

    async def request_cancel(self, fid: str, *, grace_s: float) -> Execution:
        """Request the cancellation of an execution, and end it at once if no runner has it yet."""

        def change(db: sqlite3.Connection) -> Execution:
            found = executions.find(db, fid)
            if found.status is Status.QUEUED:
                events.settle(db, found.fid, Status.CANCELLED, None)
            db.execute(
                "UPDATE executions SET cancel_requested = coalesce(cancel_requested, ?),"
                " grace_s = ? WHERE id = ? AND finished IS NULL",
                (line.timestamp(), grace_s, found.id),
            )
            return executions.find(db, found.fid)

        return await self._write(change)

    async def request_cancels(self, service: str, *, grace_s: float) -> list[str]:
        """Request the cancellation of all of a service's executions; return the fids that runners
        have.
        """
        return await self._write(lambda db: executions.request_cancels(db, service, grace_s))

    async def end_waiting(self, service: str, *, most: int) -> list[str]:
        """End up to a number of a service's queued, cancelled executions; return their fids."""
        return await self._write(lambda db: executions.end_waiting(db, service, most))

    async def execution(self, fid: str, sight: Sight = EVERYTHING) -> Execution:
        """Return an execution by its fid, a unique prefix of it, or `latest`."""
        if fid != "latest":
            return executions.find(self._reader, fid, sight)
        cursor: str | None = None
        while True:
            page = await self.executions(sight=sight, limit=1, cursor=cursor)
            if page.items:
                return page.items[0]
            if (cursor := page.next) is None:
                raise NotFoundError(
                    "there is no execution of yours yet",
                    hint="`koco run` starts one; `koco ps -a` lists all that you may see",
                )

    async def executions(
        self,
        wanted: Filter = EVERY,
        *,
        sight: Sight = EVERYTHING,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page:
        """Return matching executions, newest first."""
        if wanted.search is not None:
            await self._catch_up()

        def look(db: sqlite3.Connection) -> Page:
            return listing.page(db, wanted, sight=sight, limit=limit, cursor=cursor)

        if listing.is_at_once(wanted, sight, limit):
            return look(self._reader)
        most_s = search.MOST_S if wanted.search is not None else math.inf
        return await self._readers.read(look, most_s=most_s)

    async def delete(self, fid: str) -> None:
        """Remove an execution that has ended, with all its data."""
        while not await self._write(lambda db: executions.delete(db, fid)):
            pass

    async def changes(
        self, *, cursor: str | None = None, sight: Sight = EVERYTHING, limit: int = 50
    ) -> ChangePage:
        """Return the changes after a cursor."""
        return await self._readers.read(
            lambda db: changes.page(db, cursor=cursor, sight=sight, limit=limit)
        )

    async def last_change(self) -> str:
        """Return the cursor after the latest change."""
        return changes.last(self._reader)

    async def index(self) -> bool:
        """Make some stored text searchable; say whether there is more."""
        async with self._indexing:
            piece = await self._readers.read(search.gather)
            if piece is None:
                return False
            await self._add(lambda db: search.enter(db, piece))
            return True

    async def _catch_up(self) -> None:
        """Index recent changes, for as long as a search can wait."""
        search.require(self._reader)
        until_s = time.monotonic() + _CATCH_UP_S
        with contextlib.suppress(NoRoomError):  # search the part that is indexed already
            while search.has_news(self._reader) and time.monotonic() < until_s:
                await self.index()

    async def open_executions(self) -> list[Execution]:
        """Return every execution without a final status, oldest first."""
        return executions.unsettled(self._reader)

    async def tallies(self, sight: Sight = EVERYTHING) -> dict[str, int]:
        """Return how many executions have each status."""
        return sights.tallies(self._reader, sight)

    # events

    async def chunks(
        self, execution: int, *, after: int, budget_bytes: int, offset: int | None = None
    ) -> list[Chunk]:
        """Return events after a seq, in order."""
        if offset is None:
            return events.after(self._reader, execution, after, budget_bytes)
        return events.parts_after(
            self._reader, execution, after, budget_bytes=budget_bytes, offset=offset
        )

    async def chunks_back(self, execution: int, *, before: int, budget_bytes: int) -> list[Chunk]:
        """Return events before a seq, latest chunk first."""
        return events.before(self._reader, execution, before, budget_bytes)

    # locks

    async def open_lock(
        self,
        fid: str,
        lid: str,
        *,
        name: str,
        data: Any,
        expires: float,
        most_bytes: float = math.inf,
    ) -> Lock:
        """Commit an open lock with its event."""
        return await self._add(
            lambda db: locks.open_lock(
                db, fid, lid, name=name, data=data, expires=expires, most_bytes=most_bytes
            )
        )

    async def answer_lock(self, lid: str, answer: Answer, *, by: str) -> Lock:
        """Settle an open lock with an answer."""
        return await self._add(lambda db: locks.answer(db, lid, answer, by=by))

    async def expire_locks(self, now_s: float) -> list[Lock]:
        """Settle the open locks that expire by a time."""
        return await self._write(lambda db: locks.expire(db, now_s))

    async def withdraw_lock(self, lid: str) -> Lock:
        """Settle a lock because its flow stopped waiting for it."""
        return await self._write(lambda db: locks.withdraw(db, lid))

    async def lock(self, lid: str) -> Lock:
        """Return a lock."""
        return locks.get(self._reader, lid)

    async def locks_of(self, execution: int) -> list[Lock]:
        """Return an execution's locks, oldest first."""
        return locks.of(self._reader, execution)

    async def page_of_locks(
        self, execution: int, *, limit: int = 50, cursor: str | None = None
    ) -> LockPage:
        """Return an execution's locks, oldest first, page by page."""
        return locks.page_of(self._reader, execution, limit=limit, cursor=cursor)

    async def locks(
        self,
        *,
        status: str = "open",
        flow: str | None = None,
        sight: Sight = EVERYTHING,
        limit: int = 50,
        cursor: str | None = None,
    ) -> LockPage:
        """Return locks of all executions, oldest first."""
        return await self._readers.read(
            lambda db: locks.listing(
                db, status=status, flow=flow, sight=sight, limit=limit, cursor=cursor
            )
        )

    async def next_expiry(self) -> float | None:
        """Return when the next open lock expires."""
        return locks.next_expiry(self._reader)

    # files

    async def files(self, execution: int, *, within: str = "") -> list[File]:
        """Return an execution's files, by path."""
        return files.listing(self._reader, execution, within)

    async def file(self, execution: int, path: str) -> File:
        """Return a file."""
        return files.get(self._reader, execution, path)

    async def attach(
        self, fid: str, new: NewFile, *, by: str, uploader: str, limits: FileLimits
    ) -> File:
        """Attach a file to an execution, with its event."""
        return await self._add(
            lambda db: files.attach(db, fid, new, by=by, uploader=uploader, limits=limits)
        )

    async def remove_files(self, fid: str, path: str, *, by: str) -> list[File]:
        """Remove a file or a whole folder."""
        return await self._write(lambda db: files.remove(db, fid, path, by=by))

    async def uploaded(self, user: str, sha256: str) -> int | None:
        """Return the size of a blob that a user uploaded, and keep it for another day."""
        found = files.uploaded(self._reader, user, sha256)
        if found is None:
            return None
        size_bytes, since = found
        # Written only if the hour has changed: often enough, and it saves a commit for most calls.
        if since[:_HOUR] != line.timestamp()[:_HOUR]:
            await self.add_upload(user, sha256, size_bytes)
        return size_bytes

    async def add_upload(self, user: str, sha256: str, size_bytes: int) -> None:
        """Record that a user uploaded a blob."""
        await self._write(lambda db: files.add_upload(db, user, sha256, size_bytes))

    async def unnamed(self, blobs: list[str], *, before: str, keep_releases: int) -> list[str]:
        """Delete upload records from before a time; return those of `blobs` without references."""
        return await self._write(
            lambda db: files.unnamed(db, blobs, before=before, keep_releases=keep_releases)
        )

    # schedules

    async def schedules(self) -> dict[tuple[str, str], Schedule]:
        """Return the state of schedules."""
        rows = self._reader.execute("SELECT service, id, state FROM schedules")
        return {(row[0], row[1]): msgspec.json.decode(row[2], type=Schedule) for row in rows}

    async def put_schedule(self, service: str, schedule: str, state: Schedule) -> None:
        """Store the state of a schedule."""
        values = (service, schedule, line.encode_payload(state).decode())
        await self._write(lambda db: db.execute("REPLACE INTO schedules VALUES (?, ?, ?)", values))

    async def forget_schedules(self, gone: list[tuple[str, str]]) -> None:
        """Delete the state of schedules, by service and id."""
        what = "DELETE FROM schedules WHERE service = ? AND id = ?"
        await self._write(lambda db: db.executemany(what, gone))

    # releases

    async def create_release(
        self,
        service: str,
        *,
        bundle: str,
        fingerprint: str,
        manifest: Manifest,
        by: str,
        origin: ReleaseOrigin | None = None,
        timings: dict[str, float] | None = None,
        fallback: bool = True,
    ) -> Release:
        """Commit a release as `starting`, under the service's next number."""
        return await self._add(
            lambda db: releases.create(
                db,
                service,
                bundle=bundle,
                fingerprint=fingerprint,
                manifest=manifest,
                by=by,
                origin=origin or ReleaseOrigin(),
                timings=timings or {},
                fallback=fallback,
            )
        )

    async def go_live(
        self,
        service: str,
        number: int,
        flows: Sequence[FlowDescription],
        app: AppHandlers | None = None,
        *,
        timings: dict[str, float] | None = None,
    ) -> Release:
        """Make a release the live one and retire the one before it."""
        return await self._write(
            lambda db: releases.go_live(
                db, service, number, flows=flows, app=app, timings=timings or {}
            )
        )

    async def mark_broken(self, service: str, number: int, error: ReleaseFailure) -> Release:
        """Mark a live release as broken."""
        return await self._write(lambda db: releases.mark_broken(db, service, number, error))

    async def fail_release(
        self,
        service: str,
        number: int,
        error: ReleaseFailure,
        *,
        timings: dict[str, float] | None = None,
    ) -> Release:
        """End a release that never became ready."""
        return await self._write(
            lambda db: releases.fail(db, service, number, error=error, timings=timings or {})
        )

    async def undeploy(
        self,
        service: str,
        error: ReleaseFailure,
        *,
        beside_running: bool,
        cancel_grace_s: float | None = None,
    ) -> list[Release]:
        """Retire a service's live release and fail its starting ones, in one step."""

        def change(db: sqlite3.Connection) -> list[Release]:
            ended = releases.undeploy(db, service, error=error, beside_running=beside_running)
            if cancel_grace_s is not None:
                executions.request_cancels(db, service, cancel_grace_s)
            return ended

        return await self._write(change)

    async def open_tally(self, service: str) -> dict[str, int]:
        """Return how many of a service's executions have not ended, by status."""
        return releases.open_tally(self._reader, service)

    async def release(self, service: str, number: int) -> Release:
        """Return a release."""
        return releases.get(self._reader, service, number)

    async def releases(self, status: str) -> list[Release]:
        """Return all releases with a status."""
        return releases.having(self._reader, status)

    async def present_releases(self) -> list[Release]:
        """Return all live and starting releases, and failed ones that left nothing live."""
        return releases.present(self._reader)

    async def has_release_of(self, bundle: str) -> bool:
        """Whether any release was made from a bundle."""
        found = self._reader.execute("SELECT 1 FROM releases WHERE bundle = ? LIMIT 1", (bundle,))
        return found.fetchone() is not None

    async def former_release(self, service: str) -> Release | None:
        """Return the release that served before the live one, or the last one if none is live."""
        return releases.former(self._reader, service)

    async def history(
        self, service: str, *, limit: int = 50, cursor: str | None = None
    ) -> ReleasePage:
        """Return a service's releases, newest first."""
        return releases.listing(self._reader, service, limit=limit, cursor=cursor)

    async def live_release(self, service: str) -> Release | None:
        """Return a service's live release."""
        return releases.live(self._reader, service)
