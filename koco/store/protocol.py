"""What the control plane asks of a store, whatever keeps it."""

import math
from collections.abc import Sequence
from typing import Any, Protocol

from koco.events.model import Ack, Batch, Status
from koco.store.model import (
    EVERY,
    EVERYTHING,
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


class Store(Protocol):
    """A durable store. A coroutine that has returned has committed.

    What is new (`create`, `create_release`, `attach`, `open_lock` and the like) is refused
    with `NoRoomError` where the disk is full, before what ends or removes something is.
    """

    async def open(self) -> None:
        """Open it, bring its schema up to date, and keep every other control plane out."""

    async def close(self) -> None:
        """Finish what is under way and let go."""

    async def size_bytes(self) -> int:
        """Return how much room it takes."""
        ...

    async def probe(self) -> int:
        """Commit a change that changes nothing; return the version of the schema.

        Raises:
            StoreError: it cannot be written.
        """
        ...

    async def forget_proofs(self) -> None:
        """Remove the executions that stand for proofs, with all that is theirs."""

    async def secret(self, name: str) -> bytes:
        """Return the store's own random secret of that name, made at first use (32 bytes)."""
        ...

    # keys

    async def put_key(self, key: Key) -> None:
        """Keep a key; one of that name is replaced."""

    async def key(self, digest: bytes) -> Key | None:
        """Return the key with that SHA-256, or that had it before it was rotated."""
        ...

    async def key_named(self, name: str) -> Key:
        """Return a key by its name.

        Raises:
            NotFoundError: there is none.
        """
        ...

    async def keys(self, *, limit: int = 50, cursor: str | None = None) -> KeyPage:
        """Return keys, by name; a cursor stays right meanwhile."""
        ...

    async def add_key(self, key: Key) -> None:
        """Keep a new key.

        Raises:
            ConflictError: its name is taken.
        """

    async def rotate_key(
        self,
        name: str,
        digest: bytes,
        *,
        former_until: float | None,
        expires: float | None = None,
    ) -> Key:
        """Give a key another digest; the one that it has is good until `former_until`.

        Without `expires` it expires when it did.

        Raises:
            NotFoundError: there is none of that name.
            ConflictError: it has expired; or it is the last admin key without an end, and
                would get one.
        """
        ...

    async def revoke_key(self, name: str) -> Key:
        """Forget a key; return what it was.

        Raises:
            NotFoundError: there is none.
            ConflictError: it is the last admin key without an end.
        """
        ...

    async def note_use(self, name: str, *, at: str, address: str) -> None:
        """Note when and from where a key was used; one that is gone is no error."""

    async def has_keys(self) -> bool:
        """Say whether any key is known."""
        ...

    # users

    async def create_user(self, user: User) -> None:
        """Keep a user who is new.

        Raises:
            ConflictError: a user or a key has that name.
        """

    async def user(self, name: str) -> User | None:
        """Return the user of that name."""
        ...

    async def users(self, *, limit: int = 50, cursor: str | None = None) -> UserPage:
        """Return users, by name; a cursor stays right meanwhile."""
        ...

    async def has_users(self) -> bool:
        """Say whether there is one."""
        ...

    async def set_password(
        self, name: str, password: str, *, verified: str | None = None
    ) -> list[Session]:
        """Give a user another password's hash; return the sessions that this has ended.

        With `verified`, only where that is the hash of the former still.

        Raises:
            NotFoundError: there is no such user.
        """
        ...

    async def remove_user(self, name: str) -> list[Session]:
        """Forget a user; return the sessions that this has ended.

        Raises:
            NotFoundError: there is no such user.
        """
        ...

    async def create_session(self, session: Session, *, verified: str, address: str) -> bool:
        """Begin a session of a user whose password's hash is `verified`; forget what is over.

        False where it is another one by now, or the user was removed.
        """
        ...

    async def rehash(self, name: str, *, verified: str, password: str) -> None:
        """Give the same password another hash, where it still is the one that was verified."""

    async def session(self, digest: bytes) -> tuple[Session, User] | None:
        """Return the session with that SHA-256, and whose it is; it may be over."""
        ...

    async def end_session(self, digest: bytes) -> None:
        """End a session; one that is not there is no error."""

    # services' secrets

    async def put_sealed(self, sealed: Sealed) -> bool:
        """Keep an encrypted secret, in place of one of that name; say whether it is a new one."""
        ...

    async def remove_sealed(self, name: str) -> bool:
        """Forget one; False where there is none."""
        ...

    async def sealed(self) -> list[Sealed]:
        """Return all of them, by name."""
        ...

    # settings

    async def settings(self) -> dict[str, Any]:
        """Return what has been set, by name."""
        ...

    async def set(self, values: dict[str, Any]) -> None:
        """Set some, all of them at once; the others stay."""

    # replies

    async def keep_reply(self, reply: Reply) -> None:
        """Keep what was answered under a user's idempotency key, for a day."""

    async def reply(self, user: str, key: str) -> Reply | None:
        """Return what was answered under a user's idempotency key."""
        ...

    # the audit log

    async def note(self, entries: list[AuditEntry]) -> None:
        """Add to the audit log; its entries stay as they are for ever."""

    async def audit(
        self, query: AuditQuery, *, limit: int = 50, cursor: str | None = None
    ) -> AuditPage:
        """Return entries, newest first; a cursor stays right meanwhile."""
        ...

    # executions

    async def create(self, new: NewExecution) -> tuple[Execution, bool]:
        """Commit an execution as `queued`, with its first events; say whether it is new.

        A user's key that is known already gives the execution that it was launched with.

        Raises:
            ConflictError: what was asked under that key was something else.
        """
        ...

    async def keyed(self, user: str, key: str) -> Execution | None:
        """Return the execution that a user launched under an idempotency key."""
        ...

    async def assign(self, fid: str, runner: str) -> bool:
        """Give a queued execution to a runner (`starting`).

        False if it is queued no more, or was asked to end.
        """
        ...

    async def requeue(self, fid: str, runner: str) -> bool:
        """Take back an execution that `runner` never began.

        False if it did, or has it no more, or if it was asked to end.
        """
        ...

    async def rebind(
        self, fid: str, *, former: int, release: int, inputs: dict[str, Any], hidden: Sequence[str]
    ) -> Execution | None:
        """Move an execution that has never begun to another release, with inputs as that has them.

        Its stream says so. None where it has begun, has ended, or is of another release than
        `former`; nothing is changed then.
        """
        ...

    async def append(
        self, batches: list[Batch], *, room: Room = Room.AMPLE, most_bytes: float = math.inf
    ) -> list[Ack]:
        """Commit batches in their order, each event once, and say how far each producer is held.

        A batch that would leave a gap is refused whole; what was seen is dropped.
        A batch's status takes effect in the same transaction as its events.
        What there is no `room` for is refused as well: its producer sends it again. Of an
        execution that is to end meanwhile it is cut, and so is what one writes that has
        `most_bytes` of events; its stream says so, and has its outcome in any case.

        Raises:
            NoRoomError: the disk is full all the same.
        """
        ...

    async def settle(self, fid: str, status: Status, error: dict[str, Any] | None = None) -> bool:
        """End an execution from outside its runner; False if it has ended already."""
        ...

    async def lose(self, fid: str, runner: str, error: dict[str, Any]) -> bool:
        """End an execution whose runner died, or have it tried again, as its policy says.

        What was asked to end has ended as it was to.

        False if it has ended already, or another runner has it.
        """
        ...

    async def time_out(self, now_s: float) -> list[str]:
        """Note of the executions whose time is over that it is; return their fids.

        When they are cancelled after that, they end as an error of type `TimedOut`.
        """
        ...

    async def next_deadline(self) -> float | None:
        """Return when the next execution's time is over (seconds since the epoch), if one's is."""
        ...

    async def request_cancel(self, fid: str, *, grace_s: float) -> Execution:
        """Note that it shall end, and end it at once where no runner has it yet.

        Raises:
            NotFoundError: there is no such execution.
        """
        ...

    async def request_cancels(self, service: str, *, grace_s: float) -> list[str]:
        """Note that all of a service's executions shall end; return the fids that runners have.

        The others are given to no runner any more, and `end_waiting` ends them.
        """
        ...

    async def end_waiting(self, service: str, *, most: int) -> list[str]:
        """End so many of a service's that wait and were asked to end; return their fids."""
        ...

    async def execution(self, fid: str, sight: Sight = EVERYTHING) -> Execution:
        """Return an execution by its fid, a unique prefix of it, or `latest`.

        What is out of sight does not exist.

        Raises:
            NotFoundError: none is called so.
            ConflictError: the prefix fits several.
        """
        ...

    async def executions(
        self,
        wanted: Filter = EVERY,
        *,
        sight: Sight = EVERYTHING,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page:
        """Return executions that fit, newest first; a cursor stays right while others are added.

        A page may have fewer than `limit` where they are large, or where looking for them
        takes long; it has its cursor then, and may even be empty.

        Raises:
            UsageError: the cursor is none; or there is nothing in `search` to look for.
            NoSearchError: this store cannot search.
        """
        ...

    async def delete(self, fid: str) -> None:
        """Remove an execution that has ended, with its events, files and locks.

        What is interrupted may have removed some of its events, and is to be done again.

        Raises:
            ConflictError: it has not ended.
            NotFoundError: there is no such execution.
        """
        ...

    async def changes(
        self, *, cursor: str | None = None, sight: Sight = EVERYTHING, limit: int = 50
    ) -> ChangePage:
        """Return what has changed since a cursor, or ever: each execution at its latest.

        A page may be empty and not the last one.
        """
        ...

    async def last_change(self) -> str:
        """Return the cursor of what is yet to come."""
        ...

    async def index(self) -> bool:
        """Make a piece of what is stored searchable; False where there is nothing left."""
        ...

    async def open_executions(self) -> list[Execution]:
        """Return every execution without a final status, oldest first."""
        ...

    async def tallies(self, sight: Sight = EVERYTHING) -> dict[str, int]:
        """Return how many executions have each status; of a part of them, only what is open."""
        ...

    # events

    async def chunks(
        self, execution: int, *, after: int, budget_bytes: int, offset: int | None = None
    ) -> list[Chunk]:
        """Return events after a seq, in order: at least one chunk, then up to the budget.

        With an `offset` (bytes), no more than the budget: a chunk that is larger comes alone,
        and as a part of it that begins there.
        """
        ...

    async def chunks_back(self, execution: int, *, before: int, budget_bytes: int) -> list[Chunk]:
        """Return events before a seq, latest chunk first, up to the budget."""
        ...

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
        """Commit an open lock with its event; the execution awaits from now on.

        `expires` is in seconds since the epoch. Asked again, it returns the lock as it is.

        Raises:
            ConflictError: the execution has ended.
            LimitError: it has `most_bytes` of events.
            NotFoundError: there is no such execution.
        """
        ...

    async def answer_lock(self, lid: str, answer: Answer, *, by: str) -> Lock:
        """Settle an open lock with an answer; the execution runs on where no other is open.

        Raises:
            ConflictError: it is open no more; the message says who answered and when.
            NotFoundError: there is no such lock.
        """
        ...

    async def expire_locks(self, now_s: float) -> list[Lock]:
        """Settle the open locks that expire by a time (seconds since the epoch); return them."""
        ...

    async def withdraw_lock(self, lid: str) -> Lock:
        """Settle an open lock that its flow waits for no more; return it as it is then.

        Raises:
            NotFoundError: there is no such lock.
        """
        ...

    async def lock(self, lid: str) -> Lock:
        """Return a lock.

        Raises:
            NotFoundError: there is none.
        """
        ...

    async def locks_of(self, execution: int) -> list[Lock]:
        """Return an execution's locks, oldest first."""
        ...

    async def page_of_locks(
        self, execution: int, *, limit: int = 50, cursor: str | None = None
    ) -> LockPage:
        """Return an execution's locks, oldest first; a cursor stays right meanwhile."""
        ...

    async def locks(
        self,
        *,
        status: str = "open",
        flow: str | None = None,
        sight: Sight = EVERYTHING,
        limit: int = 50,
        cursor: str | None = None,
    ) -> LockPage:
        """Return locks of all executions, oldest first; a cursor stays right meanwhile."""
        ...

    async def next_expiry(self) -> float | None:
        """Return when the next open lock expires (seconds since the epoch), if one does."""
        ...

    # files

    async def files(self, execution: int, *, within: str = "") -> list[File]:
        """Return an execution's files, by path: all, or those at or below a path."""
        ...

    async def file(self, execution: int, path: str) -> File:
        """Return a file.

        Raises:
            NotFoundError: there is none at that path.
        """
        ...

    async def attach(
        self, fid: str, new: NewFile, *, by: str, uploader: str, limits: FileLimits
    ) -> File:
        """Give an execution a file that `uploader` has brought; a file of that path is replaced.

        The `upload` event is committed with it. Asked again, it changes nothing.

        Raises:
            ConflictError: it has ended, or a folder is where a file should be, or the reverse.
            LimitError: it would hold more than it may.
            NotFoundError: no such execution, or no such upload.
        """
        ...

    async def remove_files(self, fid: str, path: str, *, by: str) -> list[File]:
        """Take a file or all of a folder away; where it has not ended, events tell of it.

        Raises:
            NotFoundError: nothing is there.
        """
        ...

    async def uploaded(self, user: str, sha256: str) -> int | None:
        """Return the size of a blob that a user has brought, and keep it for another day."""
        ...

    async def add_upload(self, user: str, sha256: str, size_bytes: int) -> None:
        """Note that a user has brought a blob, and may name it."""
        ...

    async def unnamed(self, blobs: list[str], *, before: str, keep_releases: int) -> list[str]:
        """Forget uploads from before a time; return those of the blobs that nothing names.

        A release names its bundle while it is live or starting, while executions of it run, and
        as one of the last so many of its service that have been live.
        """
        ...

    # schedules

    async def schedules(self) -> dict[tuple[str, str], Schedule]:
        """Return what became of schedules' last times, by service and the schedule's id."""
        ...

    async def put_schedule(self, service: str, schedule: str, state: Schedule) -> None:
        """Keep what became of a schedule's last times."""

    async def forget_schedules(self, gone: list[tuple[str, str]]) -> None:
        """Forget schedules, by service and id."""

    # releases

    async def create_release(
        self,
        service: str,
        *,
        bundle: str,
        fingerprint: str,
        manifest: dict[str, Any],
        by: str,
        origin: dict[str, Any] | None = None,
        timings: dict[str, float] | None = None,
        fallback: bool = True,
    ) -> Release:
        """Commit a release as `starting`, under the service's next number.

        Those of the service that are still starting have failed with the same commit: this one
        supersedes them.
        """
        ...

    async def go_live(
        self,
        service: str,
        number: int,
        flows: list[dict[str, Any]],
        app: dict[str, Any] | None = None,
        *,
        timings: dict[str, float] | None = None,
    ) -> Release:
        """Make a release the live one and retire the one before it, in one step.

        One that is not starting any more stays as it is.
        """
        ...

    async def mark_broken(self, service: str, number: int, error: dict[str, Any]) -> Release:
        """Note of a live release that it does not work; it serves until another one does.

        When another one has taken its place it has failed. One that is not live stays as it is.
        """
        ...

    async def fail_release(
        self,
        service: str,
        number: int,
        error: dict[str, Any],
        *,
        timings: dict[str, float] | None = None,
    ) -> Release:
        """End a release that never became ready; without a fallback the live one retires, too.

        One that is not starting any more stays as it is.
        """
        ...

    async def undeploy(
        self,
        service: str,
        error: dict[str, Any],
        *,
        beside_running: bool,
        cancel_grace_s: float | None = None,
    ) -> list[Release]:
        """Retire what a service has, and fail what is starting, in one step; return those.

        Where a grace is given, it is noted in the same step that all of the service's executions
        shall end: see `request_cancels`.

        Raises:
            ConflictError: executions of it have not ended, and it shall not go `beside_running`.
            NotFoundError: no release of such a service was ever made.
        """
        ...

    async def open_tally(self, service: str) -> dict[str, int]:
        """Return how many of a service's executions have not ended, by status."""
        ...

    async def release(self, service: str, number: int) -> Release:
        """Return a release.

        Raises:
            NotFoundError: there is none.
        """
        ...

    async def releases(self, status: str) -> list[Release]:
        """Return all releases with a status, by service and number."""
        ...

    async def present_releases(self) -> list[Release]:
        """Return what is live, starting, or has seen to it that nothing is, of all services."""
        ...

    async def has_release_of(self, bundle: str) -> bool:
        """Say whether a release was ever made of a bundle."""
        ...

    async def former_release(self, service: str) -> Release | None:
        """Return the release that served before what does now, or last if nothing does."""
        ...

    async def history(
        self, service: str, *, limit: int = 50, cursor: str | None = None
    ) -> ReleasePage:
        """Return a service's releases, newest first; a cursor stays right meanwhile."""
        ...

    async def live_release(self, service: str) -> Release | None:
        """Return what a service runs now."""
        ...
