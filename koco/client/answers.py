"""What the client counts on in the answers to what it asks: `shape` holds them against this.

A part of what `koco.api.openapi.schemas` promises, which a test sees to: keys that nobody here
looks at are not named, so that older and newer control planes may differ in them. Where an older
one leaves a key out, or an answer does, it is `NotRequired`.
"""

import re
from datetime import datetime
from typing import Annotated, Any, Literal, NotRequired, TypedDict


def _is_time(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).utcoffset() is not None
    except ValueError:
        return False


Time = Annotated[str, _is_time]
Fid = Annotated[str, re.compile(r"[\w-]{1,64}").fullmatch]
Sha256 = Annotated[str, re.compile("[0-9a-f]{64}").fullmatch]
Size = Annotated[int, lambda size_bytes: size_bytes >= 0]
#: A secret goes into a header and into the contexts' file.
Token = Annotated[str, re.compile("[!-~]{1,4096}").fullmatch]
Final = Literal["finished", "error", "cancelled"]


class Problem(TypedDict):
    """An error as the API tells it."""

    code: str
    detail: NotRequired[str]
    hint: NotRequired[str | None]
    status: NotRequired[int]
    request_id: NotRequired[str]
    traceback: NotRequired[str | None]
    errors: NotRequired[dict[str, list[str]]]


class _Told(TypedDict):
    code: NotRequired[str]
    message: NotRequired[str]
    hint: NotRequired[str | None]
    detail: NotRequired[str | None]
    request_id: NotRequired[str]


class Error(TypedDict):
    """An error as `KocoError.to_wire` tells it."""

    error: _Told
    errors: NotRequired[dict[str, list[str]]]


class Page(TypedDict):
    """Some of a list, and where the rest starts."""

    next: str | None


class Health(TypedDict):
    """Whether executions can run."""

    status: Literal["ok", "degraded"]


class Found(TypedDict):
    """A finding of the control plane's doctor."""

    name: str
    status: Literal["ok", "warning", "failed"]
    message: str
    hint: NotRequired[str | None]


class Doctor(Page):
    """What the control plane's doctor finds."""

    items: list[Found]
    version: NotRequired[str]


class Failure(TypedDict):
    """What an execution ended with, in short."""

    type: NotRequired[str | None]
    message: NotRequired[str | None]
    traceback: NotRequired[str | None]


class Named(TypedDict):
    """An execution of which only its fid counts."""

    fid: Fid


class Progress(TypedDict):
    """How far an execution has come."""

    status: str
    last_seq: int
    waits: NotRequired[str | None]


class Execution(Named, Progress):
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


class Executions(Page):
    """Some executions."""

    items: list[Execution]
    complete: NotRequired[bool]


class Launched(TypedDict):
    """An execution that was accepted."""

    result: Fid


class Result(Named):
    """What an execution ended with."""

    status: Final
    result: NotRequired[Any]
    error: NotRequired[Failure | None]


class Event(TypedDict):
    """One event of a stream."""

    seq: Annotated[int, lambda seq: seq > 0]
    ts: str
    kind: str
    payload: Any
    task: NotRequired[str | None]


class _Status(TypedDict):
    status: str


class StatusEvent(Event):
    """An event that tells a status."""

    payload: _Status


class Frame(TypedDict):
    """A place in a function that was called."""

    file: str
    line: int
    function: str


class Stack(TypedDict):
    """What a thread or a task is in the middle of."""

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
    """What an execution is in the middle of."""

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


class Locks(Page):
    """Some locks."""

    items: list[Lock]


class Element(TypedDict):
    """A part of a form; `koco.forms` knows the rest."""

    type: str
    name: NotRequired[str | None]
    label: NotRequired[str | None]


class LockWithForm(Lock):
    """A lock with the form that it is answered by."""

    form: list[Element] | None


class Schedule(TypedDict):
    """When a flow launches by itself, and what became of its times."""

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


class FlowSchedule(Schedule):
    """A schedule and its flow."""

    flow: str


class FlowLimits(TypedDict):
    """What limits a flow."""

    running: NotRequired[int | None]
    queue: NotRequired[int | None]
    timeout: NotRequired[float | None]
    retries: NotRequired[int]


class FlowSummary(TypedDict):
    """A flow that can be launched."""

    name: Annotated[str, bool]
    service: str
    release: int
    summary: str | None
    limits: NotRequired[FlowLimits | None]
    schedule: NotRequired[list[Schedule]]


class Flows(Page):
    """Some flows."""

    items: list[FlowSummary]


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


class File(TypedDict):
    """A file of an execution."""

    path: str
    sha256: Sha256
    size_bytes: Size
    created: Time
    by: str


class Files(Page):
    """Some files."""

    items: list[File]


class Removed(TypedDict):
    """Files that were removed."""

    items: list[File]


#: Headers that tell how far an upload has come.
Uploading = TypedDict("Uploading", {"Upload-Offset": int, "Upload-Complete": Literal["?0", "?1"]})


class Origin(TypedDict):
    """Where a release comes from."""

    project: NotRequired[str | None]
    commit: NotRequired[str | None]
    dirty: NotRequired[bool | None]
    rollback_of: NotRequired[int | None]
    because: NotRequired[str | None]


class ReleaseFailure(TypedDict):
    """Why a release failed."""

    message: NotRequired[str | None]
    hint: NotRequired[str | None]
    detail: NotRequired[str | None]


class ReleaseState(TypedDict):
    """A release that is starting, is live, or has failed."""

    service: str
    number: int
    status: str
    error: ReleaseFailure | None
    origin: NotRequired[Origin]
    fallback: NotRequired[bool]
    doing: NotRequired[str | None]
    waits_for: NotRequired[str | None]


class BegunRelease(ReleaseState):
    """A release that was asked for; or the one that is live already, `unchanged`."""

    unchanged: bool


class RolledBack(BegunRelease):
    """A release that is as a former one was."""

    origin: Origin  # type: ignore[misc]  # always told


class ListedRelease(ReleaseState):
    """A release in its service's history."""

    bundle: str
    created: Time
    ready: Time | None
    by: str
    origin: Origin  # type: ignore[misc]  # always told
    timings: dict[str, float]
    retired: Time | None
    available: bool


class Releases(Page):
    """Some releases."""

    items: list[ListedRelease]


class ReleaseFlow(TypedDict):
    """A flow of a release."""

    name: str


class Release(ListedRelease):
    """A release with all that is known of it."""

    flows: list[ReleaseFlow]


class Service(TypedDict):
    """A service, and its release that says how it is."""

    service: str
    release: int
    status: str


class Services(Page):
    """What is deployed."""

    items: list[Service]


class ServiceInFull(Service):
    """A service, and what of it has not ended."""

    deployed: bool
    expect: int
    former: int | None
    flows: list[str]
    executions: dict[str, int]


class Undeployed(ServiceInFull):
    """A service that was taken away."""

    ended: list[int]


class Change(TypedDict):
    """A value of a manifest that differs."""

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
    """What is wrong with a manifest, and where."""

    message: str
    hint: NotRequired[str | None]
    path: list[str | int]


class Step(TypedDict):
    """What a deploy would do with one service."""

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
    """How many services get what."""

    create: int
    update: int
    remove: int
    unchanged: int


class Plan(Page):
    """What a deploy would do."""

    items: list[Step]
    counts: Counts


class Secret(TypedDict):
    """A service's secret, without its value."""

    name: str
    updated: Time
    by: str
    trouble: str | None
    services: list[str]


class Secrets(Page):
    """Some secrets."""

    items: list[Secret]


class SecretSet(TypedDict):
    """A secret that was set."""

    new: bool
    services: list[str]


class SecretUnset(TypedDict):
    """A secret that was forgotten."""

    services: list[str]


class Entry(TypedDict):
    """A line of the audit log."""

    ts: Time
    who: str | None
    action: str
    target: str | None
    outcome: str
    address: str | None
    credential: str | None
    request: str | None
    detail: Any


class Audit(Page):
    """Some of the audit log."""

    items: list[Entry]


class Holder(TypedDict):
    """What a key or a user is good for."""

    name: str
    scopes: list[str]
    flows: list[str]
    all_executions: bool


class Me(Holder):
    """Who asks."""

    by: str


class Session(TypedDict):
    """A session that has begun."""

    token: Token
    expires: Time


class Key(Holder):
    """A key."""

    status: str
    created: Time
    by: str | None
    expires: Time | None
    last_used: Time | None
    last_from: str | None
    former_until: Time | None


class Keys(Page):
    """Some keys."""

    items: list[Key]


class KeyWithSecret(Key):
    """A key and its secret."""

    secret: Token


class User(Holder):
    """A person who logs in with a password."""

    created: Time
    by: str | None
    last_login: Time | None
    last_from: str | None


class Users(Page):
    """Some users."""

    items: list[User]


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
    """Where the store is, and how large."""

    path: str
    size_bytes: Size


class Load(TypedDict):
    """What runs and waits of a flow."""

    flow: str
    running: int
    waiting: int
    max_running: int | None
    max_queue: int | None


class ServiceStatus(TypedDict):
    """How a service is."""

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


class LeftOver(TypedDict):
    """A Ray task or actor that is at work though no execution is."""

    kind: str
    name: str
    service: str
    release: int
    fid: str | None
    pid: int | None
    detached: bool


class Overview(TypedDict):
    """What runs."""

    control_plane: ControlPlane
    ray: Ray
    store: StoreFacts
    services: list[ServiceStatus]
    executions: dict[str, int]
    settings: NotRequired[dict[str, str | float | bool | list[str] | None] | None]
    left: NotRequired[list[LeftOver] | None]
