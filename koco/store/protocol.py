"""What the control plane asks of a store, whatever keeps it."""

from typing import Any, Protocol

from koco.events.model import Ack, Batch, Status
from koco.store.model import (
    EVERYTHING,
    Answer,
    Chunk,
    Execution,
    File,
    FileLimits,
    Key,
    Lock,
    LockPage,
    NewExecution,
    NewFile,
    Page,
    Release,
    ReleasePage,
    Schedule,
    Sealed,
    Sight,
)


class Store(Protocol):
    """A durable store. A coroutine that has returned has committed."""

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

    async def has_keys(self) -> bool:
        """Say whether any key is known."""
        ...

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
        """Give a queued execution to a runner (`starting`); False if it is queued no more."""
        ...

    async def requeue(self, fid: str, runner: str) -> bool:
        """Take back an execution that `runner` never began.

        False if it did, or has it no more, or if it was asked to end.
        """
        ...

    async def append(self, batches: list[Batch]) -> list[Ack]:
        """Commit batches in their order, each event once, and say how far each producer is held.

        A batch that would leave a gap is refused whole; what was seen is dropped.
        A batch's status takes effect in the same transaction as its events.
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
        *,
        statuses: tuple[str, ...] = (),
        flow: str | None = None,
        sight: Sight = EVERYTHING,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page:
        """Return executions, newest first; a cursor stays right while others are added.

        A page may have fewer than `limit` where they are large, and has its cursor then.
        """
        ...

    async def open_executions(self) -> list[Execution]:
        """Return every execution without a final status, oldest first."""
        ...

    async def tallies(self) -> dict[str, int]:
        """Return how many executions have each status."""
        ...

    # events

    async def chunks(self, execution: int, *, after: int, budget_bytes: int) -> list[Chunk]:
        """Return events after a seq, in order: at least one chunk, then up to the budget."""
        ...

    async def chunks_back(self, execution: int, *, before: int, budget_bytes: int) -> list[Chunk]:
        """Return events before a seq, latest chunk first, up to the budget."""
        ...

    # locks

    async def open_lock(self, fid: str, lid: str, *, name: str, data: Any, expires: float) -> Lock:
        """Commit an open lock with its event; the execution awaits from now on.

        `expires` is in seconds since the epoch. Asked again, it returns the lock as it is.

        Raises:
            ConflictError: the execution has ended.
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
        """Commit a release as `starting`, under the service's next number."""
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
        self, service: str, error: dict[str, Any], *, beside_running: bool
    ) -> list[Release]:
        """Retire what a service has, and fail what is starting, in one step; return those.

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
