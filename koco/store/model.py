"""The rows of a store, as frozen structs."""

import time
from collections.abc import Sequence
from enum import Enum
from typing import Any, NoReturn

import msgspec

from koco.errors import ConflictError, LimitError
from koco.events import line
from koco.events.model import Status

#: What stands for a value that is not shown.
MASK = "********"


#: The flow of executions that stand for a proof (`koco.control.health.event_canary`). They are of
#: no service, in no list, and gone a moment later.
PROOF = "/"


class NewFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that an execution shall have: its path (`in/…` or `out/…`) and its blob."""

    path: str
    sha256: str
    size_bytes: int


#: The longest pause before another attempt (seconds).
_LONGEST_PAUSE_S = 3600.0


class Policy(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How long an execution may run, and how often it is tried: of a manifest's `limits`."""

    timeout_s: float | None = None
    #: How many attempts may follow the first one, where its runner dies.
    retries: int = 0
    #: Whether one that ended with an error is tried again, too.
    retry_errors: bool = False
    backoff_s: float = 1.0

    def pause_s(self, attempt: int) -> float:
        """Return how long to wait after an attempt: twice as long each time."""
        # The exponent is bounded: a float is not.
        return min(self.backoff_s * 2.0 ** min(attempt - 1, 64), _LONGEST_PAUSE_S)


class Reply(msgspec.Struct, frozen=True):
    """What was answered to a request with an idempotency key; nothing of it is secret."""

    user: str
    key: str
    #: Of the request: its method, its target, its body.
    digest: str
    status: int
    body: bytes
    #: Where what was created is; empty where nothing says.
    location: str
    #: In seconds since the epoch.
    created: float


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Who did what, on what, from where, and what came of it: a line of the audit log.

    One that stands for several refusals says in its `detail` how many (`count`).
    """

    #: The route's or the command's name, such as `launch` or `create_key`.
    action: str
    #: A person or an agent by name, `koco up`, `schedule`; nothing where nobody is known.
    who: str = ""
    #: What they showed: see `Caller.credential`.
    credential: str = ""
    target: str = ""
    #: `ok`, or the code of the error that refused it.
    outcome: str = "ok"
    address: str = ""
    #: The id of the request.
    request: str = ""
    #: Whatever else tells one such act from another; nothing secret.
    detail: dict[str, Any] = {}
    #: Set by the store.
    seq: int = 0
    ts: str = ""


class AuditQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What is looked for in the audit log. Times are RFC 3339 in UTC."""

    who: str | None = None
    action: str | None = None
    #: Also what is below it: `hello` finds `hello/2`.
    target: str | None = None
    #: `refused` is whatever is not `ok`.
    outcome: str | None = None
    since: str | None = None
    until: str | None = None


class AuditPage(msgspec.Struct, frozen=True):
    """Entries, newest first, and the cursor that the next page starts from."""

    items: list[AuditEntry]
    next: str | None


class NewExecution(msgspec.Struct, frozen=True, kw_only=True):
    """What a launch asks for; `flow` is the full name, `service/flow`."""

    flow: str
    service: str
    release: int
    inputs: dict[str, Any]
    user: str = ""
    tags: tuple[str, ...] = ()
    #: Where the service's own endpoint chose one: `module:object`.
    entrypoint: str = ""
    #: Which texts of the inputs are dates and times: see `koco.events.datetimes`.
    moments: list[Any] = []
    #: The names of inputs that nobody is shown: passwords.
    hidden: tuple[str, ...] = ()
    #: What the `meta` event says beside the usual.
    about: dict[str, Any] = {}
    #: The caller's idempotency key, and the digest of what was asked under it.
    key: str | None = None
    key_digest: str | None = None
    #: What the caller has uploaded for it.
    files: tuple[NewFile, ...] = ()
    policy: Policy = Policy()
    #: The execution that it is another try of, by its fid.
    retry_of: str | None = None
    #: What the audit log is to say of it; the store adds which execution it became.
    audited: AuditEntry | None = None


class Execution(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a flow. Times are RFC 3339 in UTC; `last_seq` numbers its latest event."""

    id: int
    fid: str
    flow: str
    service: str
    release: int
    status: Status
    inputs: dict[str, Any]
    user: str
    tags: tuple[str, ...]
    created: str
    started: str | None = None
    finished: str | None = None
    last_seq: int = 0
    #: The number of the `final` or `error` event that its outcome stands in.
    outcome_seq: int | None = None
    #: `{type, message}` of what it ended with, where it ended with an error.
    error: dict[str, str] | None = None
    #: The runner that holds it, once one does.
    runner: str = ""
    #: When somebody asked to cancel it, and how long it may take over ending (seconds).
    cancel_requested: str | None = None
    grace_s: float = 0.0
    #: The entrypoint that the service's own endpoint chose, `module:object`.
    entrypoint: str = ""
    #: The caller's idempotency key, and the digest of what was asked under it.
    key: str | None = None
    key_digest: str | None = None
    #: Which texts of the inputs are dates and times: see `koco.events.datetimes`.
    moments: list[Any] = []
    #: The names of inputs that nobody is shown: passwords.
    hidden: tuple[str, ...] = ()
    policy: Policy = Policy()
    #: Which attempt this is, from 1; before `not_before` (seconds since the epoch) it waits.
    attempt: int = 1
    not_before: float | None = None
    #: While it runs: when its time is over (seconds since the epoch).
    deadline: float | None = None
    #: When its time was over.
    timed_out: str | None = None
    #: The execution that it is another try of, by its fid.
    retry_of: str | None = None

    @property
    def is_ending(self) -> bool:
        """Whether it was asked to end."""
        return self.cancel_requested is not None or self.timed_out is not None

    def require_same(self, key_digest: str | None) -> None:
        """Refuse its idempotency key for what is not what it was launched for.

        Raises:
            ConflictError: it is something else.
        """
        if self.key_digest != key_digest:
            raise ConflictError(
                f"the key {self.key!r} was used for another launch already: {self.fid}",
                hint="the same key asks for the same flow with the same inputs; take a new one",
            )


def masked(value: Any, hidden: Sequence[str]) -> Any:
    """Return inputs or an answer as they may be shown: without what is in hidden fields."""
    if not hidden or not isinstance(value, dict):
        return value
    return {
        name: MASK if name in hidden and each is not None else each for name, each in value.items()
    }


class Schedule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of the times of one schedule. Times are in seconds since the epoch."""

    #: The latest time that was decided about: what was due then ran, was skipped or missed.
    due: float
    #: The latest that ran, and as which execution.
    ran: float | None = None
    fid: str | None = None
    #: How many were missed, as nothing ran then that could have launched them; the latest.
    missed: int = 0
    missed_at: float | None = None
    #: How many were skipped, as the former one had not ended; the latest.
    skipped: int = 0
    skipped_at: float | None = None


class Chunk(msgspec.Struct, frozen=True):
    """Consecutive events of one execution: `body` holds the lines numbered `first` to `last`."""

    first: int
    last: int
    body: bytes
    #: How large all of the body is where `body` is a part of it.
    size_bytes: int | None = None

    @property
    def is_part(self) -> bool:
        """Whether the body is not all there."""
        return self.size_bytes is not None


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a service. `status` is starting, live, failed or retired.

    `fingerprint` is equal for two releases that would run alike; `flows` is what
    a runner of it described: a list of `{name, entrypoint, summary, …, form}`.
    """

    service: str
    number: int
    status: str
    bundle: str
    fingerprint: str
    manifest: dict[str, Any]
    flows: list[dict[str, Any]]
    created: str
    ready: str | None = None
    by: str = ""
    error: dict[str, Any] | None = None
    #: Of a service with an endpoint of its own: `{locks, leases}`, the names it handles.
    app: dict[str, Any] | None = None
    #: Where it comes from: `{project, commit, dirty, rollback_of}`, each where it is known.
    origin: dict[str, Any] = {}
    #: How long each part of becoming ready took (seconds): `{upload, environment, import, …}`.
    timings: dict[str, float] = {}
    #: Whether the former release goes on serving where this one fails.
    fallback: bool = True
    #: When it served no more, or, where nothing served because it failed, when that was over.
    retired: str | None = None

    @property
    def has_closed(self) -> bool:
        """Whether nothing serves because this one failed, and was deployed without a fallback."""
        return self.status == "failed" and not self.fallback and self.retired is None


class ReleasePage(msgspec.Struct, frozen=True):
    """Releases of one service, newest first, and the cursor that the next page starts from."""

    items: list[Release]
    next: str | None


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a flow gets for a lock: JSON, its dates and times, and the fields that are not shown."""

    value: Any = None
    moments: list[Any] = []
    hidden: tuple[str, ...] = ()


class Lock(msgspec.Struct, frozen=True, kw_only=True):
    """An execution's pause for a person. `status` is open, answered, expired or withdrawn.

    `expires` is in seconds since the epoch; `answer` is what the flow gets, `moments`
    which of its texts are dates and times (`koco.events.datetimes`), `hidden` which of its
    fields nobody is shown, `by` and `settled` (RFC 3339) say who gave it and when.
    """

    lid: str
    fid: str
    flow: str
    service: str
    release: int
    name: str
    data: Any
    status: str
    created: str
    expires: float
    answer: Any = None
    moments: list[Any] = []
    hidden: tuple[str, ...] = ()
    settled: str | None = None
    by: str | None = None

    def require_open(self) -> None:
        """Do nothing where it may still be answered.

        Raises:
            ConflictError: it says what became of it.
        """
        if self.status == "open" and self.expires > time.time():
            return
        what = f"the lock {self.name!r} ({self.lid})"
        if self.status == "answered":
            raise ConflictError(
                f"{what} was answered by {self.by} at {self.settled}",
                hint="the first answer counts",
            )
        if self.status == "withdrawn":
            raise ConflictError(f"{what} was withdrawn at {self.settled}: its execution has ended")
        raise ConflictError(
            f"{what} expired at {line.timestamp(self.expires)}",
            hint="a flow that asks with a longer `timeout` (seconds) waits longer",
        )


class File(msgspec.Struct, frozen=True, kw_only=True):
    """A file of an execution: a path, and the blob that it names."""

    path: str
    sha256: str
    size_bytes: int
    created: str
    by: str


#: What is larger is no number to a store: none of its counters comes near.
LAST = 2**62

#: What a setting that ends in `_mb` counts (bytes).
MB = 1024 * 1024
#: The same of `_kb`.
KB = 1024


class Room(Enum):
    """Which events there is room for on the store's disk."""

    AMPLE = "all"
    #: Those of executions that have returned, or have written little.
    LOW = "little"
    #: What an execution ends with, and no more.
    NONE = "final"


class FileLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How much one execution may hold: a manifest's `files`."""

    max_count: int = 10_000
    max_size_mb: float = 10_240
    max_total_mb: float = 102_400

    def check(self, new: Sequence[NewFile], *, count: int = 0, total_bytes: int = 0) -> None:
        """Refuse files that are too many or too large, beside so many that are there.

        Raises:
            LimitError: it names the setting, its value, and what was asked.
        """
        for file in new:
            if file.size_bytes > self.max_size_mb * MB:
                self._refuse("max_size_mb", f"{file.path} has {file.size_bytes / MB:.4g} MB")
        if (count := count + len(new)) > self.max_count:
            self._refuse("max_count", f"it would hold {count} files")
        if (total_bytes := total_bytes + sum(f.size_bytes for f in new)) > self.max_total_mb * MB:
            self._refuse("max_total_mb", f"its files would have {total_bytes / MB:.4g} MB")

    def _refuse(self, setting: str, what: str) -> NoReturn:
        raise LimitError(
            f"{what}; the service's files.{setting} is {getattr(self, setting):g}",
            hint="fewer or smaller files, or another value in its manifest",
        )


class Sealed(msgspec.Struct, frozen=True):
    """A service's secret as it is kept: encrypted."""

    name: str
    value: bytes
    updated: str
    by: str


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """A known key: what it is called and what it may do; its secret is stored hashed.

    `digest` is the SHA-256 of what its holder shows. Times are RFC 3339, but for those
    that are compared: `expires` and `former_until` are in seconds since the epoch.
    """

    name: str
    digest: bytes
    scopes: tuple[str, ...]
    created: str
    #: Who made it.
    by: str = ""
    #: The flows that it is good for, as `service/flow` with `*` for any text; all where empty.
    flows: tuple[str, ...] = ()
    #: Whether its holder sees everybody's executions, not only their own.
    sees_all: bool = False
    expires: float | None = None
    #: The digest before it was rotated, and how long that is good.
    former: bytes | None = None
    former_until: float | None = None
    last_used: str | None = None
    #: The address that it was last used from.
    last_from: str | None = None


class KeyPage(msgspec.Struct, frozen=True):
    """Keys by name, and the cursor that the next page starts from."""

    items: list[Key]
    next: str | None


class User(msgspec.Struct, frozen=True, kw_only=True):
    """A person who logs in with a password; `password` is its hash. See `Key` for the rest."""

    name: str
    password: str
    scopes: tuple[str, ...]
    created: str
    by: str
    flows: tuple[str, ...] = ()
    sees_all: bool = False
    last_login: str | None = None
    #: The address of that.
    last_from: str | None = None


class UserPage(msgspec.Struct, frozen=True):
    """Users by name, and the cursor that the next page starts from."""

    items: list[User]
    next: str | None


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody who has logged in may use; `digest` is the SHA-256 of its token."""

    digest: bytes
    user: str
    created: str
    #: When it is good no more (seconds since the epoch).
    expires: float

    @property
    def credential(self) -> str:
        """What its streams are known by."""
        return f"session:{self.digest.hex()[:16]}"


class Sight(msgspec.Struct, frozen=True):
    """What somebody may see of executions: whose, and of which flows (as `Key.flows`)."""

    user: str | None = None
    flows: tuple[str, ...] = ()


#: What the control plane itself sees.
EVERYTHING = Sight()


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which executions are meant: those that fit all of it. Times are as in executions."""

    statuses: tuple[str, ...] = ()
    flow: str | None = None
    service: str | None = None
    user: str | None = None
    tags: tuple[str, ...] = ()
    #: Made at that time or later.
    since: str | None = None
    #: Made before that time.
    until: str | None = None
    #: Words, "phrases" and beginnings* that are all in its inputs, its result or its error.
    search: str | None = None


#: All of them.
EVERY = Filter()


class LockPage(msgspec.Struct, frozen=True):
    """Locks, oldest first, and the cursor that the next page starts from."""

    items: list[Lock]
    next: str | None


class Page(msgspec.Struct, frozen=True):
    """Executions, newest first, and the cursor that the next page starts from."""

    items: list[Execution]
    next: str | None
    #: Whether a search has looked into all of them: after an upgrade, not yet.
    complete: bool = True


class Change(msgspec.Struct, frozen=True):
    """An execution that is new, or whose status is; or that was deleted: its fid."""

    seq: int
    execution: Execution | None
    fid: str


class ChangePage(msgspec.Struct, frozen=True):
    """Changes in their order, and the cursor of what comes after them; there is always one."""

    items: list[Change]
    next: str
    #: Whether it was all that there is.
    is_last: bool = True
