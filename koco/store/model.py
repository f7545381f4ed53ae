"""The rows of a store, as frozen structs."""

import time
from collections.abc import Sequence
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, NoReturn, TypeVar

import msgspec

from koco import trace_context
from koco.errors import ConflictError, LimitError
from koco.events import line
from koco.events.model import Status
from koco.events.progress import Progress
from koco.events.questions import LockOutcome
from koco.events.steps import StepKind, StepRecord, StepStatus
from koco.events.used import Used
from koco.manifest.descriptions import AppHandlers, FlowDescription
from koco.sizes import MB
from koco.store.webhook_model import Webhook
from koco.tokens import MASK
from koco.trace_context import Trace

if TYPE_CHECKING:
    from koco.manifest.model import Flow, Manifest
else:
    Manifest = Any  # msgspec asks for it; the model is imported with the first manifest

T = TypeVar("T")


#: The flow of executions that serve as a proof (`koco.control.health.event_canary`). They belong
#: to no service, appear in no list, and are deleted a moment later.
PROOF = "/"


class Page(msgspec.Struct, Generic[T], frozen=True):
    """A part of a list. `next` is the cursor of the next page, null on the last one."""

    items: list[T]
    next: str | None


class NewFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file to attach to an execution: its path (`in/…` or `out/…`) and its blob."""

    path: str
    sha256: str
    size_bytes: int


#: The longest pause before another attempt (seconds).
_LONGEST_PAUSE_S = 3600.0


class Policy(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How long an execution may run, and how often it is retried, from a manifest's `limits`."""

    timeout_s: float | None = None
    #: How often an execution is retried if its runner dies.
    retries: int = 0
    #: Whether it is also retried if it ends with an error.
    retry_errors: bool = False
    backoff_s: float = 1.0
    #: Whether it resumes where it was if its process dies, and is parked while it only waits.
    durable: bool = False

    def pause_s(self, attempt: int) -> float:
        """Return the pause after an attempt (seconds). It doubles each time."""
        # The exponent is bounded, because a float overflows.
        return min(self.backoff_s * 2.0 ** min(attempt - 1, 64), _LONGEST_PAUSE_S)


class Reply(msgspec.Struct, frozen=True):
    """The reply to a request with an idempotency key. It contains no secrets."""

    #: Whose it is: see `koco.control.access.caller.Caller.owner`.
    user: str
    key: str
    #: The digest of the request: its method, its target and its body.
    digest: str
    status: int
    body: bytes
    #: The URL of the created object, or empty if there is none.
    location: str
    #: In seconds since the epoch.
    created: float


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of the audit log: who did what, to what, from where, with which outcome.

    If it stands for several refusals, `detail` has their number (`count`).
    """

    #: The name of the route or command, such as `launch` or `create_key`.
    action: str
    #: A person or an agent by name, `koco up`, or `schedule`. Empty if the caller is unknown.
    who: str = ""
    #: The credential they used: see `Caller.credential`.
    credential: str = ""
    target: str = ""
    #: `ok`, or the code of the error that refused it.
    outcome: str = "ok"
    address: str = ""
    #: The id of the request.
    request: str = ""
    #: Other details of this action. Never secrets.
    detail: dict[str, Any] = {}
    #: Set by the store.
    seq: int = 0
    ts: str = ""


class AuditQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A filter for the audit log. Times are RFC 3339 in UTC."""

    who: str | None = None
    action: str | None = None
    #: Also matches everything below it: `hello` finds `hello/2`.
    target: str | None = None
    #: `refused` matches every outcome except `ok`.
    outcome: str | None = None
    since: str | None = None
    until: str | None = None


class NewExecution(msgspec.Struct, frozen=True, kw_only=True):
    """An execution to launch. `flow` is the full name, `service/flow`."""

    flow: str
    service: str
    release: int
    inputs: dict[str, Any]
    user: str = ""
    tags: tuple[str, ...] = ()
    #: Set if the service's own endpoint chose one: `module:object`.
    entrypoint: str = ""
    #: Which texts of the inputs are dates and times: see `koco.events.datetimes`.
    moments: list[Any] = []
    #: The names of inputs that are never shown: passwords.
    hidden: tuple[str, ...] = ()
    #: Further members of the `meta` event.
    about: dict[str, Any] = {}
    #: The caller's idempotency key, and the digest of the request made with it.
    key: str | None = None
    key_digest: str | None = None
    #: The files that the caller uploaded for it.
    files: tuple[NewFile, ...] = ()
    policy: Policy = Policy()
    #: The fid of the execution that this one retries.
    retry_of: str | None = None
    #: Its entry for the audit log. The store adds the fid.
    audited: AuditEntry | None = None
    #: See `koco.runner.spec.Launch`.
    dialect: str = ""
    pickled: str | None = None
    #: The fid of the execution that launched it.
    parent: str | None = None
    #: The fid of the execution whose steps it takes over, and the step before which it resumes
    #: (its key or its name); None for the one that failed.
    resume_of: str | None = None
    resume_from: str | None = None
    #: Whether to refuse it if the execution that it retries or resumes already was.
    only_once: bool = False
    #: Its own webhooks. The store adds the execution.
    webhooks: tuple[Webhook, ...] = ()
    #: Its fid if it was told before: see `Payment`. Otherwise the store makes one.
    fid: str = ""
    #: The span that it was launched in, if somebody said so.
    trace: Trace | None = None


class Topic(StrEnum):
    """What news of a committed change are about."""

    #: A parked execution is queued again: enter it in line. No limit of a queue applies to it.
    WOKEN = "woken"
    #: A wait of the execution is over: `key` is the wait's. Whoever waits for it may look.
    SETTLED = "settled"
    #: The execution that launched it is to end, so it is to end as well: tell its runner.
    CANCELLED = "cancelled"
    #: It has ended, because the execution that launched it did.
    ENDED = "ended"
    #: Webhooks are to be told of it.
    OUTBOX = "outbox"

    # Only other processes that share the store need these. All but the first have no fid.
    #: It was launched by a process that does not lead: enter it in line.
    LAUNCHED = "launched"
    #: The releases of the service `key` have changed.
    RELEASES = "releases"
    #: Settings have changed.
    SETTINGS = "settings"
    #: The overridden limits of the flow `key` have changed.
    LIMITS = "limits"
    #: The permissions of the credential `key` (see `Caller.credential`) have changed, so its
    #: streams end. Without a key, those of any credential may have changed.
    ACCESS = "access"


class News(NamedTuple):
    """What a change did to an execution, or to what `topic` says; see `Store.listen`."""

    topic: Topic
    fid: str
    key: str = ""


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """The error that an execution ended with."""

    type: str
    message: str


class FailureEvent(Failure, frozen=True, kw_only=True):
    """The payload of an execution's `error` event."""

    traceback: str = ""


class RunnerStart(msgspec.Struct, frozen=True, kw_only=True):
    """How long the start of a runner took for which an execution waited (seconds)."""

    #: Building its environment and starting its process.
    environment_s: float
    #: Importing the entrypoints.
    import_s: float


#: An execution whose processes have died so often in a row runs alone.
_DEATHS_ALONE = 2


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
    #: The number of the `final` or `error` event with its outcome.
    outcome_seq: int | None = None
    error: Failure | None = None
    #: The runner that holds it, once one does.
    runner: str = ""
    #: When its cancellation was requested, and how long it may take to end (seconds).
    cancel_requested: str | None = None
    grace_s: float = 0.0
    #: The entrypoint that the service's own endpoint chose, `module:object`.
    entrypoint: str = ""
    #: The caller's idempotency key, and the digest of the request made with it.
    key: str | None = None
    key_digest: str | None = None
    #: Which texts of the inputs are dates and times: see `koco.events.datetimes`.
    moments: list[Any] = []
    #: The names of inputs that are never shown: passwords.
    hidden: tuple[str, ...] = ()
    policy: Policy = Policy()
    #: How often a process was to begin with it, from 1: who asks or writes with an older number is
    #: refused. People see `tries` instead. It waits until `not_before` (seconds since the epoch).
    attempt: int = 1
    not_before: float | None = None
    #: While it runs: its deadline (seconds since the epoch).
    deadline: float | None = None
    #: When it passed its deadline.
    timed_out: str | None = None
    #: The fid of the execution that this one retries.
    retry_of: str | None = None
    #: See `koco.runner.spec.Launch`.
    dialect: str = ""
    #: The fid of the execution that launched it.
    parent: str | None = None
    #: The fid of the execution whose steps it took over, and of the first one in that chain.
    resume_of: str | None = None
    origin: str | None = None
    #: How often it was resumed in another process.
    resumed: int = 0
    #: How often it lost or left its process without an attempt having failed.
    moves: int = 0
    #: Whether it has no process, because it only waits.
    parked: bool = False
    #: How many processes have died with it, one after the other, without a new outcome of a step.
    deaths: int = 0
    #: What its flow last said of its progress.
    progress: Progress | None = None
    #: What it has used, as far as its processes have said so; None before the first one has.
    used: Used | None = None
    #: What it was launched with: see `koco.trace_context.Trace`.
    traceparent: str | None = None
    tracestate: str | None = None

    @property
    def trace(self) -> Trace:
        """Its trace, below the span that stands for all of it."""
        return trace_context.of_execution(self.fid, self.traceparent, self.tracestate)

    @property
    def trace_id(self) -> str:
        """The id of its trace."""
        return trace_context.trace_id(self.fid, self.traceparent)

    @property
    def runs_alone(self) -> bool:
        """Whether it may be what its processes die of, so that nothing else may run with it."""
        return self.deaths >= _DEATHS_ALONE

    @property
    def tries(self) -> int:
        """The number of this attempt, from 1: to resume and to be parked is none."""
        return self.attempt - self.moves

    @property
    def is_ending(self) -> bool:
        """Whether its cancellation was requested, or its deadline has passed."""
        return self.cancel_requested is not None or self.timed_out is not None

    def require_same(self, key_digest: str | None) -> None:
        """Refuse to reuse its idempotency key for a different request.

        Raises:
            ConflictError: the request is different.
        """
        if self.key_digest != key_digest:
            raise ConflictError(
                f"the key {self.key!r} was used for another launch already: {self.fid}",
                hint="the same key asks for the same flow with the same inputs; take a new one",
            )


def masked(value: Any, hidden: Sequence[str]) -> Any:
    """Return inputs or an answer with the values of hidden fields masked."""
    if not hidden or not isinstance(value, dict):
        return value
    return {
        name: MASK if name in hidden and each is not None else each for name, each in value.items()
    }


class Schedule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which times of a schedule have been handled. Times are in seconds since the epoch."""

    #: The latest time that was handled: its run started, was skipped or was missed.
    due: float
    #: The latest time that ran, and its execution.
    ran: float | None = None
    fid: str | None = None
    #: How many were missed because no control plane was running, and the latest of them.
    missed: int = 0
    missed_at: float | None = None
    #: How many were skipped because the previous run had not ended, and the latest of them.
    skipped: int = 0
    skipped_at: float | None = None


class PaymentState(StrEnum):
    """How far a paid job is. Its execution has been created from `LAUNCHED` on."""

    AWAITING = "awaiting"
    #: The money is there, and the execution is to be created.
    PAID = "paid"
    LAUNCHED = "launched"
    #: The hash of the result is with the payment service.
    SUBMITTED = "submitted"
    #: It was not paid, could not be launched, or has no result to be paid for. `cause` says why.
    FAILED = "failed"


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What a purchaser has to know to pay for a job. Times are in milliseconds since the epoch."""

    agent: str
    network: str
    blockchain_identifier: str
    seller_vkey: str
    pay_by: int
    submit_by: int
    unlock: int
    dispute_unlock: int


class PaidJob(msgspec.Struct, frozen=True, kw_only=True):
    """What has to be known of a job to follow its payment: all but its inputs, which may be large.

    Its execution then has its fid.
    """

    fid: str
    flow: str
    #: Who asked for it.
    user: str
    #: The identifier that the purchaser gave it.
    identifier: str
    terms: Terms
    state: PaymentState = PaymentState.AWAITING


class Payment(PaidJob, frozen=True, kw_only=True):
    """A job that is launched once it is paid."""

    #: The hash of its input.
    input_hash: str
    #: Empty once it was launched, or has failed.
    inputs: dict[str, Any]
    #: In seconds since the epoch.
    created: float
    #: Further members of the `meta` event.
    about: dict[str, Any] = {}
    cause: str | None = None


class LimitOverride(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of a flow that somebody has set in place of its manifest's."""

    flow: str
    #: The limits by their names in a manifest: `running` and `queue`, None for no limit.
    limits: dict[str, int | None]
    #: The only release for which they count; None if they outlive deploys.
    release: int | None = None
    by: str
    since: str


class SchedulePause(msgspec.Struct, frozen=True, kw_only=True):
    """Who paused a schedule, and when (RFC 3339)."""

    by: str
    created: str


class Chunk(msgspec.Struct, frozen=True):
    """Consecutive events of one execution: `body` holds the lines numbered `first` to `last`."""

    first: int
    last: int
    body: bytes
    #: The size of the whole body if `body` is only a part of it.
    size_bytes: int | None = None

    @property
    def is_part(self) -> bool:
        """Whether the body is only a part."""
        return self.size_bytes is not None


class ReleaseFailure(msgspec.Struct, frozen=True, kw_only=True):
    """Why a release failed or is broken. `detail` is a traceback or the output of a tool."""

    message: str
    detail: str | None = None
    hint: str | None = None


class ReleaseOrigin(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a release comes from, as far as that is known."""

    project: str | None = None
    #: The git commit, and whether files of the service differ from it.
    commit: str | None = None
    dirty: bool | None = None
    #: The number of the release that this one repeats.
    rollback_of: int | None = None
    #: Why koco went back by itself.
    because: str | None = None
    #: The keys of `runtime.env` whose values come from `.env` files; None if that is not known.
    hidden_env: tuple[str, ...] | None = None


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a service. `status` is starting, live, failed or retired.

    `fingerprint` is equal for two releases that would run alike. `flows` has the flows that a
    runner described; it is empty until the release is live.
    """

    service: str
    number: int
    status: str
    bundle: str
    fingerprint: str
    manifest: Manifest
    flows: tuple[FlowDescription, ...]
    created: str
    ready: str | None = None
    by: str = ""
    error: ReleaseFailure | None = None
    #: Only for a service with an endpoint of its own.
    app: AppHandlers | None = None
    origin: ReleaseOrigin = ReleaseOrigin()
    #: How long each part of becoming ready took (seconds): `{upload, environment, import, …}`.
    timings: dict[str, float] = {}
    #: Whether the previous release goes on serving if this one fails.
    fallback: bool = True
    #: When it stopped serving. For a failed release that left the service without one: when that
    #: state ended.
    retired: str | None = None

    @property
    def known_flows(self) -> "Sequence[FlowDescription | Flow]":
        """The described flows, or those of the manifest if the release has never been live."""
        return self.flows or self.manifest.flows

    @property
    def has_closed(self) -> bool:
        """Whether nothing serves because this release failed and has no fallback."""
        return self.status == "failed" and not self.fallback and self.retired is None


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer to a lock: JSON, the dates and times in it, and the fields that are not shown."""

    value: Any = None
    moments: list[Any] = []
    hidden: tuple[str, ...] = ()


class Lock(msgspec.Struct, frozen=True, kw_only=True):
    """An execution's pause for a person. `status` is open, answered, expired or withdrawn.

    `expires` is in seconds since the epoch. The flow gets `answer`, which `by` gave at `settled`
    (RFC 3339). `moments` says which of its texts are dates and times (`koco.events.datetimes`),
    and `hidden` which of its fields are never shown.
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
    #: Its place in its flow's code, empty if it has none, and the attempt that opened it.
    key: str = ""
    attempt: int = 1

    def require_open(self) -> None:
        """Raise unless the lock may still be answered.

        Raises:
            ConflictError: it is settled. The message says how.
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


class Recorded(msgspec.Struct, frozen=True):
    """A record of a step, which came with a batch of events."""

    #: The index of its event's line in the body of the batch.
    line: int
    record: StepRecord
    #: The blob that holds its result, if it is large. The record has none then.
    blob: str | None = None


class NewWait(msgspec.Struct, frozen=True, kw_only=True):
    """A wait to open: see `koco.events.steps.StepRecord`, and the questions in `koco.events`."""

    key: str
    name: str
    kind: StepKind
    position: int
    digest: str
    arguments: str = ""
    #: When it is over (seconds since the epoch). Every sleep has one.
    due: float | None = None
    #: The name of the message that it waits for.
    message: str | None = None
    #: The fid of the execution that it launched.
    child: str | None = None
    #: Why it launched none: it ends with this error at once.
    failure: "Failure | None" = None


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A recorded step or wait, without its result. Times are in seconds since the epoch."""

    id: int
    key: str
    name: str
    kind: StepKind
    position: int
    digest: str
    status: StepStatus
    attempt: int
    failures: int
    started: float
    duration_s: float | None = None
    arguments: str = ""
    preview: str = ""
    size_bytes: int = 0
    #: The blob with its result, if that is large.
    blob: str | None = None
    due: float | None = None
    child: str | None = None
    message: str | None = None


class StepResult(msgspec.Struct, frozen=True):
    """The outcome of a step or wait (`koco.events.steps.PastStep.result`), or the blob of it."""

    result: bytes | None
    blob: str | None = None


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A message to an execution. `taken` is the key of the wait that received it."""

    id: int
    name: str
    data: Any
    created: str
    by: str
    moments: list[Any] = []
    taken: str | None = None


class PastResult(msgspec.Struct, frozen=True, kw_only=True):
    """A step or wait in a `History`. `result` is base64."""

    key: str
    name: str
    kind: StepKind
    position: int
    digest: str
    status: StepStatus
    attempt: int
    failures: int
    started: float
    arguments: str
    result: str | None = None
    #: The blob that has the result instead.
    blob: str | None = None


class PastAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A settled lock in a `History`; see `Lock`."""

    key: str
    name: str
    status: str
    answer: Any = None
    moments: list[Any] = []
    #: The order of the calls, as in `PastResult`.
    position: int = 0

    @property
    def outcome(self) -> LockOutcome:
        """What its flow got."""
        return LockOutcome(status=self.status, answer=self.answer, moments=self.moments)


class History(msgspec.Struct, frozen=True, kw_only=True):
    """What an execution was given and what it recorded, as plain data, to be replayed by tests."""

    fid: str
    flow: str
    inputs: dict[str, Any]
    moments: list[Any]
    steps: list[PastResult]
    locks: list[PastAnswer]


class Outline(NamedTuple):
    """A history of one moment, whose steps are still to be read: see `Steps.exported`.

    `history` has no steps. `pieces` are the rows of its steps in order, a few at a time. Those in
    `unsettled` had no outcome at that moment, but this status.
    """

    history: History
    pieces: list[list[int]]
    unsettled: dict[int, StepStatus]


class ExportedStep(NamedTuple):
    """A step of a history: its row, and its outcome as it is stored, unless that is in a blob."""

    row: int
    step: PastResult
    result: bytes | None


class File(msgspec.Struct, frozen=True, kw_only=True):
    """A file of an execution: a path, and the blob that it names."""

    path: str
    sha256: str
    size_bytes: int
    created: str
    by: str


#: Larger values are not valid numbers: none of the store's counters comes near.
LAST = 2**62


class Room(Enum):
    """Which events still have room on the store's disk."""

    AMPLE = "all"
    #: Events of executions that have returned, or have written little.
    LOW = "little"
    #: Only the last events of an execution.
    NONE = "final"


class FileLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits on an execution's files, from a manifest's `files`."""

    max_count: int = 10_000
    max_size_mb: float = 10_240
    max_total_mb: float = 102_400

    def check(self, new: Sequence[NewFile], *, count: int = 0, total_bytes: int = 0) -> None:
        """Refuse files that are too many or too large together with the existing ones.

        Raises:
            LimitError: it names the setting, its value, and the requested amount.
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
    """A service's secret, encrypted."""

    name: str
    value: bytes
    updated: str
    by: str


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """An API key: its name and its permissions. Its secret is stored as a hash.

    `digest` is the SHA-256 of that secret. Times are RFC 3339, except for those that are compared:
    `expires` and `former_until` are in seconds since the epoch.
    """

    name: str
    digest: bytes
    scopes: tuple[str, ...]
    created: str
    #: Who made it.
    by: str = ""
    #: The flows that it may use, as `service/flow` with `*` for any text. Empty means all.
    flows: tuple[str, ...] = ()
    #: Whether its holder sees all users' executions, not only their own.
    sees_all: bool = False
    expires: float | None = None
    #: The digest from before the rotation, and how long it stays valid.
    former: bytes | None = None
    former_until: float | None = None
    last_used: str | None = None
    #: The address of its last use.
    last_from: str | None = None


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
    #: The address of that login.
    last_from: str | None = None
    #: Whether they may log in.
    active: bool = True
    email: str = ""


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """The session of a user who has logged in. `digest` is the SHA-256 of its token."""

    digest: bytes
    user: str
    created: str
    #: When it expires (seconds since the epoch).
    expires: float

    @property
    def credential(self) -> str:
        """The id under which its streams are counted."""
        return f"session:{self.digest.hex()[:16]}"


class Sight(msgspec.Struct, frozen=True):
    """The executions that a caller may see: whose, and of which flows (as `Key.flows`)."""

    user: str | None = None
    flows: tuple[str, ...] = ()


#: The sight of the control plane itself.
EVERYTHING = Sight()


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """A filter for executions, which must match all of it. Times are as in executions."""

    statuses: tuple[str, ...] = ()
    flow: str | None = None
    service: str | None = None
    user: str | None = None
    #: The fid of the execution that launched them.
    parent: str | None = None
    tags: tuple[str, ...] = ()
    #: Created at that time or later.
    since: str | None = None
    #: Created before that time.
    until: str | None = None
    #: Words, "phrases" and beginnings*, all of which occur in its inputs, its result or its error.
    search: str | None = None
    #: Only those that were retried or resumed, or (False) only those that were not.
    retried: bool | None = None


#: Matches all executions.
EVERY = Filter()


class ExecutionPage(Page[Execution], frozen=True):
    """Executions, newest first."""

    #: Whether a search covered all executions. After an upgrade it does not at first.
    complete: bool = True


class Change(msgspec.Struct, frozen=True):
    """An execution that is new, has another status, or was deleted (then only its fid is left)."""

    seq: int
    execution: Execution | None
    fid: str


class ChangePage(Page[Change], frozen=True):
    """Changes in their order. There is always a cursor: for the changes that come later."""

    next: str
    #: Whether there are no more changes.
    is_last: bool = True
