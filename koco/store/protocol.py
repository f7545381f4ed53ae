"""The protocol that every kind of store implements for the control plane."""

import math
from collections.abc import Sequence
from typing import Any, Protocol

from koco.events.model import Ack, Batch, Status
from koco.manifest.descriptions import AppHandlers, FlowDescription
from koco.manifest.model import Manifest
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


class Store(Protocol):
    """A durable store. When a coroutine has returned, its change is committed.

    If the disk is nearly full, methods that add data (`create`, `create_release`, `attach`,
    `open_lock` and the like) raise `NoRoomError` before methods that end or remove something do.
    """

    async def open(self) -> None:
        """Open it, migrate its schema, and keep every other control plane out."""

    async def close(self) -> None:
        """Finish pending work and release it."""

    async def size_bytes(self) -> int:
        """Return its size on disk."""
        ...

    async def probe(self) -> int:
        """Commit a change without effect; return the version of the schema.

        Raises:
            StoreError: it cannot be written.
        """
        ...

    async def forget_proofs(self) -> None:
        """Remove the executions that serve as proofs, with all their data."""

    async def secret(self, name: str) -> bytes:
        """Return the store's own random secret of that name, made at first use (32 bytes)."""
        ...

    # keys

    async def put_key(self, key: Key) -> None:
        """Store a key, and replace one of the same name."""

    async def key(self, digest: bytes) -> Key | None:
        """Return the key that has this SHA-256, or had it before its rotation."""
        ...

    async def key_named(self, name: str) -> Key:
        """Return a key by its name.

        Raises:
            NotFoundError: there is none.
        """
        ...

    async def keys(self, *, limit: int = 50, cursor: str | None = None) -> KeyPage:
        """Return a page of keys, by name. A cursor stays valid while keys change."""
        ...

    async def add_key(self, key: Key) -> None:
        """Add a key.

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
        """Replace a key's digest. The old one stays valid until `former_until`.

        Without `expires`, the key's expiry does not change.

        Raises:
            NotFoundError: there is no key of that name.
            ConflictError: it has expired, or it is the last admin key without an expiry and would
                get one.
        """
        ...

    async def revoke_key(self, name: str) -> Key:
        """Delete a key and return it.

        Raises:
            NotFoundError: there is none.
            ConflictError: it is the last admin key without an expiry.
        """
        ...

    async def note_use(self, name: str, *, at: str, address: str) -> None:
        """Record when and from which address a key was used. A missing key is not an error."""

    async def has_keys(self) -> bool:
        """Whether there are any keys."""
        ...

    # users

    async def create_user(self, user: User) -> None:
        """Add a user.

        Raises:
            ConflictError: a user or a key has that name.
        """

    async def user(self, name: str) -> User | None:
        """Return the user of that name."""
        ...

    async def users(self, *, limit: int = 50, cursor: str | None = None) -> UserPage:
        """Return a page of users, by name. A cursor stays valid while users change."""
        ...

    async def has_users(self) -> bool:
        """Whether there are any users."""
        ...

    async def set_password(
        self, name: str, password: str, *, verified: str | None = None
    ) -> list[Session]:
        """Set the hash of a user's new password; return the sessions that this ended.

        With `verified`, only if that is still the hash of the old password.

        Raises:
            NotFoundError: there is no such user.
        """
        ...

    async def remove_user(self, name: str) -> list[Session]:
        """Delete a user; return the sessions that this ended.

        Raises:
            NotFoundError: there is no such user.
        """
        ...

    async def create_session(self, session: Session, *, verified: str, address: str) -> bool:
        """Begin a session of a user whose password's hash is `verified`; delete expired ones.

        False if the password has changed since, or the user was removed.
        """
        ...

    async def rehash(self, name: str, *, verified: str, password: str) -> None:
        """Replace the hash of an unchanged password, if it is still the one that was verified."""

    async def session(self, digest: bytes) -> tuple[Session, User] | None:
        """Return the session with that SHA-256, and its user. It may have expired."""
        ...

    async def end_session(self, digest: bytes) -> None:
        """End a session. A missing one is not an error."""

    # services' secrets

    async def put_sealed(self, sealed: Sealed) -> bool:
        """Store an encrypted secret, and replace one of the same name; say whether it is new."""
        ...

    async def remove_sealed(self, name: str) -> bool:
        """Delete an encrypted secret; False if there is none."""
        ...

    async def sealed(self) -> list[Sealed]:
        """Return all encrypted secrets, by name."""
        ...

    # settings

    async def settings(self) -> dict[str, Any]:
        """Return the stored settings, by name."""
        ...

    async def set(self, values: dict[str, Any]) -> None:
        """Store some settings in one step. The others stay."""

    # replies

    async def keep_reply(self, reply: Reply) -> None:
        """Store the reply to a request with a user's idempotency key, for a day."""

    async def reply(self, user: str, key: str) -> Reply | None:
        """Return the stored reply for a user's idempotency key."""
        ...

    # the audit log

    async def note(self, entries: list[AuditEntry]) -> None:
        """Add to the audit log. Its entries never change."""

    async def audit(
        self, query: AuditQuery, *, limit: int = 50, cursor: str | None = None
    ) -> AuditPage:
        """Return entries, newest first. A cursor stays valid while entries are added."""
        ...

    # executions

    async def create(self, new: NewExecution) -> tuple[Execution, bool]:
        """Commit an execution as `queued`, with its first events; say whether it is new.

        If the user's key is known, return the execution that was launched with it.

        Raises:
            ConflictError: that key was used for a different request.
        """
        ...

    async def keyed(self, user: str, key: str) -> Execution | None:
        """Return the execution that a user launched with an idempotency key."""
        ...

    async def assign(self, fid: str, runner: str) -> bool:
        """Give a queued execution to a runner (`starting`).

        False if it is no longer queued, or its cancellation was requested.
        """
        ...

    async def requeue(self, fid: str, runner: str) -> bool:
        """Take back an execution that `runner` never began.

        False if the runner began it or no longer has it, or if its cancellation was requested.
        """
        ...

    async def rebind(
        self, fid: str, *, former: int, release: int, inputs: dict[str, Any], hidden: Sequence[str]
    ) -> Execution | None:
        """Move an execution that has never begun to another release, with inputs in that one's
        form.

        Its stream records the move. Returns None and changes nothing if it has begun, has ended,
        or is of another release than `former`.
        """
        ...

    async def append(
        self, batches: list[Batch], *, room: Room = Room.AMPLE, most_bytes: float = math.inf
    ) -> list[Ack]:
        """Commit batches in their order, each event once; return the last seq held of each
        producer.

        A batch that would leave a gap is refused whole. Events that are already stored are
        dropped. A batch's status takes effect in the same transaction as its events.

        A batch that has no `room` is refused as well, and its producer sends it again. Two kinds
        of executions are cut instead: those that are to end while there is no room, and those that
        have `most_bytes` of events. A cut stream says so, and still gets its outcome.

        Raises:
            NoRoomError: the disk is full even so.
        """
        ...

    async def settle(self, fid: str, status: Status, error: dict[str, Any] | None = None) -> bool:
        """End an execution from outside its runner; False if it has ended already."""
        ...

    async def lose(self, fid: str, runner: str, error: dict[str, Any]) -> bool:
        """End an execution whose runner died, or queue its next attempt, as its policy says.

        If its cancellation was requested, it ends as cancelled or timed out. False if it has ended
        already, or another runner has it.
        """
        ...

    async def time_out(self, now_s: float) -> list[str]:
        """Mark overdue executions as timed out; return their fids.

        If they are cancelled after that, they end as an error of type `TimedOut`.
        """
        ...

    async def next_deadline(self) -> float | None:
        """Return the next deadline of an execution (seconds since the epoch), or None."""
        ...

    async def request_cancel(self, fid: str, *, grace_s: float) -> Execution:
        """Request the cancellation of an execution, and end it at once if no runner has it yet.

        Raises:
            NotFoundError: there is no such execution.
        """
        ...

    async def request_cancels(self, service: str, *, grace_s: float) -> list[str]:
        """Request the cancellation of all of a service's executions; return the fids that runners
        have.

        The others are no longer given to runners, and `end_waiting` ends them.
        """
        ...

    async def end_waiting(self, service: str, *, most: int) -> list[str]:
        """End up to a number of a service's queued, cancelled executions; return their fids."""
        ...

    async def execution(self, fid: str, sight: Sight = EVERYTHING) -> Execution:
        """Return an execution by its fid, a unique prefix of it, or `latest`.

        Executions out of sight count as missing.

        Raises:
            NotFoundError: there is none.
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
        """Return matching executions, newest first. A cursor stays valid while others are added.

        A page may have fewer than `limit` if its executions are large, or if finding them takes
        long. It has a cursor then, and may even be empty.

        Raises:
            UsageError: the cursor is invalid, or `search` has no words.
            NoSearchError: this store cannot search.
        """
        ...

    async def delete(self, fid: str) -> None:
        """Remove an execution that has ended, with its events, files and locks.

        If it is interrupted, some events may be gone already. Call it again then.

        Raises:
            ConflictError: it has not ended.
            NotFoundError: there is no such execution.
        """
        ...

    async def changes(
        self, *, cursor: str | None = None, sight: Sight = EVERYTHING, limit: int = 50
    ) -> ChangePage:
        """Return the changes after a cursor, or all of them: each execution at its latest.

        A page may be empty without being the last one.
        """
        ...

    async def last_change(self) -> str:
        """Return the cursor after the latest change."""
        ...

    async def index(self) -> bool:
        """Make some stored text searchable; False if all of it is."""
        ...

    async def open_executions(self) -> list[Execution]:
        """Return every execution without a final status, oldest first."""
        ...

    async def tallies(self, sight: Sight = EVERYTHING) -> dict[str, int]:
        """Return how many executions have each status. A limited sight counts open ones only."""
        ...

    # events

    async def chunks(
        self, execution: int, *, after: int, budget_bytes: int, offset: int | None = None
    ) -> list[Chunk]:
        """Return events after a seq, in order: at least one chunk, then up to the budget.

        With an `offset` (bytes), never more than the budget: a larger chunk comes alone, and only
        the part that begins at the offset.
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
        """Commit an open lock with its event. The execution is `awaiting` from then on.

        `expires` is in seconds since the epoch. A repeated call returns the lock as it is.

        Raises:
            ConflictError: the execution has ended.
            LimitError: it has `most_bytes` of events.
            NotFoundError: there is no such execution.
        """
        ...

    async def answer_lock(self, lid: str, answer: Answer, *, by: str) -> Lock:
        """Settle an open lock with an answer. The execution resumes if it has no other open lock.

        Raises:
            ConflictError: it is no longer open. The message says who answered and when.
            NotFoundError: there is no such lock.
        """
        ...

    async def expire_locks(self, now_s: float) -> list[Lock]:
        """Settle the open locks that expire by a time (seconds since the epoch); return them."""
        ...

    async def withdraw_lock(self, lid: str) -> Lock:
        """Settle a lock because its flow stopped waiting for it; return its final state.

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
        """Return a page of an execution's locks, oldest first. A cursor stays valid meanwhile."""
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
        """Return locks of all executions, oldest first. A cursor stays valid meanwhile."""
        ...

    async def next_expiry(self) -> float | None:
        """Return when the next open lock expires (seconds since the epoch), or None."""
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
        """Attach a blob that `uploader` uploaded to an execution. A file of that path is replaced.

        The `upload` event is committed with it. A repeated call changes nothing.

        Raises:
            ConflictError: it has ended, or a file would take the place of a folder, or the reverse.
            LimitError: it would hold more than it may.
            NotFoundError: there is no such execution, or no such upload.
        """
        ...

    async def remove_files(self, fid: str, path: str, *, by: str) -> list[File]:
        """Remove a file or a whole folder. If the execution has not ended, events record it.

        Raises:
            NotFoundError: there is no such file or folder.
        """
        ...

    async def uploaded(self, user: str, sha256: str) -> int | None:
        """Return the size of a blob that a user uploaded, and keep it for another day."""
        ...

    async def add_upload(self, user: str, sha256: str, size_bytes: int) -> None:
        """Record that a user uploaded a blob, and so may refer to it."""
        ...

    async def unnamed(self, blobs: list[str], *, before: str, keep_releases: int) -> list[str]:
        """Delete upload records from before a time; return those of `blobs` without references.

        A release refers to its bundle while it is live or starting, while executions of it run,
        and while it is among the last few of its service that were live.
        """
        ...

    # schedules

    async def schedules(self) -> dict[tuple[str, str], Schedule]:
        """Return the state of schedules, by service and the schedule's id."""
        ...

    async def put_schedule(self, service: str, schedule: str, state: Schedule) -> None:
        """Store the state of a schedule."""

    async def forget_schedules(self, gone: list[tuple[str, str]]) -> None:
        """Delete the state of schedules, by service and id."""

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
        """Commit a release as `starting`, under the service's next number.

        The service's other starting releases fail in the same commit, because this one supersedes
        them.
        """
        ...

    async def go_live(
        self,
        service: str,
        number: int,
        flows: Sequence[FlowDescription],
        app: AppHandlers | None = None,
        *,
        timings: dict[str, float] | None = None,
    ) -> Release:
        """Make a release the live one and retire the one before it, in one step.

        Does nothing if the release is no longer starting.
        """
        ...

    async def mark_broken(self, service: str, number: int, error: ReleaseFailure) -> Release:
        """Mark a live release as broken. It serves until another one does, and then counts as
        failed.

        Does nothing if the release is not live.
        """
        ...

    async def fail_release(
        self,
        service: str,
        number: int,
        error: ReleaseFailure,
        *,
        timings: dict[str, float] | None = None,
    ) -> Release:
        """End a release that never became ready. Without a fallback, the live one retires, too.

        Does nothing if the release is no longer starting.
        """
        ...

    async def undeploy(
        self,
        service: str,
        error: ReleaseFailure,
        *,
        beside_running: bool,
        cancel_grace_s: float | None = None,
    ) -> list[Release]:
        """Retire a service's live release and fail its starting ones, in one step; return them.

        With a grace, the same step requests the cancellation of all of the service's executions:
        see `request_cancels`.

        Raises:
            ConflictError: some of its executions have not ended, and `beside_running` is false.
            NotFoundError: the service never had a release.
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
        """Return all live and starting releases, and failed ones that left nothing live."""
        ...

    async def has_release_of(self, bundle: str) -> bool:
        """Whether any release was made from a bundle."""
        ...

    async def former_release(self, service: str) -> Release | None:
        """Return the release that served before the live one, or the last one if none is live."""
        ...

    async def history(
        self, service: str, *, limit: int = 50, cursor: str | None = None
    ) -> ReleasePage:
        """Return a service's releases, newest first. A cursor stays valid meanwhile."""
        ...

    async def live_release(self, service: str) -> Release | None:
        """Return a service's live release."""
        ...
