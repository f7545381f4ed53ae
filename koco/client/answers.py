"""The parts of API answers that the client relies on. `shape_check` checks answers against them.

They are a subset of the shapes in the OpenAPI document, which a test verifies. Keys that no
client code reads are not listed, so older and newer control planes may differ in them. A key is
`NotRequired` if an older control plane or some answers leave it out.
"""

import re
from datetime import datetime
from typing import Annotated, Any, Generic, Literal, NotRequired, TypedDict, TypeVar


def _is_time(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).utcoffset() is not None
    except ValueError:
        return False


Time = Annotated[str, _is_time]
Fid = Annotated[str, re.compile(r"[\w-]{1,64}").fullmatch]
Sha256 = Annotated[str, re.compile("[0-9a-f]{64}").fullmatch]
Size = Annotated[int, lambda size_bytes: size_bytes >= 0]
#: A secret is sent in a header and stored in the contexts file.
Token = Annotated[str, re.compile("[!-~]{1,4096}").fullmatch]
Final = Literal["finished", "error", "cancelled"]

Item = TypeVar("Item")


class Problem(TypedDict):
    """An error response of the API."""

    code: str
    detail: NotRequired[str]
    hint: NotRequired[str | None]
    status: NotRequired[int]
    request_id: NotRequired[str]
    traceback: NotRequired[str | None]
    errors: NotRequired[dict[str, list[str]]]


class _ErrorFacts(TypedDict):
    code: NotRequired[str]
    message: NotRequired[str]
    hint: NotRequired[str | None]
    detail: NotRequired[str | None]
    request_id: NotRequired[str]


class Error(TypedDict):
    """An error in the form of `KocoError.to_wire`."""

    error: _ErrorFacts
    errors: NotRequired[dict[str, list[str]]]


class Page(TypedDict, Generic[Item]):
    """One page of a list, and the cursor of the next one."""

    items: list[Item]
    next: str | None


class Usage(TypedDict):
    """A group of executions. It has the members by which it is grouped."""

    executions: int
    duration_s: float
    p50_s: float | None
    p95_s: float | None
    event_bytes: int
    file_bytes: int
    wall_s: NotRequired[float]
    cpu_s: NotRequired[float]
    peak_memory_bytes: NotRequired[Size]
    ray_tasks: NotRequired[int]
    stored_bytes: NotRequired[Size]
    day: NotRequired[str]
    service: NotRequired[str]
    flow: NotRequired[str]
    user: NotRequired[str]
    status: NotRequired[str]


class Health(TypedDict):
    """Whether executions can run."""

    status: Literal["ok", "degraded"]


class Found(TypedDict):
    """One finding of the control plane's doctor."""

    name: str
    status: Literal["ok", "warning", "failed"]
    message: str
    hint: NotRequired[str | None]


class Doctor(Page[Found]):
    """The findings of the control plane's doctor."""

    version: NotRequired[str]


class Failure(TypedDict):
    """A short description of an execution's error."""

    type: NotRequired[str | None]
    message: NotRequired[str | None]
    traceback: NotRequired[str | None]


class Named(TypedDict):
    """An execution, reduced to its fid."""

    fid: Fid


class Progress(TypedDict):
    """How far a flow says it is."""

    done: float
    total: float | None
    message: str | None


class Used(TypedDict):
    """What an execution has used so far."""

    wall_s: float
    cpu_s: float
    peak_memory_bytes: Size
    ray_tasks: int
    stored_bytes: Size


class State(TypedDict):
    """How far the stream of an execution is."""

    status: str
    last_seq: int
    waits: NotRequired[str | None]


class Execution(Named, State):
    """One run of a flow."""

    flow: str
    release: int
    inputs: Any
    user: str
    tags: list[str] | None
    created: Time
    started: Time | None
    finished: Time | None
    error: Failure | None
    deadline: NotRequired[Time | None]
    attempt: NotRequired[int]
    attempts: NotRequired[int]
    parent: NotRequired[Fid | None]
    resume_of: NotRequired[Fid | None]
    retry_of: NotRequired[Fid | None]
    durable: NotRequired[bool]
    resumed: NotRequired[int]
    parked: NotRequired[bool]
    progress: NotRequired[Progress | None]
    used: NotRequired[Used | None]
    trace_id: NotRequired[str]


class Executions(Page[Execution]):
    """A page of executions."""

    complete: NotRequired[bool]


class ExecutionChange(Named):
    """An execution that is new, has another status, or was deleted (None)."""

    execution: Execution | None


class ExecutionChanges(TypedDict):
    """Changes of executions, and the cursor after them."""

    items: list[ExecutionChange]
    next: str


class LaunchedWebhook(TypedDict):
    """The webhook that a launch has brought."""

    url: str
    secret: str


class Launched(TypedDict):
    """An accepted execution."""

    result: Fid
    webhook: NotRequired[LaunchedWebhook]


class Result(Named):
    """The result or error of an execution."""

    status: Final
    result: NotRequired[Any]
    error: NotRequired[Failure | None]


class LaunchedAndAwaited(Launched):
    """An accepted execution, and its outcome if it has ended."""

    outcome: NotRequired[Result | None]


class Skipped(TypedDict):
    """An execution to which nothing was done, and why.

    `new` is the execution that was launched for it before.
    """

    fid: str
    code: str
    reason: str
    new: NotRequired[str | None]


class _Piece(TypedDict):
    skipped: list[Skipped]
    next: str | None


class Deleted(_Piece):
    """A part of the executions that are deleted together."""

    deleted: list[Fid]


class Cancelled(_Piece):
    """A part of the executions that are cancelled together."""

    cancelled: list[Fid]


class Repeat(TypedDict):
    """An execution, and the new one that does its work again."""

    fid: Fid
    new: Fid


class Retried(_Piece):
    """A part of the executions that are retried together."""

    retried: list[Repeat]


class Resumed(_Piece):
    """A part of the executions that are resumed together."""

    resumed: list[Repeat]


class Event(TypedDict):
    """One event of a stream."""

    seq: Annotated[int, lambda seq: seq > 0]
    ts: str
    kind: str
    payload: Any
    task: NotRequired[str | None]


class _Status(TypedDict):
    status: str


class LogEntry(TypedDict):
    """An entry of the control plane's log."""

    cursor: str
    ts: Time
    level: str
    logger: str
    message: str
    request: str | None
    fid: str | None
    trace_id: NotRequired[str | None]
    span_id: NotRequired[str | None]


class RunnerLine(TypedDict):
    """A line that a runner's process wrote outside any execution."""

    service: str
    release: int
    runner: str
    stream: str
    text: str


class StatusEvent(Event):
    """An event with a status."""

    payload: _Status


class RecordedStep(TypedDict):
    """A recorded step of an execution."""

    key: str
    kind: str
    status: str
    attempt: int
    started: Time
    duration_s: float | None
    size_bytes: Size
    preview: str
    due: Time | None
    child: Fid | None


class History(TypedDict):
    """Everything that is recorded of an execution."""

    flow: str
    steps: list[Any]
    locks: NotRequired[list[Any]]


class Message(Named):
    """A message that an execution gets."""

    name: str


class Frame(TypedDict):
    """One stack frame."""

    file: str
    line: int
    function: str


class Stack(TypedDict):
    """The stack of a thread or a task."""

    name: str
    frames: list[Frame]
    waits: str | None


class StackedProcess(TypedDict):
    """A process of an execution."""

    name: str
    pid: int
    node: str
    state: str
    note: str | None
    stacks: list[Stack]


class Stacks(Named):
    """The current stacks of an execution's processes."""

    status: str
    note: str | None
    processes: list[StackedProcess]


class Lock(Named):
    """An execution's pause for a person."""

    lid: Annotated[str, bool]
    flow: str
    name: Annotated[str, bool]
    data: Any
    status: str
    created: Time
    expires: Time
    settled: Time | None
    by: str | None


class Element(TypedDict):
    """One element of a form; `koco.forms` defines the rest."""

    type: str
    name: NotRequired[str | None]
    label: NotRequired[str | None]


class LockWithForm(Lock):
    """A lock with the form for its answer."""

    form: list[Element] | None
    dialect: NotRequired[str]


class Paused(TypedDict):
    """Who paused a schedule, and when."""

    by: str
    created: Time
    flow: NotRequired[bool]


class Schedule(TypedDict):
    """A flow's schedule, and the outcome of its past times."""

    cron: str
    timezone: str
    overlap: bool
    catch_up: bool
    next: Time | None
    last: Time | None
    fid: str | None
    missed: int
    missed_at: Time | None
    skipped: int
    skipped_at: Time | None
    trouble: str | None
    id: NotRequired[str]
    paused: NotRequired[Paused | None]


class ScheduleOfFlow(Schedule):
    """A schedule and the full name of its flow."""

    id: str  # type: ignore[misc]  # always present
    flow: str


class FlowSchedule(Schedule):
    """A schedule and its flow."""

    flow: str


class FlowLimits(TypedDict):
    """The limits of a flow."""

    running: NotRequired[int | None]
    queue: NotRequired[int | None]
    timeout: NotRequired[float | None]
    retries: NotRequired[int]
    retry_errors: NotRequired[bool]


class FlowSummary(TypedDict):
    """A flow that can be launched."""

    name: Annotated[str, bool]
    service: str
    release: int
    summary: str | None
    durable: NotRequired[bool]
    limits: NotRequired[FlowLimits | None]
    schedule: NotRequired[list[Schedule]]


class Tag(TypedDict):
    """A tag of flows, and how many flows have it."""

    name: Annotated[str, bool]
    flows: int


class Flow(FlowSummary):
    """A flow with its form and its inputs' JSON Schema."""

    form: list[Element] | None
    schema: Any
    entrypoint: NotRequired[str | None]
    description: NotRequired[str | None]
    version: NotRequired[str | None]
    author: NotRequired[str | None]
    organization: NotRequired[str | None]
    tags: NotRequired[list[str] | None]
    calls: NotRequired[list[str]]
    dialect: NotRequired[str]
    page: NotRequired[bool]
    path: NotRequired[str | None]


class File(TypedDict):
    """A file of an execution."""

    path: str
    sha256: Sha256
    size_bytes: Size
    created: Time
    by: str


class Removed(TypedDict):
    """The removed files."""

    items: list[File]


#: Headers with the progress of an upload.
Uploading = TypedDict("Uploading", {"Upload-Offset": int, "Upload-Complete": Literal["?0", "?1"]})


class Origin(TypedDict):
    """The origin of a release."""

    project: NotRequired[str | None]
    commit: NotRequired[str | None]
    dirty: NotRequired[bool | None]
    rollback_of: NotRequired[int | None]
    because: NotRequired[str | None]
    hidden_env: NotRequired[list[str] | None]


class ReleaseFailure(TypedDict):
    """The reason why a release failed."""

    message: NotRequired[str | None]
    hint: NotRequired[str | None]
    detail: NotRequired[str | None]


class ReleaseState(TypedDict):
    """A release that is starting, live or failed."""

    service: str
    number: int
    status: str
    error: ReleaseFailure | None
    origin: NotRequired[Origin]
    fallback: NotRequired[bool]
    doing: NotRequired[str | None]
    waits_for: NotRequired[str | None]


class BegunRelease(ReleaseState):
    """A requested release, or the live one if nothing changed (`unchanged`)."""

    unchanged: bool


class RolledBack(BegunRelease):
    """A release that repeats an earlier one."""

    origin: Origin  # type: ignore[misc]  # always present


class ListedRelease(ReleaseState):
    """A release in its service's history."""

    bundle: str
    created: Time
    ready: Time | None
    by: str
    origin: Origin  # type: ignore[misc]  # always present
    timings: dict[str, float]
    retired: Time | None
    available: bool


class ReleaseFlow(TypedDict):
    """A flow of a release."""

    name: str


class Release(ListedRelease):
    """A release with all its details."""

    flows: list[ReleaseFlow]


#: A release that may still be starting, as one of these answers describes it.
AnyRelease = BegunRelease | RolledBack | Release


class Service(TypedDict):
    """A service, and the release that shows its state."""

    service: str
    release: int
    status: str


class ServiceInFull(Service):
    """A service, and its parts that have not ended."""

    deployed: bool
    expect: int
    former: int | None
    flows: list[str]
    executions: dict[str, int]
    parked: NotRequired[int]


class Undeployed(ServiceInFull):
    """A service that was undeployed."""

    ended: list[int]


class Change(TypedDict):
    """A manifest value that differs."""

    path: str
    old: NotRequired[Any]
    new: NotRequired[Any]


class FileChange(TypedDict):
    """A file that differs."""

    path: str
    change: Literal["added", "changed", "mode", "removed"]
    old_bytes: Size | None
    new_bytes: Size | None


class Finding(TypedDict):
    """A problem in a manifest, and its place."""

    message: str
    hint: NotRequired[str | None]
    path: list[str | int]


class Step(TypedDict):
    """The effect of a deploy on one service."""

    service: str
    action: Literal["create", "update", "unchanged", "remove"]
    release: int | None
    starting: int | None
    bundle: Sha256 | None
    parts: list[str]
    changes: list[Change]
    files: list[FileChange]
    problems: list[Finding]
    warnings: list[Finding]
    expect: int
    drift: NotRequired[str | None]
    public: NotRequired[list[str]]


class Counts(TypedDict):
    """The number of services per action."""

    create: int
    update: int
    remove: int
    unchanged: int


class Plan(Page[Step]):
    """The effect of a deploy."""

    counts: Counts


class Secret(TypedDict):
    """A service's secret, without its value."""

    name: str
    updated: Time
    by: str
    trouble: str | None
    services: list[str]


class SecretSet(TypedDict):
    """A secret that was set."""

    new: bool
    services: list[str]


class SecretUnset(TypedDict):
    """A secret that was removed."""

    services: list[str]


class LimitCounts(TypedDict):
    """How many executions of a flow run and wait at most."""

    running: int | None
    queue: int | None


class LimitOverride(TypedDict):
    """The limits that somebody has set in place of a manifest's."""

    until_deploy: bool
    by: str
    since: Time
    running: NotRequired[int | None]
    queue: NotRequired[int | None]


class LimitState(LimitCounts):
    """A flow's limits as they count now, its manifest's, and what was set instead."""

    flow: str
    manifest: LimitCounts
    override: LimitOverride | None


class Setting(TypedDict):
    """A setting of the control plane."""

    name: str
    value: Any
    default: Any
    is_set: bool


class ChangedSetting(Setting):
    """A setting that was set or unset."""

    before: Any


class Entry(TypedDict):
    """An entry of the audit log."""

    ts: Time
    who: str | None
    action: str
    target: str | None
    outcome: str
    address: str | None
    credential: str | None
    request: str | None
    detail: Any


class Holder(TypedDict):
    """The permissions of a key or a user."""

    name: str
    scopes: list[str]
    flows: list[str]
    all_executions: bool


class Me(Holder):
    """The caller of the API."""

    by: str


class Session(TypedDict):
    """A new session."""

    token: Token
    expires: Time


class Key(Holder):
    """An API key."""

    status: str
    created: Time
    by: str | None
    expires: Time | None
    last_used: Time | None
    last_from: str | None
    former_until: Time | None


class KeyWithSecret(Key):
    """An API key with its secret."""

    secret: Token


class Webhook(TypedDict):
    """A webhook."""

    name: str
    url: str
    status: str
    on: list[str]
    flows: list[str]
    all_executions: bool
    by: str
    created: Time
    former_until: Time | None
    failures: int
    last_ok: Time | None
    why: str | None


class WebhookWithSecret(Webhook):
    """A webhook with its secret."""

    secret: str


class Tested(TypedDict):
    """How a test of a webhook went."""

    ok: bool
    code: int | None
    error: str | None
    took_s: float


class Delivery(TypedDict):
    """A message to a webhook."""

    id: int
    webhook: str | None
    fid: str | None
    event: str
    status: str
    created: Time
    next: Time | None
    tries: int
    code: int | None
    error: str | None


class SentAgain(TypedDict):
    """How many there are."""

    count: int


class User(Holder):
    """A person who logs in with a password."""

    created: Time
    by: str | None
    last_login: Time | None
    last_from: str | None
    active: NotRequired[bool]
    email: NotRequired[str]


class ControlPlane(TypedDict):
    """The control plane's process."""

    pid: int
    version: str
    url: str
    started: Time
    restarts: int | None
    code: NotRequired[str]


class Node(TypedDict):
    """A node of the cluster."""

    address: str
    alive: bool
    resources: NotRequired[dict[str, float] | None]
    free: NotRequired[dict[str, float] | None]
    labels: NotRequired[dict[str, str] | None]


class Ray(TypedDict):
    """The cluster."""

    version: str
    nodes: list[Node]
    python: NotRequired[str | None]


class StoreFacts(TypedDict):
    """The store's location and size."""

    path: str
    size_bytes: Size


class BlobFacts(TypedDict):
    """The location of bundles and files."""

    path: str


class Load(TypedDict):
    """The number of running and waiting executions of a flow."""

    flow: str
    running: int
    waiting: int
    max_running: int | None
    max_queue: int | None


class ServiceStatus(TypedDict):
    """The state of a service."""

    name: str
    release: int
    status: str
    flows: list[str]
    runners: int | None
    trouble: NotRequired[str | None]
    drift: NotRequired[str | None]
    endpoint: NotRequired[str | None]
    load: NotRequired[list[Load] | None]
    schedule: NotRequired[list[FlowSchedule] | None]


class Runner(TypedDict):
    """A runner, with what its process uses."""

    service: str
    release: int
    id: str
    node: str
    status: str
    running: int
    cpu_s: float | None
    memory_bytes: Size | None


class LeftOver(TypedDict):
    """A Ray task or actor that is still active although its execution is not."""

    kind: str
    name: str
    service: str
    release: int
    fid: str | None
    pid: int | None
    detached: bool


class Process(TypedDict):
    """One of several processes of the control plane."""

    name: str
    url: str
    node: str
    pid: int
    version: str
    started: str
    leads: bool


class MissingProcess(TypedDict):
    """A process of the control plane that does not run."""

    name: str
    why: str


class Overview(TypedDict):
    """The state of the control plane, the cluster and the executions."""

    control_plane: ControlPlane
    ray: Ray
    store: StoreFacts
    blobs: NotRequired[BlobFacts]
    services: list[ServiceStatus]
    executions: dict[str, int]
    mortal: NotRequired[dict[str, int]]
    settings: NotRequired[dict[str, str | float | bool | list[str] | None] | None]
    left: NotRequired[list[LeftOver] | None]
    processes: NotRequired[list[Process]]
    missing: NotRequired[list[MissingProcess]]
